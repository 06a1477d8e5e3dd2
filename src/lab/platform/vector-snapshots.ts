import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { ComponentContext } from '../component.ts';
import { forwardPort, regionPlace, scaledTimeout } from '../layout.ts';
import { CallError, type CallOptions, call, linkAgent, readAll } from './http.ts';
import { type CarriedState, linesOf, parseState } from './vector-state.ts';
import { timesOf, type VectorStore } from './vector-store.ts';
import { nextOnGrid } from './vector-sync.ts';

/** Snapshots of a store in the object store of its own region, through that store's S3 API. */

export interface Snapshot {
  readonly key: string;
  /** When the state in it was taken, on this machine's monotonic clock. */
  readonly takenMs: number;
  readonly count: number;
}

export interface Snapshots {
  readonly last: Snapshot | undefined;
  readonly error: string | null;
  readonly nextDueMs: number;
  /** Takes one now. */
  take(): Promise<Snapshot>;
  /** Loads the newest. Throws when there is none, or when it is not whole. */
  load(): Promise<{ readonly key: string; readonly state: CarriedState }>;
}

const objectBytesMax = 64 * 1024 * 1024;
/** Documented time. */
const objectTimeoutMs = 10 * 60_000;
/** Real: the object store may still be starting. */
const retryAfterMs = 500;
const kept = 7;
/** The lab's object store wants a request signed and takes every signature. */
const authorization = 'AWS4-HMAC-SHA256 Credential=vector-store/lab/s3/aws4_request, SignedHeaders=host, Signature=0';

/** The bucket of a region's snapshots: its own, and calls on it. */
const createBucket = (context: ComponentContext, region: string) => {
  const { layout } = context;
  const name = `vector-snapshots-${region}`;
  const agent = linkAgent();
  const port = forwardPort(layout, regionPlace(region), `objects/${region}`);
  const headMs = scaledTimeout(layout, objectTimeoutMs);
  const ask = async (method: string, path: string, body?: string): Promise<{ status: number; text: string }> => {
    const headers = { authorization, host: `objects.${region}` };
    const options: CallOptions = { agent, host: '127.0.0.1', port, method, path: `/${name}${path}`, headers, headMs };
    const response = await call(body === undefined ? options : { ...options, body });
    const text = (await readAll(response, headMs, objectBytesMax)).toString('utf8');
    return { status: response.statusCode ?? 0, text };
  };
  const good = async (method: string, path: string, body?: string): Promise<string> => {
    const { status, text } = await ask(method, path, body);
    if (status >= 200 && status < 300) return text;
    throw new CallError('connection', `${method} /${name}${path}: the object store answered ${status}`);
  };
  return {
    async put(key: string, body: string): Promise<void> {
      const { status } = await ask('PUT', `/${key}`, body);
      if (status === 200) return;
      if (status === 404) await good('PUT', '');
      await good('PUT', `/${key}`, body);
    },
    get: (key: string) => good('GET', `/${key}`),
    remove: (key: string) => good('DELETE', `/${key}`),
    /** Keys in order, which is that of time. */
    async keys(): Promise<readonly string[]> {
      const { status, text } = await ask('GET', '?list-type=2');
      if (status === 404) return [];
      if (status !== 200) throw new CallError('connection', `the object store answered ${status}`);
      return [...text.matchAll(/<Key>([^<]+)<\/Key>/g)].map(([, key = '']) => key).sort();
    },
  };
};

/** Takes snapshots until the context's signal aborts: the first at once, then on a fixed grid. */
export const startSnapshots = (context: ComponentContext, store: VectorStore): Snapshots => {
  const { layout, signal } = context;
  const { snapshotPeriodMs } = timesOf(layout, store.region);
  const bucket = createBucket(context, store.region);
  const startMs = systemClock.monotonicMs();
  let last: Snapshot | undefined;
  let error: string | null = null;
  let nextDueMs = startMs;

  const take = async (): Promise<Snapshot> => {
    const state = store.take();
    // Of the clock that does not jump: what was taken later is named later.
    const key = `${String(Math.floor(systemClock.monotonicMs())).padStart(15, '0')}.ndjson`;
    await bucket.put(key, linesOf(state).join(''));
    last = { key, takenMs: state.head.takenMs, count: state.head.count };
    context.truth('vector.snapshot', store.region, { key, takenMs: last.takenMs, count: last.count });
    for (const old of (await bucket.keys()).slice(0, -kept)) await bucket.remove(old);
    return last;
  };

  const follow = async (): Promise<void> => {
    while (!signal.aborted) {
      await systemClock.sleep(nextDueMs - systemClock.monotonicMs(), signal);
      try {
        if (store.state === 'serving') await take();
        error = null;
        nextDueMs = nextOnGrid(startMs, snapshotPeriodMs, systemClock.monotonicMs());
      } catch (failure) {
        error = messageOf(failure);
        nextDueMs = systemClock.monotonicMs() + retryAfterMs;
      }
    }
  };
  follow().catch((failure: unknown) => {
    if (!signal.aborted) context.log(`the snapshots ended: ${messageOf(failure)}`);
  });

  return {
    get last() {
      return last;
    },
    get error() {
      return error;
    },
    get nextDueMs() {
      return nextDueMs;
    },
    take,
    async load() {
      const key = (await bucket.keys()).at(-1);
      if (key === undefined) throw new Error('there is no snapshot of this store');
      return { key, state: parseState(await bucket.get(key)) };
    },
  };
};
