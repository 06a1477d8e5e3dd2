import {
  conditionOf,
  type DeploymentObject,
  type EventObject,
  isReady,
  type KubernetesObject,
  type LeaseObject,
  type NodeObject,
  type PodObject,
} from './objects.ts';
import { deployments, events, leases, namespaces, nodes, pods, type Resource } from './resources.ts';

interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  /** 0 is always shown, 1 with `-o wide`. */
  readonly priority: 0 | 1;
}

interface View {
  readonly columns: readonly Column[];
  cells(object: KubernetesObject, nowMs: number): readonly (string | number)[];
}

const column = (name: string, priority: 0 | 1 = 0, type: Column['type'] = 'string'): Column => ({
  name,
  type,
  priority,
});

const unitsMs = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 } as const;

/** `45s`, `3m20s`, `5h2m`, `3d4h`: how kubectl users know ages. */
export const age = (fromIso: string | undefined, nowMs: number): string => {
  if (fromIso === undefined) return '<unknown>';
  const elapsedMs = Math.max(0, nowMs - Date.parse(fromIso));
  const count = (unit: keyof typeof unitsMs, withinMs = Number.POSITIVE_INFINITY): number =>
    Math.floor((elapsedMs % withinMs) / unitsMs[unit]);
  const pair = (big: keyof typeof unitsMs, small: keyof typeof unitsMs): string => {
    const rest = count(small, unitsMs[big]);
    return rest === 0 ? `${count(big)}${big}` : `${count(big)}${big}${rest}${small}`;
  };
  if (elapsedMs < 2 * unitsMs.m) return `${count('s')}s`;
  if (elapsedMs < 10 * unitsMs.m) return pair('m', 's');
  if (elapsedMs < 3 * unitsMs.h) return `${count('m')}m`;
  if (elapsedMs < 8 * unitsMs.h) return pair('h', 'm');
  if (elapsedMs < 2 * unitsMs.d) return `${count('h')}h`;
  return elapsedMs < 8 * unitsMs.d ? pair('d', 'h') : `${count('d')}d`;
};

const podStatus = (pod: PodObject): string => {
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  for (const { state } of pod.status.containerStatuses ?? []) {
    if (state.waiting !== undefined) return state.waiting.reason;
    if (state.terminated !== undefined) return state.terminated.reason;
  }
  return pod.status.reason ?? pod.status.phase;
};

const podCells = (pod: PodObject, nowMs: number): readonly (string | number)[] => {
  const statuses = pod.status.containerStatuses ?? [];
  const restarts = statuses.reduce((sum, status) => sum + status.restartCount, 0);
  const lastRestart = statuses.map((status) => status.lastState.terminated?.finishedAt).find((at) => at !== undefined);
  return [
    pod.metadata.name,
    `${statuses.filter((status) => status.ready).length}/${pod.spec.containers.length}`,
    podStatus(pod),
    restarts > 0 && lastRestart !== undefined ? `${restarts} (${age(lastRestart, nowMs)} ago)` : `${restarts}`,
    age(pod.metadata.creationTimestamp, nowMs),
    pod.status.podIP ?? '<none>',
    pod.spec.nodeName ?? '<none>',
    '<none>',
    '<none>',
  ];
};

const nodeStatus = (node: NodeObject): string =>
  [
    conditionOf(node, 'Ready') === undefined ? 'Unknown' : isReady(node) ? 'Ready' : 'NotReady',
    ...(node.spec.unschedulable === true ? ['SchedulingDisabled'] : []),
  ].join(',');

const deploymentCells = ({ metadata, spec, status }: DeploymentObject, nowMs: number): readonly (string | number)[] => {
  const { containers } = spec.template.spec;
  return [
    metadata.name,
    `${status.readyReplicas ?? 0}/${spec.replicas}`,
    status.updatedReplicas ?? 0,
    status.availableReplicas ?? 0,
    age(metadata.creationTimestamp, nowMs),
    containers.map((container) => container.name).join(','),
    containers.map((container) => container.image).join(','),
    Object.entries(spec.selector.matchLabels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(','),
  ];
};

const name = column('Name');
const ageColumn = column('Age');

const plain: View = {
  columns: [name, column('Created At', 0, 'date')],
  cells: ({ metadata }) => [metadata.name, metadata.creationTimestamp],
};

const view = <T extends KubernetesObject>(
  resource: Resource<T>,
  columns: readonly Column[],
  cells: (object: T, nowMs: number) => readonly (string | number)[],
): readonly [string, View] => [
  resource.kind,
  // The view is looked up by the kind of the resource whose objects it is given.
  { columns, cells: (object, nowMs) => cells(object as T, nowMs) },
];

const views = new Map<string, View>([
  view(namespaces, [name, column('Status'), ageColumn], ({ metadata }, nowMs) => [
    metadata.name,
    'Active',
    age(metadata.creationTimestamp, nowMs),
  ]),
  view(
    pods,
    [
      name,
      column('Ready'),
      column('Status'),
      column('Restarts'),
      ageColumn,
      column('IP', 1),
      column('Node', 1),
      column('Nominated Node', 1),
      column('Readiness Gates', 1),
    ],
    podCells,
  ),
  view(nodes, [name, column('Status'), column('Roles'), ageColumn, column('Version')], (node, nowMs) => [
    node.metadata.name,
    nodeStatus(node),
    '<none>',
    age(node.metadata.creationTimestamp, nowMs),
    node.status.nodeInfo?.kubeletVersion ?? '',
  ]),
  view(
    deployments,
    [
      name,
      column('Ready'),
      column('Up-to-date', 0, 'integer'),
      column('Available', 0, 'integer'),
      ageColumn,
      column('Containers', 1),
      column('Images', 1),
      column('Selector', 1),
    ],
    deploymentCells,
  ),
  view(
    events,
    [column('Last Seen'), column('Type'), column('Reason'), column('Object'), column('Message'), column('Name', 1)],
    (event: EventObject, nowMs) => [
      age(event.lastTimestamp ?? event.metadata.creationTimestamp, nowMs),
      event.type ?? '',
      event.reason ?? '',
      `${(event.involvedObject.kind ?? '').toLowerCase()}/${event.involvedObject.name ?? ''}`,
      event.message ?? '',
      event.metadata.name,
    ],
  ),
  view(leases, [name, column('Holder'), ageColumn], (lease: LeaseObject, nowMs) => [
    lease.metadata.name,
    lease.spec.holderIdentity ?? '',
    age(lease.metadata.creationTimestamp, nowMs),
  ]),
]);

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** The `Table` that kubectl prints: server-side columns, so that it needs to know nothing of the kinds. */
export const tableOf = (
  resource: Resource<KubernetesObject>,
  objects: readonly KubernetesObject[],
  options: {
    readonly nowMs: number;
    readonly include: IncludeObject;
    readonly metadata: Readonly<Record<string, unknown>>;
  },
): Record<string, unknown> => {
  const { columns, cells } = views.get(resource.kind) ?? plain;
  const rowObject = (object: KubernetesObject): unknown =>
    options.include === 'Object'
      ? object
      : { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: options.metadata,
    columnDefinitions: columns.map(({ name: title, type, priority }) => ({
      name: title,
      type,
      format: title === 'Name' ? 'name' : '',
      description: title,
      priority,
    })),
    rows: objects.map((object) => ({
      cells: cells(object, options.nowMs),
      ...(options.include === 'None' ? {} : { object: rowObject(object) }),
    })),
  };
};
