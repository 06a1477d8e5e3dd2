import { type Cause, invalid } from './api-error.ts';
import type { DeploymentObject, EventObject, KubernetesObject, LeaseObject, NodeObject, PodObject } from './objects.ts';
import { selectorMatch } from './selectors.ts';
import type { Draft } from './store.ts';

/** One kind of object the API serves. The type parameter is what the store keeps under it. */
export interface Resource<T extends KubernetesObject> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** Further paths of an object, such as `status` and `scale`. */
  readonly subresources: readonly string[];
  /** Fields a field selector may name, besides name and namespace. */
  readonly selectableFields: readonly string[];
  /** Fills in what the caller left out. */
  prepare(draft: Draft<T>): Draft<T>;
  /** Everything that is wrong with an object; `previous` is undefined when it is created. */
  validate(next: Draft<T>, previous: T | undefined): readonly Cause[];
}

/** Any resource, for code that treats all kinds alike. Its values are only read as plain objects. */
export type AnyResource = Resource<KubernetesObject>;

const required = (field: string): Cause => ({ reason: 'FieldValueRequired', field, message: 'Required value' });
const wrong = (field: string, value: unknown, why: string): Cause => ({
  reason: 'FieldValueInvalid',
  field,
  message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
});

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const nameCauses = (name: string): readonly Cause[] =>
  subdomain.test(name) && name.length <= 253
    ? []
    : [
        wrong(
          'metadata.name',
          name,
          'a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters',
        ),
      ];

const isCount = (value: unknown): value is number => Number.isInteger(value) && Number(value) >= 0;

type PodTemplate = { readonly spec?: Partial<PodObject['spec']> };

const containerCauses = (template: PodTemplate, path: string): readonly Cause[] => {
  const containers = template.spec?.containers;
  if (!Array.isArray(containers) || containers.length === 0) return [required(`${path}.containers`)];
  return containers.flatMap((container, index) => [
    ...(container.name ? [] : [required(`${path}.containers[${index}].name`)]),
    ...(container.image ? [] : [required(`${path}.containers[${index}].image`)]),
  ]);
};

const podSpecDefaults = (spec: PodObject['spec']): PodObject['spec'] => ({
  ...spec,
  restartPolicy: spec.restartPolicy ?? 'Always',
  terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? 30,
});

/** All that a running pod's spec lets anybody change (besides metadata): image and deadline. */
const fixedPodSpec = (spec: PodObject['spec']): unknown => ({
  ...spec,
  activeDeadlineSeconds: undefined,
  containers: spec.containers?.map((container) => ({ ...container, image: '' })),
});

const podChangeCauses = (next: Draft<PodObject>, previous: PodObject): readonly Cause[] =>
  JSON.stringify(fixedPodSpec(next.spec)) === JSON.stringify(fixedPodSpec(previous.spec))
    ? []
    : [
        {
          reason: 'FieldValueForbidden',
          field: 'spec',
          message:
            'Forbidden: pod updates may not change fields other than `spec.containers[*].image`,' +
            '`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to' +
            ' existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)',
        },
      ];

interface ResourceOptions<T extends KubernetesObject> {
  readonly kind: string;
  readonly plural: string;
  readonly group?: string;
  readonly version?: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly namespaced?: boolean;
  readonly subresources?: readonly string[];
  readonly selectableFields?: readonly string[];
  prepare?(draft: Draft<T>): Draft<T>;
  validate?(next: Draft<T>, previous: T | undefined): readonly Cause[];
}

const define = <T extends KubernetesObject>(options: ResourceOptions<T>): Resource<T> => ({
  group: options.group ?? '',
  version: options.version ?? 'v1',
  plural: options.plural,
  singular: options.kind.toLowerCase(),
  kind: options.kind,
  shortNames: options.shortNames ?? [],
  categories: options.categories ?? [],
  namespaced: options.namespaced ?? true,
  subresources: options.subresources ?? [],
  selectableFields: options.selectableFields ?? [],
  prepare: options.prepare ?? ((draft) => draft),
  validate: (next, previous) => [...nameCauses(next.metadata.name), ...(options.validate?.(next, previous) ?? [])],
});

export const namespaces = define<KubernetesObject>({
  kind: 'Namespace',
  plural: 'namespaces',
  shortNames: ['ns'],
  namespaced: false,
});

