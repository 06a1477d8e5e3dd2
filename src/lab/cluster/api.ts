import { randomBytes } from 'node:crypto';
import { ApiError, badRequest, expired, notFound } from './api-error.ts';
import {
  type DeploymentObject,
  type Json,
  type JsonObject,
  type KubernetesObject,
  type Metadata,
  type PodObject,
  timestamp,
} from './objects.ts';
import { jsonPatch, mergePatch, strategicMerge } from './patch.ts';
import {
  type AnyResource,
  accessReviews,
  allResources,
  assertValid,
  deployments,
  namespaces,
  pods,
  verbs,
} from './resources.ts';
import { parseFieldSelector, parseLabelSelector } from './selectors.ts';
import type { Draft, Preconditions, Store } from './store.ts';

/** What a request is about, parsed from its path and query. */
export interface Target {
  readonly resource: AnyResource;
  /** Empty for cluster-scoped resources and for lists over all namespaces. */
  readonly namespace: string;
  /** Empty for collections. */
  readonly name: string;
  readonly subresource: string;
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number | undefined;
  readonly preconditions?: Preconditions | undefined;
  readonly propagationPolicy?: string | undefined;
  readonly dryRun: boolean;
}

export interface ListResult {
  readonly items: readonly KubernetesObject[];
  readonly metadata: {
    readonly resourceVersion: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
}

const suffixAlphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** Five characters, as generated names end in. */
export const randomSuffix = (): string =>
  Array.from(randomBytes(5), (byte) => suffixAlphabet[byte % suffixAlphabet.length]).join('');

export const apiVersionOf = (resource: AnyResource): string =>
  resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const objectBody = (body: unknown): JsonObject => {
  if (!isJsonObject(body)) throw badRequest('the request body must be a JSON object');
  return body;
};

const strings = (value: unknown): Record<string, string> | undefined => {
  if (!isJsonObject(value)) return undefined;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, String(entry)]));
};

/** The parts of metadata that a caller decides. */
const callerMetadata = (body: JsonObject): Pick<Metadata, 'labels' | 'annotations' | 'ownerReferences'> => {
  const metadata = isJsonObject(body['metadata']) ? body['metadata'] : {};
  const labels = strings(metadata['labels']);
  const annotations = strings(metadata['annotations']);
  const owners = metadata['ownerReferences'];
  return {
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
    // Kept as it came: only garbage collection reads it, and it looks at uids alone.
    ...(Array.isArray(owners)
      ? { ownerReferences: owners as unknown as NonNullable<Metadata['ownerReferences']> }
      : {}),
  };
};

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

const assertSameType = (resource: AnyResource, body: JsonObject): void => {
  const kind = text(body['kind']);
  const apiVersion = text(body['apiVersion']);
  if (kind !== '' && kind !== resource.kind) {
    throw badRequest(`${kind} in version "${apiVersion}" cannot be handled as a ${resource.kind}`);
  }
  if (apiVersion !== '' && apiVersion !== apiVersionOf(resource)) {
    throw badRequest(
      `the API version in the data (${apiVersion}) does not match the expected API version (${apiVersionOf(resource)})`,
    );
  }
};

const draftOf = ({ resource, namespace, name }: Target, body: JsonObject): Draft<KubernetesObject> => {
  assertSameType(resource, body);
  const metadata = isJsonObject(body['metadata']) ? body['metadata'] : {};
  const wanted = text(metadata['namespace']);
  if (wanted !== '' && wanted !== namespace) {
    throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
  }
  const generateName = text(metadata['generateName']);
  const given = text(metadata['name']) || name;
  if (given === '' && generateName === '') {
    throw new ApiError(
      422,
      'Invalid',
      `${resource.kind} "" is invalid: metadata.name: Required value: name or generateName is required`,
    );
  }
  return resource.prepare({
    ...body,
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    metadata: {
      name: given === '' ? `${generateName}${randomSuffix()}` : given,
      ...(resource.namespaced ? { namespace } : {}),
      ...(generateName === '' ? {} : { generateName }),
      ...(resource === (deployments as unknown) ? { generation: 1 } : {}),
      ...callerMetadata(body),
    },
  });
};

