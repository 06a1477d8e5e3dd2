import type { ServerResponse } from 'node:http';
import { matcherOf, revisionIn, type Target } from './api.ts';
import { ApiError, expired, statusOf } from './api-error.ts';
import type { KubernetesObject } from './objects.ts';
import type { AnyResource } from './resources.ts';
import type { Change, Store } from './store.ts';
import { type IncludeObject, tableOf } from './table.ts';

export interface WatchOptions {
  readonly store: Store;
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
  /** Events carry one-row tables, as kubectl asks for; undefined: the objects themselves. */
  readonly table: IncludeObject | undefined;
}

/** Real time: keeps clients that give up on silent streams (30 s) listening. */
const bookmarkEveryMs = 10_000;
const durationDefaultSeconds = 1800;
/** A watcher that does not read is let go rather than fed from memory without end. */
const bufferedBytesMax = 8 * 1024 * 1024;

type Sent = { readonly type: string; readonly object: unknown };

/**
 * What a change means to somebody who sees only what `matches`: an object that stops matching is deleted for them, one
 * that begins to match is added.
 */
export const changeFor = (
  change: Change,
  matches: (object: KubernetesObject) => boolean,
): { readonly type: string; readonly object: KubernetesObject } | undefined => {
  const { type, object, previous } = change;
  const before = previous !== undefined && matches(previous);
  if (type === 'DELETED') return before ? { type, object } : undefined;
  const now = matches(object);
  if (!before && !now) return undefined;
  return { type: before ? (now ? 'MODIFIED' : 'DELETED') : 'ADDED', object };
};

const bookmark = (resource: AnyResource, revision: number, initialEnd: boolean): Sent => {
  const annotations = initialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
  const apiVersion = resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
  const metadata = { resourceVersion: String(revision), creationTimestamp: null, ...annotations };
  return { type: 'BOOKMARK', object: { kind: resource.kind, apiVersion, metadata } };
};

/** What happened since the revision the client names; an error is an event too, once the stream is open. */
const backlog = (options: WatchOptions, matches: (object: KubernetesObject) => boolean): readonly Sent[] => {
  const { store, query, target } = options;
  const { resource, namespace } = target;
  const since = revisionIn(query);
  const initial = query.get('sendInitialEvents') === 'true';
  if (initial || since === undefined || since === 0) {
    const objects = store.list(resource, namespace).filter(matches);
    const added = objects.map((object) => ({ type: 'ADDED', object }));
    return initial ? [...added, bookmark(resource, store.revision, true)] : added;
  }
  if (since > store.revision) {
    throw new ApiError(504, 'Timeout', `Timeout: Too large resource version: ${since}, current: ${store.revision}`);
  }
  return store
    .changesSince(since)
    .filter((change) => concerns(change, target))
    .map((change) => changeFor(change, matches))
    .filter((sent) => sent !== undefined);
};

const concerns = (change: Change, { resource, namespace, name }: Target): boolean =>
  change.resource === resource &&
  (namespace === '' || change.object.metadata.namespace === namespace) &&
  (name === '' || change.object.metadata.name === name);

/** Streams events, one JSON document a line, until the client goes, the time is up or the server stops. */
export const serveWatch = async (response: ServerResponse, options: WatchOptions): Promise<void> => {
  const { store, target, query, signal } = options;
  const matches = matcherOf(target.resource, query) ?? (() => true);
  revisionIn(query);
  response.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
  response.flushHeaders();

  const isObject = (object: unknown): object is KubernetesObject =>
    typeof object === 'object' && object !== null && 'spec' in object;
  const write = ({ type, object }: Sent): void => {
    const metadata = { resourceVersion: String(store.revision) };
    const shown =
      options.table === undefined || !isObject(object)
        ? object
        : tableOf(target.resource, [object], { nowMs: options.nowMs(), include: options.table, metadata });
    response.write(`${JSON.stringify({ type, object: shown })}\n`);
    if (response.writableLength > bufferedBytesMax) response.destroy();
  };

  try {
    for (const sent of backlog(options, matches)) write(sent);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    write({ type: 'ERROR', object: statusOf(error.code === 410 ? expired(error.message) : error) });
    response.end();
    return;
  }

  await new Promise<void>((resolve) => {
    const unsubscribe = store.subscribe((change) => {
      if (!concerns(change, target)) return;
      const sent = changeFor(change, matches);
      if (sent !== undefined) write(sent);
    });
    const bookmarks = query.get('allowWatchBookmarks') === 'true';
    const ticker = setInterval(() => {
      if (bookmarks) write(bookmark(target.resource, store.revision, false));
    }, bookmarkEveryMs);
    const finish = (): void => {
      unsubscribe();
      clearInterval(ticker);
      clearTimeout(limit);
      signal.removeEventListener('abort', finish);
      response.end();
      resolve();
    };
    const seconds = Number(query.get('timeoutSeconds') ?? 0) || durationDefaultSeconds;
    const limit = setTimeout(finish, seconds * 1000);
    if (signal.aborted) finish();
    else signal.addEventListener('abort', finish, { once: true });
  });
};