export const nodes = define<NodeObject>({
  kind: 'Node',
  plural: 'nodes',
  shortNames: ['no'],
  namespaced: false,
  subresources: ['status'],
  selectableFields: ['spec.unschedulable'],
  prepare: (draft) => ({ ...draft, spec: draft.spec ?? {}, status: draft.status ?? {} }),
});

export const pods = define<PodObject>({
  kind: 'Pod',
  plural: 'pods',
  shortNames: ['po'],
  categories: ['all'],
  subresources: ['status', 'log', 'eviction', 'binding'],
  selectableFields: ['spec.nodeName', 'spec.restartPolicy', 'status.phase', 'status.podIP'],
  prepare: (draft) => ({
    ...draft,
    spec: podSpecDefaults(draft.spec ?? { containers: [] }),
    status: { phase: 'Pending' },
  }),
  validate: (next, previous) => [
    ...containerCauses(next, 'spec'),
    ...(previous === undefined ? [] : podChangeCauses(next, previous)),
  ],
});

export const deployments = define<DeploymentObject>({
  group: 'apps',
  kind: 'Deployment',
  plural: 'deployments',
  shortNames: ['deploy'],
  categories: ['all'],
  subresources: ['status', 'scale'],
  prepare: (draft) => ({ ...draft, spec: { ...draft.spec, replicas: draft.spec?.replicas ?? 1 }, status: {} }),
  validate: ({ spec }, previous) => {
    const labels = spec.template?.metadata?.labels ?? {};
    const empty = Object.keys(spec.selector?.matchLabels ?? {}).length + (spec.selector?.matchExpressions?.length ?? 0);
    return [
      ...(isCount(spec.replicas) ? [] : [wrong('spec.replicas', spec.replicas, 'must be greater than or equal to 0')]),
      ...(empty === 0 ? [required('spec.selector')] : []),
      ...(empty > 0 && !selectorMatch(spec.selector)(labels)
        ? [wrong('spec.template.metadata.labels', labels, '`selector` does not match template `labels`')]
        : []),
      ...(previous !== undefined && JSON.stringify(previous.spec.selector) !== JSON.stringify(spec.selector)
        ? [wrong('spec.selector', spec.selector, 'field is immutable')]
        : []),
      ...containerCauses(spec.template ?? {}, 'spec.template.spec'),
    ];
  },
});

/** Served empty: deployments own their pods directly, and `kubectl describe deployment` asks for these. */
export const replicaSets = define<KubernetesObject>({
  group: 'apps',
  kind: 'ReplicaSet',
  plural: 'replicasets',
  shortNames: ['rs'],
  categories: ['all'],
});

export const events = define<EventObject>({
  kind: 'Event',
  plural: 'events',
  shortNames: ['ev'],
  selectableFields: [
    'involvedObject.kind',
    'involvedObject.name',
    'involvedObject.namespace',
    'involvedObject.uid',
    'reason',
    'type',
    'source',
  ],
});

export const leases = define<LeaseObject>({
  group: 'coordination.k8s.io',
  kind: 'Lease',
  plural: 'leases',
  validate: ({ spec }) =>
    spec?.leaseDurationSeconds !== undefined && !(spec.leaseDurationSeconds > 0)
      ? [wrong('spec.leaseDurationSeconds', spec.leaseDurationSeconds, 'must be greater than 0')]
      : [],
});

/** Asked, never kept: `kubectl auth can-i` and permission checks before a run. */
export const accessReviews = define<KubernetesObject>({
  group: 'authorization.k8s.io',
  kind: 'SelfSubjectAccessReview',
  plural: 'selfsubjectaccessreviews',
  namespaced: false,
});

// The cast forgets what each holds: a generic handler gives every resource back only objects that came out of it.
export const allResources: readonly AnyResource[] = [
  namespaces,
  nodes,
  pods,
  deployments,
  replicaSets,
  events,
  leases,
  accessReviews,
] as readonly unknown[] as readonly AnyResource[];

export const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'] as const;

/** Throws 422 with every cause. */
export const assertValid = <T extends KubernetesObject>(resource: Resource<T>, next: Draft<T>, previous?: T): void => {
  const causes = resource.validate(next, previous);
  if (causes.length > 0) throw invalid(resource, next.metadata.name, causes);
};