/** Field access on an object whose kind is not known here. */
const field = (object: KubernetesObject, key: string): unknown => Reflect.get(object, key);

/**
 * `next` as the caller wants it, with what callers may not change taken from `current`: identity always; status on the
 * main path, everything but status on the status path.
 */
const accepted = (target: Target, current: KubernetesObject, next: JsonObject): KubernetesObject => {
  const { resource, subresource } = target;
  assertSameType(resource, next);
  if (subresource === 'status') {
    const status = next['status'];
    return status === undefined ? current : ({ ...current, status } as KubernetesObject);
  }
  const { labels: _l, annotations: _a, ownerReferences: _o, ...identity } = current.metadata;
  const status = resource.subresources.includes('status') ? field(current, 'status') : next['status'];
  const candidate = {
    ...next,
    apiVersion: current.apiVersion,
    kind: current.kind,
    metadata: { ...identity, ...callerMetadata(next) },
    ...(status === undefined ? {} : { status }),
  } as KubernetesObject;
  const specChanged = JSON.stringify(field(candidate, 'spec')) !== JSON.stringify(field(current, 'spec'));
  if (current.metadata.generation === undefined || !specChanged) return candidate;
  return { ...candidate, metadata: { ...candidate.metadata, generation: current.metadata.generation + 1 } };
};

const preconditionsIn = (body: JsonObject): Preconditions => {
  const metadata = isJsonObject(body['metadata']) ? body['metadata'] : {};
  return { uid: text(metadata['uid']) || undefined, resourceVersion: text(metadata['resourceVersion']) || undefined };
};

const scaleOf = (deployment: DeploymentObject): KubernetesObject => {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = deployment.metadata;
  const { replicas, selector } = deployment.spec;
  const labels = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  return {
    apiVersion: 'autoscaling/v1',
    kind: 'Scale',
    metadata: { name, ...(namespace === undefined ? {} : { namespace }), uid, resourceVersion, creationTimestamp },
    spec: { replicas },
    status: { replicas: deployment.status.replicas ?? 0, selector: labels.join(',') },
  } as KubernetesObject;
};

/** The matcher of a list or watch. */
export const matcherOf = (
  resource: AnyResource,
  query: URLSearchParams,
): ((object: KubernetesObject) => boolean) | undefined => {
  const labelSelector = query.get('labelSelector') ?? '';
  const fieldSelector = query.get('fieldSelector') ?? '';
  if (labelSelector === '' && fieldSelector === '') return undefined;
  const labels = parseLabelSelector(labelSelector);
  const fields = parseFieldSelector(fieldSelector, resource.selectableFields);
  return (object) => labels(object.metadata.labels ?? {}) && fields(object);
};

/** A revision in a query; a text that is none is a 400. */
export const revisionIn = (query: URLSearchParams): number | undefined => {
  const value = query.get('resourceVersion') ?? '';
  if (value === '') return undefined;
  if (!/^\d+$/.test(value))
    throw badRequest(`resourceVersion: Invalid value: "${value}": strconv.ParseUint: invalid syntax`);
  return Number(value);
};

const continueToken = (revision: number, after: string): string =>
  Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: revision, start: after })).toString('base64url');

const parseContinue = (token: string): { readonly revision: number; readonly after: string } => {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, 'base64url').toString());
    if (isJsonObject(parsed) && typeof parsed['rv'] === 'number' && typeof parsed['start'] === 'string') {
      return { revision: parsed['rv'], after: parsed['start'] };
    }
  } catch (cause) {
    throw new ApiError(400, 'BadRequest', `continue key is not valid: ${String(cause)}`);
  }
  throw badRequest('continue key is not valid: incorrect encoded start resourceVersion');
};

const listKey = (object: KubernetesObject): string => `${object.metadata.namespace ?? ''}/${object.metadata.name}`;

