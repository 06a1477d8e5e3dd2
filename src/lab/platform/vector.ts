import { systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import { normalize } from './embedding.ts';
import type { Handler } from './http.ts';
import { HttpError, pathOf, readBody, sendJson, serve } from './http.ts';
import type { VectorItem } from './vector-index.ts';
import { createRebuilds, type Rebuilds } from './vector-rebuild.ts';
import { type Snapshots, startSnapshots } from './vector-snapshots.ts';
import type { Cursor } from './vector-state.ts';
import { createStore, timesOf, type VectorStore } from './vector-store.ts';
import { type Syncs, sendState, startSyncs } from './vector-sync.ts';

/**
 * A region's vector store. The primary region's is written to; the others follow it by delta and full syncs, and refuse
 * writes, because a write they took would be gone after the next full sync. `?force=true` writes to a copy all the
 * same: that is how drift comes about.
 */

const bodyBytesMax = 8 * 1024 * 1024;
const itemsMax = 10_000;
const matchesMax = 1000;
const listMax = 1000;

const refuse = (message: string): HttpError => new HttpError(400, 'invalid_request_error', 'bad_request', message);

const parseVector = (value: unknown, dimensions: number): Float32Array => {
  if (!Array.isArray(value) || value.length !== dimensions || !value.every((one) => Number.isFinite(one))) {
    throw refuse(`a vector has ${dimensions} numbers`);
  }
  return Float32Array.from(value);
};

const parseJson = (body: Buffer): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Refused below like any other body that is no JSON object.
  }
  throw refuse('the body is not a JSON object');
};

const lengthSlack = 1e-5;

/** What has length 1 but for rounding is kept to the bit, so that an item put back is the one that was read. */
const ofLengthOne = (vector: Float32Array): Float32Array => {
  let square = 0;
  for (const value of vector) square += value * value;
  return Math.abs(square - 1) < lengthSlack ? vector : normalize(vector);
};

const parseItems = ({ items }: Record<string, unknown>, dimensions: number): readonly VectorItem[] => {
  if (!Array.isArray(items) || items.length > itemsMax) throw refuse(`items: a list of at most ${itemsMax}`);
  return items.map((item: Record<string, unknown>) => {
    const { id, vector, text } = item ?? {};
    if (typeof id !== 'string' || id === '') throw refuse('every item has an id');
    return {
      id,
      vector: ofLengthOne(parseVector(vector, dimensions)),
      text: typeof text === 'string' ? text : '',
    };
  });
};

const parseIds = ({ ids }: Record<string, unknown>): readonly string[] => {
  const isList = Array.isArray(ids) && ids.length <= itemsMax && ids.every((id) => typeof id === 'string');
  if (!isList) throw refuse(`ids: a list of at most ${itemsMax}`);
  return ids;
};

const parseOwner = ({ owner }: Record<string, unknown>): string => {
  if (typeof owner !== 'string' || owner === '') throw refuse('owner: who asks for it');
  return owner;
};

const parseMs = (value: unknown, name: string): number => {
  const ms = Number(value);
  if (typeof value !== 'number' || !(ms > 0) || !Number.isFinite(ms)) throw refuse(`${name}: real milliseconds`);
  return ms;
};

interface Parts {
  readonly context: ComponentContext;
  readonly store: VectorStore;
  readonly snapshots: Snapshots;
  /** Of a replica. */
  readonly syncs: Syncs | undefined;
  readonly rebuilds: Rebuilds;
}

/** Ages and waits in real milliseconds, so that whoever asks needs no clock in common with this machine. */
const statusOf = ({ context, store, snapshots, syncs, rebuilds }: Parts): unknown => {
  const nowMs = systemClock.monotonicMs();
  const { periodMs, durationMs, fullPeriodMs } = timesOf(context.layout, store.region);
  const { shown, loss, state, role, region, epoch, dimensions } = store;
  const index = state === 'serving' ? store.serving() : undefined;
  const { running, last, nextDueMs, nextFullDueMs, paused } = syncs?.state ?? {};
  const sync = {
    periodMs,
    durationMs,
    fullPeriodMs,
    running: running === undefined ? null : { kind: running.kind, startedAgoMs: nowMs - running.startedMs },
    last:
      last === undefined
        ? null
        : {
            kind: last.kind,
            startedAgoMs: nowMs - last.startedMs,
            finishedAgoMs: nowMs - last.finishedMs,
            items: last.items,
            error: last.error,
          },
    nextDueInMs: (nextDueMs ?? nowMs) - nowMs,
    nextFullDueInMs: (nextFullDueMs ?? nowMs) - nowMs,
    paused: paused === undefined ? null : { owner: paused.owner, forMs: paused.untilMs - nowMs },
    shown:
      shown === undefined
        ? null
        : { takenAgoMs: nowMs - shown.takenMs, sequence: shown.sequence, count: shown.count, digest: shown.digest },
  };
  const { last: snapshot, error, nextDueMs: snapshotDueMs } = snapshots;
  return {
    region,
    role,
    state,
    epoch,
    dimensions,
    count: index?.count ?? 0,
    sequence: index?.sequence ?? 0,
    digest: index?.digest ?? null,
    lost: loss === undefined ? null : { owner: loss.owner, sinceAgoMs: nowMs - loss.sinceMs },
    sync: syncs === undefined ? null : sync,
    snapshot: {
      last:
        snapshot === undefined
          ? null
          : { key: snapshot.key, takenAgoMs: nowMs - snapshot.takenMs, count: snapshot.count },
      nextDueInMs: snapshotDueMs - nowMs,
      error,
    },
    rebuild: rebuilds.status(nowMs),
  };
};

