import type { ServerResponse } from 'node:http';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { ComponentContext } from '../component.ts';
import { forwardPort, regionPlace, scaledTimeout } from '../layout.ts';
import { call, linkAgent, readAll } from './http.ts';
import { type CarriedState, type Cursor, linesOf, parseState } from './vector-state.ts';
import { timesOf, type VectorStore } from './vector-store.ts';

/**
 * How a replica follows its source. The source takes its state when a sync starts and sends it for as long as a sync is
 * documented to take; the replica shows it once it is whole. What cuts the two apart in between ends the sync: the copy
 * stays as it was until the next one is due.
 */

const sliceCount = 20;

/** Sends a state in equal slices over `durationMs`, the end of it last. Stops when the other side is gone. */
export const sendState = async (
  response: ServerResponse,
  state: CarriedState,
  durationMs: number,
  signal: AbortSignal,
): Promise<void> => {
  const lines = linesOf(state);
  const startMs = systemClock.monotonicMs();
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.flushHeaders();
  let sent = 0;
  for (let slice = 1; slice <= sliceCount; slice += 1) {
    await systemClock.sleep(startMs + (durationMs * slice) / sliceCount - systemClock.monotonicMs(), signal);
    if (response.destroyed) return;
    const until = slice === sliceCount ? lines.length : Math.floor(((lines.length - 1) * slice) / sliceCount);
    const text = lines.slice(sent, until).join('');
    sent = until;
    if (text !== '') response.write(text);
  }
  response.end();
};

/** First instant after `nowMs` on the grid of a period. Pure. */
export const nextOnGrid = (startMs: number, periodMs: number, nowMs: number): number =>
  startMs + (Math.floor((nowMs - startMs) / periodMs) + 1) * periodMs;

export interface SyncEnd {
  readonly kind: 'delta' | 'full';
  readonly startedMs: number;
  readonly finishedMs: number;
  /** `null` when it succeeded. */
  readonly error: string | null;
  readonly items: number;
}

/** Where the syncs of a replica stand, on this machine's monotonic clock. */
export interface SyncState {
  readonly running: { readonly kind: 'delta' | 'full'; readonly startedMs: number } | undefined;
  readonly last: SyncEnd | undefined;
  readonly nextDueMs: number;
  readonly nextFullDueMs: number;
  readonly paused: { readonly owner: string; readonly untilMs: number } | undefined;
}

export interface Syncs {
  readonly state: SyncState;
  /** No sync starts until it is resumed, or this much real time has passed; one under way is ended as if cut. */
  pause(owner: string, forMs: number): void;
  resume(): void;
  /** Reads all of the source at once, as a rebuild from it does. */
  fetchAll(): Promise<CarriedState>;
}

const stateBytesMax = 64 * 1024 * 1024;
/** Documented time beyond its duration after which a sync that is not whole is given up. */
const lateAfterMs = 60_000;

const createFetch = (context: ComponentContext, store: VectorStore) => {
  const { layout } = context;
  const { durationMs } = timesOf(layout, store.region);
  const source = layout.environment.regions.find((one) => one.role === 'primary')?.name ?? '';
  const agent = linkAgent();
  const headMs = scaledTimeout(layout, lateAfterMs);
  return async (since: Cursor | undefined, signal?: AbortSignal): Promise<CarriedState> => {
    const path = since === undefined ? '/changes' : `/changes?epoch=${since.epoch}&since=${since.sequence}`;
    // Asked for here, so that a layout without a primary region still has stores that stand alone.
    const port = forwardPort(layout, regionPlace(store.region), `vector/${source}`);
    const target = { agent, host: '127.0.0.1', port, method: 'GET', path, headMs };
    const response = await call(signal === undefined ? target : { ...target, signal });
    const body = await readAll(response, durationMs + headMs, stateBytesMax);
    if (response.statusCode !== 200) throw new Error(`the source answered ${response.statusCode}`);
    return parseState(body.toString('utf8'));
  };
};

/** Follows the source on a fixed grid until the context's signal aborts. */
export const startSyncs = (context: ComponentContext, store: VectorStore, periodMs: number): Syncs => {
  const { layout, signal } = context;
  const { fullPeriodMs } = timesOf(layout, store.region);
  const fetchState = createFetch(context, store);
  const startMs = systemClock.monotonicMs();
  let running: SyncState['running'];
  let last: SyncEnd | undefined;
  let nextDueMs = startMs + periodMs;
  let nextFullDueMs = startMs + fullPeriodMs;
  let paused: SyncState['paused'];
  let cut = new AbortController();

  const isPaused = (): boolean => {
    if (paused !== undefined && systemClock.monotonicMs() >= paused.untilMs) paused = undefined;
    return paused !== undefined;
  };

  const syncOnce = async (kind: 'delta' | 'full'): Promise<void> => {
    const startedMs = systemClock.monotonicMs();
    running = { kind, startedMs };
    cut = new AbortController();
    context.truth('vector.sync-started', store.region, { kind });
    let items = 0;
    let error: string | null = null;
    try {
      const carried = await fetchState(kind === 'full' ? undefined : store.shown, cut.signal);
      if (cut.signal.aborted) throw new Error('the sync was paused');
      // A replica that has lost its index takes nothing but a rebuild.
      if (store.state !== 'serving') throw new Error('the index was lost meanwhile');
      store.adopt(carried);
      items = carried.items.length;
      if (kind === 'full') nextFullDueMs = nextOnGrid(startMs, fullPeriodMs, startedMs);
    } catch (failure) {
      error = messageOf(failure);
    }
    const finishedMs = systemClock.monotonicMs();
    running = undefined;
    last = { kind, startedMs, finishedMs, error, items };
    const event = error === null ? 'vector.synced' : 'vector.sync-failed';
    context.truth(event, store.region, { kind, items, startedMs, ...(error === null ? {} : { error }) });
    if (error !== null) context.log(`${kind} sync failed: ${error}`);
  };

  const follow = async (): Promise<void> => {
    while (!signal.aborted) {
      await systemClock.sleep(nextDueMs - systemClock.monotonicMs(), signal);
      // The grids of both periods meet, but for rounding.
      const kind = nextDueMs >= nextFullDueMs - 1 ? 'full' : 'delta';
      if (!isPaused() && store.state === 'serving') await syncOnce(kind);
      nextDueMs = nextOnGrid(startMs, periodMs, Math.max(nextDueMs, systemClock.monotonicMs()));
    }
  };
  follow().catch((error: unknown) => {
    if (!signal.aborted) context.log(`the syncs ended: ${error instanceof Error ? error.stack : String(error)}`);
  });

  return {
    get state() {
      isPaused();
      return { running, last, nextDueMs, nextFullDueMs, paused };
    },
    pause(owner, forMs) {
      paused = { owner, untilMs: systemClock.monotonicMs() + forMs };
      cut.abort();
    },
    resume() {
      paused = undefined;
    },
    fetchAll: () => fetchState(undefined),
  };
};