/** Everything one cluster's API does, without HTTP: objects in, objects out, `ApiError` when it refuses. */
export interface Api {
  get(target: Target): KubernetesObject;
  list(target: Target, query: URLSearchParams): ListResult;
  create(target: Target, body: unknown, dryRun: boolean): KubernetesObject;
  update(target: Target, body: unknown, dryRun: boolean): KubernetesObject;
  /** Also whether it was created, which only an apply patch can do. */
  patch(
    target: Target,
    body: unknown,
    contentType: string,
    dryRun: boolean,
  ): { object: KubernetesObject; created: boolean };
  remove(target: Target, options: DeleteOptions): KubernetesObject;
}

const allowed = (body: JsonObject): boolean => {
  const spec = isJsonObject(body['spec']) ? body['spec'] : {};
  const attributes = isJsonObject(spec['resourceAttributes']) ? spec['resourceAttributes'] : {};
  const { group = '', resource = '', subresource = '', verb = '' } = attributes;
  const found = allResources.find((candidate) => candidate.plural === resource && candidate.group === group);
  if (resource === '*') return true;
  if (found === undefined) return false;
  if (subresource !== '' && subresource !== '*' && !found.subresources.includes(String(subresource))) return false;
  return verb === '*' || verbs.some((known) => known === verb);
};

