import { randomUUID } from 'node:crypto';
import { alreadyExists, conflict, expired, modified, notFound } from './api-error.ts';
import type { KubernetesObject, Metadata } from './objects.ts';
import type { Resource } from './resources.ts';

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

export interface Change {
  readonly revision: number;
  readonly type: ChangeType;
  readonly resource: Resource<KubernetesObject>;
  readonly object: KubernetesObject;
  /** The object before the change; undefined for ADDED. */
  readonly previous: KubernetesObject | undefined;
}

export interface Preconditions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

/** What a caller gives to create an object: the store adds identity and revision. */
export type Draft<T extends KubernetesObject> = Omit<T, 'metadata'> & {
  readonly metadata: Omit<Metadata, 'uid' | 'resourceVersion' | 'creationTimestamp'>;
};

/**
 * One region's objects: values that are replaced, never changed in place, under one revision counter. The newest
 * changes are kept so that a watch can go on from a past revision; older revisions answer 410.
 */
export interface Store {
  readonly revision: number;
  get<T extends KubernetesObject>(resource: Resource<T>, namespace: string, name: string): T | undefined;
  /** In key order; all namespaces when `namespace` is empty. */
  list<T extends KubernetesObject>(resource: Resource<T>, namespace: string): readonly T[];
  /** The list as it was at a past revision; throws 410 when that is no longer known. */
  listAt<T extends KubernetesObject>(resource: Resource<T>, namespace: string, revision: number): readonly T[];
  create<T extends KubernetesObject>(resource: Resource<T>, draft: Draft<T>): T;
  /** Replaces the object by what `change` makes of it; an equal result changes nothing, not even the revision. */
  update<T extends KubernetesObject>(
    resource: Resource<T>,
    namespace: string,
    name: string,
    change: (current: T) => T,
    preconditions?: Preconditions,
  ): T;
  remove<T extends KubernetesObject>(
    resource: Resource<T>,
    namespace: string,
    name: string,
    preconditions?: Preconditions,
  ): T;
  /** Changes after a revision, oldest first; throws 410 when some are no longer known. */
  changesSince(revision: number): readonly Change[];
  subscribe(listener: (change: Change) => void): () => void;
}

/** More than any watcher of the lab may lag behind; hundreds of pods may change twice before it is used up. */
const changesKeptDefault = 1024;

const keyOf = (namespace: string, name: string): string => `${namespace}/${name}`;

const check = (
  resource: Resource<KubernetesObject>,
  current: KubernetesObject,
  preconditions: Preconditions | undefined,
): void => {
  const { uid, resourceVersion } = preconditions ?? {};
  const { metadata } = current;
  if (uid !== undefined && uid !== metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${metadata.uid}`;
    throw conflict(resource, metadata.name, why);
  }
  if (resourceVersion !== undefined && resourceVersion !== '' && resourceVersion !== metadata.resourceVersion) {
    throw modified(resource, metadata.name);
  }
};

const sameValue = (left: unknown, right: unknown): boolean => JSON.stringify(left) === JSON.stringify(right);

export const createStore = (
  nowIso: () => string,
  options: { readonly changesKept?: number; readonly firstRevision?: number } = {},
): Store => {
  const changesKept = options.changesKept ?? changesKeptDefault;
  const objects = new Map<Resource<KubernetesObject>, Map<string, KubernetesObject>>();
  const listeners = new Set<(change: Change) => void>();
  let changes: Change[] = [];
  let revision = options.firstRevision ?? 1;
  /** The oldest revision from which every later change is still known. */
  let horizon = revision;

  const tableOf = (resource: Resource<KubernetesObject>): Map<string, KubernetesObject> => {
    const known = objects.get(resource);
    if (known !== undefined) return known;
    const fresh = new Map<string, KubernetesObject>();
    objects.set(resource, fresh);
    return fresh;
  };

  const publish = (change: Change): void => {
    changes.push(change);
    if (changes.length > changesKept * 2) {
      changes = changes.slice(-changesKept);
      horizon = (changes[0]?.revision ?? revision) - 1;
    }
    for (const listener of listeners) listener(change);
  };

  const stamped = <T extends KubernetesObject>(object: T): T => {
    revision += 1;
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
  };

  const existing = <T extends KubernetesObject>(resource: Resource<T>, namespace: string, name: string): T => {
    // A table holds only what was created under the same resource, whose type parameter says what that is.
    const found = tableOf(resource).get(keyOf(namespace, name)) as T | undefined;
    if (found === undefined) throw notFound(resource, name);
    return found;
  };

  const sorted = <T extends KubernetesObject>(table: ReadonlyMap<string, KubernetesObject>, namespace: string): T[] =>
    [...table.entries()]
      .filter(([, object]) => namespace === '' || object.metadata.namespace === namespace)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([, object]) => object as T);

  const changesSince = (since: number): readonly Change[] => {
    if (since < horizon) throw expired(`too old resource version: ${since} (${horizon})`);
    return changes.filter((change) => change.revision > since);
  };

  return {
    get revision() {
      return revision;
    },
    get: <T extends KubernetesObject>(resource: Resource<T>, namespace: string, name: string) =>
      tableOf(resource).get(keyOf(namespace, name)) as T | undefined,
    list: (resource, namespace) => sorted(tableOf(resource), namespace),
    listAt(resource, namespace, at) {
      const table = new Map(tableOf(resource));
      for (const change of changesSince(at).toReversed()) {
        if (change.resource !== resource) continue;
        const key = keyOf(change.object.metadata.namespace ?? '', change.object.metadata.name);
        if (change.previous === undefined) table.delete(key);
        else table.set(key, change.previous);
      }
      return sorted(table, namespace);
    },
    create<T extends KubernetesObject>(resource: Resource<T>, draft: Draft<T>): T {
      const { metadata } = draft;
      const key = keyOf(metadata.namespace ?? '', metadata.name);
      if (tableOf(resource).has(key)) throw alreadyExists(resource, metadata.name);
      const identity = { uid: randomUUID(), resourceVersion: '', creationTimestamp: nowIso() };
      const object = stamped({ ...draft, metadata: { ...metadata, ...identity } } as unknown as T);
      tableOf(resource).set(key, object);
      publish({ revision, type: 'ADDED', resource, object, previous: undefined });
      return object;
    },
    update(resource, namespace, name, change, preconditions) {
      const previous = existing(resource, namespace, name);
      check(resource, previous, preconditions);
      const next = change(previous);
      if (sameValue(next, previous)) return previous;
      const object = stamped(next);
      tableOf(resource).set(keyOf(namespace, name), object);
      publish({ revision, type: 'MODIFIED', resource, object, previous });
      return object;
    },
    remove(resource, namespace, name, preconditions) {
      const previous = existing(resource, namespace, name);
      check(resource, previous, preconditions);
      const object = stamped(previous);
      tableOf(resource).delete(keyOf(namespace, name));
      publish({ revision, type: 'DELETED', resource, object, previous });
      return object;
    },
    changesSince,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
};