type Route = (asked: {
  readonly query: URLSearchParams;
  readonly body: () => Promise<Record<string, unknown>>;
}) => Promise<readonly [number, unknown]> | readonly [number, unknown];

const notWritable = (store: VectorStore): HttpError =>
  new HttpError(409, 'invalid_request_error', 'replica', `${store.region} is a copy: write to the primary region`);

/** What data is read and written by. */
const dataRoutes = ({ store }: Parts): Readonly<Record<string, Route>> => {
  const { dimensions } = store;
  const mayWrite = (query: URLSearchParams): void => {
    if (store.role === 'replica' && query.get('force') !== 'true') throw notWritable(store);
  };
  return {
    'GET /count': () => [200, { count: store.serving().count }],
    'GET /list': ({ query }) => {
      const limit = Math.max(1, Math.min(Number(query.get('limit') ?? listMax) || listMax, listMax));
      const page = store.serving().list(query.get('prefix') ?? '', query.get('after') ?? '', limit);
      return [200, { ...page, epoch: store.epoch }];
    },
    'POST /query': async ({ body }) => {
      const { vector, k } = await body();
      const limit = Math.max(1, Math.min(Number(k ?? 10) || 10, matchesMax));
      return [200, { matches: store.serving().query(parseVector(vector, dimensions), limit) }];
    },
    'POST /upsert': async ({ query, body }) => {
      mayWrite(query);
      const items = parseItems(await body(), dimensions);
      const index = store.serving();
      for (const item of items) index.put(item);
      return [200, { upserted: items.length, epoch: store.epoch, sequence: index.sequence }];
    },
    'POST /delete': async ({ query, body }) => {
      mayWrite(query);
      const ids = parseIds(await body());
      const index = store.serving();
      return [200, { deleted: ids.filter((id) => index.remove(id)).length }];
    },
  };
};

/** What operates the store: snapshots, syncs, and the loss of its index. */
const operationRoutes = (parts: Parts): Readonly<Record<string, Route>> => {
  const { context, store, snapshots, syncs, rebuilds } = parts;
  const following = (): Syncs => {
    if (syncs === undefined) throw refuse(`${store.region} follows no other store`);
    return syncs;
  };
  return {
    'GET /status': () => [200, statusOf(parts)],
    'POST /snapshot': async () => {
      const { key, count } = await snapshots.take();
      return [200, { key, count }];
    },
    'POST /sync/pause': async ({ body }) => {
      const asked = await body();
      following().pause(parseOwner(asked), parseMs(asked['forMs'], 'forMs'));
      return [200, statusOf(parts)];
    },
    'POST /sync/resume': () => {
      following().resume();
      return [200, statusOf(parts)];
    },
    'POST /lose': async ({ body }) => {
      const asked = await body();
      const owner = parseOwner(asked);
      const expiresMs = parseMs(asked['expiresMs'], 'expiresMs');
      if (store.state !== 'serving') throw new HttpError(409, 'invalid_request_error', 'lost', 'it is lost already');
      store.lose(owner);
      context.truth('vector.lost', store.region, { owner });
      rebuilds.expire(expiresMs);
      return [200, statusOf(parts)];
    },
    'POST /rebuild': async ({ body }) => {
      const { from } = await body();
      if (from !== 'snapshot' && from !== 'source') throw refuse('from: snapshot or source');
      rebuilds.start(from);
      return [202, statusOf(parts)];
    },
  };
};

const createHandler = (parts: Parts): Handler => {
  const { context, store } = parts;
  const routes = { ...dataRoutes(parts), ...operationRoutes(parts) };
  const { durationMs } = timesOf(context.layout, store.region);
  return async (request, response) => {
    const path = pathOf(request);
    if (path === '/healthz') return sendJson(response, 200, { status: 'alive' });
    const query = new URL(request.url ?? '/', 'http://vectors').searchParams;
    const route = routes[`${request.method} ${path}`];
    if (route !== undefined) {
      const [status, value] = await route({
        query,
        body: async () => parseJson(await readBody(request, bodyBytesMax)),
      });
      return sendJson(response, status, value);
    }
    if (request.method === 'GET' && path === '/changes') {
      if (store.role === 'replica') throw notWritable(store);
      const since = query.get('since');
      const cursor: Cursor | undefined =
        since === null ? undefined : { epoch: query.get('epoch') ?? '', sequence: Number(since) };
      return await sendState(response, store.take(cursor), durationMs, context.signal);
    }
    if (request.method === 'GET' && path.startsWith('/vectors/')) {
      const found = store.serving().get(decodeURIComponent(path.slice('/vectors/'.length)));
      if (found !== undefined) return sendJson(response, 200, { ...found, vector: [...found.vector] });
    }
    throw new HttpError(404, 'invalid_request_error', 'not_found', `there is no ${request.method} ${path}`);
  };
};

export const component: Component = {
  kind: 'vector',
  async start(context) {
    const { layout, options } = context;
    const { region = '' } = options;
    const endpoint = layout.endpoints.find((candidate) => candidate.id === `vector/${region}`);
    if (endpoint === undefined) throw new Error(`the layout has no vector/${region}`);
    const store = createStore(context, region);
    const snapshots = startSnapshots(context, store);
    const { periodMs } = timesOf(layout, region);
    const syncs = store.role === 'replica' && periodMs !== null ? startSyncs(context, store, periodMs) : undefined;
    const rebuilds = createRebuilds(context, store, snapshots, syncs);
    const parts: Parts = { context, store, snapshots, syncs, rebuilds };
    const { port } = await serve(context, endpoint.port, createHandler(parts));
    return { port };
  },
};