export const createApi = (store: Store, nowMs: () => number): Api => {
  const existing = ({ resource, namespace, name }: Target): KubernetesObject => {
    const found = store.get(resource, namespace, name);
    if (found === undefined) throw notFound(resource, name);
    return found;
  };

  const put = (target: Target, make: (current: KubernetesObject) => JsonObject, dryRun: boolean): KubernetesObject => {
    const { resource, namespace, name } = target;
    const wanted = make(existing(target));
    const wantedName = isJsonObject(wanted['metadata']) ? text(wanted['metadata']['name']) : '';
    if (wantedName !== '' && wantedName !== name) {
      throw badRequest(`the name of the object (${wantedName}) does not match the name on the URL (${name})`);
    }
    const change = (current: KubernetesObject): KubernetesObject => {
      const next = accepted(target, current, wanted);
      assertValid(resource, next, current);
      return next;
    };
    if (dryRun) return change(existing(target));
    return store.update(resource, namespace, name, change, preconditionsIn(wanted));
  };

  const scale = (target: Target, wanted: JsonObject, dryRun: boolean): KubernetesObject => {
    const { namespace, name } = target;
    const spec = isJsonObject(wanted['spec']) ? wanted['spec'] : {};
    const change = (current: DeploymentObject): DeploymentObject => {
      const replicas = Number(spec['replicas'] ?? 0);
      const generation = (current.metadata.generation ?? 1) + (replicas === current.spec.replicas ? 0 : 1);
      const next = { ...current, metadata: { ...current.metadata, generation }, spec: { ...current.spec, replicas } };
      assertValid(deployments, next, current);
      return next;
    };
    const current = store.get(deployments, namespace, name);
    if (current === undefined) throw notFound(deployments, name);
    if (dryRun) return scaleOf(change(current));
    return scaleOf(store.update(deployments, namespace, name, change, preconditionsIn(wanted)));
  };

  const get = (target: Target): KubernetesObject => {
    if (target.subresource !== 'scale') return existing(target);
    const found = store.get(deployments, target.namespace, target.name);
    if (found === undefined) throw notFound(deployments, target.name);
    return scaleOf(found);
  };

  const create = (target: Target, body: unknown, dryRun: boolean): KubernetesObject => {
    const { resource, namespace } = target;
    const wanted = objectBody(body);
    if (resource === accessReviews) {
      return {
        ...wanted,
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        status: { allowed: allowed(wanted) },
      } as unknown as KubernetesObject;
    }
    if (resource.namespaced && store.get(namespaces, '', namespace) === undefined)
      throw notFound(namespaces, namespace);
    const draft = draftOf(target, wanted);
    assertValid(resource, draft);
    if (!dryRun) return store.create(resource, draft);
    const identity = { uid: '', resourceVersion: '', creationTimestamp: timestamp(nowMs()) };
    return { ...draft, metadata: { ...draft.metadata, ...identity } };
  };

  const patched = (current: unknown, body: unknown, contentType: string): JsonObject => {
    // Objects of the store are plain JSON: they came in as such.
    const document = current as Json;
    const change = body as Json;
    if (contentType === 'application/json-patch+json') return objectBody(jsonPatch(document, change));
    if (contentType === 'application/merge-patch+json') return objectBody(mergePatch(document, objectBody(change)));
    return objectBody(strategicMerge(document, objectBody(change)));
  };

  const removePod = (pod: PodObject, target: Target, options: DeleteOptions): KubernetesObject => {
    const { namespace, name } = target;
    const wantedSeconds = options.gracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
    // A pod that no node runs has nobody to wait for.
    const over = pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
    const graceSeconds = pod.spec.nodeName === undefined || over ? 0 : wantedSeconds;
    if (graceSeconds <= 0) return store.remove(pods, namespace, name, options.preconditions);
    return store.update(
      pods,
      namespace,
      name,
      (current) => {
        const before = current.metadata.deletionGracePeriodSeconds;
        if (before !== undefined && before <= graceSeconds) return current;
        const deletionTimestamp = timestamp(nowMs() + graceSeconds * 1000);
        const metadata = { ...current.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds };
        return { ...current, metadata };
      },
      options.preconditions,
    );
  };

  return {
    get,
    create,
    list({ resource, namespace }, query) {
      const matches = matcherOf(resource, query) ?? (() => true);
      const token = query.get('continue') ?? '';
      const limit = Number(query.get('limit') ?? 0);
      const from = token === '' ? undefined : parseContinue(token);
      const exact = query.get('resourceVersionMatch') === 'Exact' ? revisionIn(query) : undefined;
      const revision = from?.revision ?? exact ?? store.revision;
      if (revision > store.revision) {
        throw new ApiError(
          504,
          'Timeout',
          `Timeout: Too large resource version: ${revision}, current: ${store.revision}`,
        );
      }
      let all: readonly KubernetesObject[];
      try {
        all =
          revision === store.revision ? store.list(resource, namespace) : store.listAt(resource, namespace, revision);
      } catch (error) {
        if (from === undefined) throw error;
        throw expired('The provided continue parameter is too old to display a consistent list result.');
      }
      const rest = all.filter((object) => matches(object) && (from === undefined || listKey(object) > from.after));
      const items = limit > 0 ? rest.slice(0, limit) : rest;
      const last = items.at(-1);
      const more = rest.length - items.length;
      const page =
        more > 0 && last !== undefined
          ? { continue: continueToken(revision, listKey(last)), remainingItemCount: more }
          : {};
      return { items, metadata: { resourceVersion: String(revision), ...page } };
    },
    update(target, body, dryRun) {
      const wanted = objectBody(body);
      return target.subresource === 'scale' ? scale(target, wanted, dryRun) : put(target, () => wanted, dryRun);
    },
    patch(target, body, contentType, dryRun) {
      if (target.subresource === 'scale') {
        return { object: scale(target, patched(get(target), body, contentType), dryRun), created: false };
      }
      const applying = contentType === 'application/apply-patch+yaml';
      if (applying && store.get(target.resource, target.namespace, target.name) === undefined) {
        return { object: create(target, body, dryRun), created: true };
      }
      return { object: put(target, (current) => patched(current, body, contentType), dryRun), created: false };
    },
    remove(target, options) {
      const { resource, namespace, name } = target;
      const current = existing(target);
      if (options.dryRun) return current;
      const pod = resource === (pods as unknown) ? store.get(pods, namespace, name) : undefined;
      if (pod !== undefined) return removePod(pod, target, options);
      if (options.propagationPolicy === 'Orphan') orphan(store, current.metadata.uid, namespace);
      return store.remove(resource, namespace, name, options.preconditions);
    },
  };
};

/** Lets the pods of an owner live on without it. */
const orphan = (store: Store, ownerUid: string, namespace: string): void => {
  for (const pod of store.list(pods, namespace)) {
    const owners = pod.metadata.ownerReferences ?? [];
    if (!owners.some((owner) => owner.uid === ownerUid)) continue;
    store.update(pods, namespace, pod.metadata.name, (current) => ({
      ...current,
      metadata: { ...current.metadata, ownerReferences: owners.filter((owner) => owner.uid !== ownerUid) },
    }));
  }
};
