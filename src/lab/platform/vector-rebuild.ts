import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { ComponentContext } from '../component.ts';
import { HttpError } from './http.ts';
import type { Snapshots } from './vector-snapshots.ts';
import { timesOf, type VectorStore } from './vector-store.ts';
import type { Syncs } from './vector-sync.ts';

/** How a store gets an index again: from its newest snapshot, or by reading all of its source. */

export interface Rebuilds {
  /** Begins one; throws 409 when nothing is lost. How it goes is in the status. */
  start(from: 'snapshot' | 'source'): void;
  /** Rebuilds from the snapshot after this much real time, whoever lost the index, unless it is back by then. */
  expire(afterMs: number): void;
  status(nowMs: number): unknown;
}

interface Rebuild {
  readonly from: 'snapshot' | 'source';
  readonly startedMs: number;
  readonly finishedMs: number | undefined;
  readonly error: string | null;
  /** When the state that was loaded was taken. */
  readonly takenMs: number | undefined;
}

/** Real: until an expired rebuild that failed is tried again. */
const retryAfterMs = 1000;

export const createRebuilds = (
  context: ComponentContext,
  store: VectorStore,
  snapshots: Snapshots,
  syncs: Syncs | undefined,
): Rebuilds => {
  const { layout, signal } = context;
  const { rebuildMs } = timesOf(layout, store.region);
  let last: Rebuild | undefined;

  const load = async (from: Rebuild['from'], startedMs: number) => {
    if (from === 'source') {
      if (syncs === undefined) throw new Error(`${store.region} has no source`);
      return await syncs.fetchAll();
    }
    const { state } = await snapshots.load();
    // At the documented size, building the index is what takes long; here it is done in no time.
    await systemClock.sleep(startedMs + rebuildMs - systemClock.monotonicMs(), signal);
    return state;
  };

  const rebuild = async (from: Rebuild['from']): Promise<void> => {
    const startedMs = systemClock.monotonicMs();
    store.setRebuilding(true);
    last = { from, startedMs, finishedMs: undefined, error: null, takenMs: undefined };
    try {
      const state = await load(from, startedMs);
      store.adopt(state);
      const { takenMs } = state.head;
      last = { from, startedMs, finishedMs: systemClock.monotonicMs(), error: null, takenMs };
      context.truth('vector.rebuilt', store.region, { from, takenMs, count: state.items.length });
    } catch (failure) {
      store.setRebuilding(false);
      const error = messageOf(failure);
      last = { from, startedMs, finishedMs: systemClock.monotonicMs(), error, takenMs: undefined };
      context.log(`the rebuild from the ${from} failed: ${error}`);
    }
  };

  const expire = async (afterMs: number): Promise<void> => {
    const { loss } = store;
    await systemClock.sleep(afterMs, signal);
    while (store.loss === loss && loss !== undefined) {
      if (store.state === 'lost') await rebuild('snapshot');
      await systemClock.sleep(retryAfterMs, signal);
    }
  };

  return {
    start(from) {
      if (store.state !== 'lost') {
        throw new HttpError(409, 'invalid_request_error', 'not_lost', `the index is ${store.state}`);
      }
      void rebuild(from);
    },
    expire(afterMs) {
      expire(afterMs).catch((error: unknown) => {
        if (!signal.aborted) context.log(`the expiry of the loss failed: ${messageOf(error)}`);
      });
    },
    status(nowMs) {
      if (last === undefined) return null;
      const { from, startedMs, finishedMs, error, takenMs } = last;
      return {
        from,
        startedAgoMs: nowMs - startedMs,
        finishedAgoMs: finishedMs === undefined ? null : nowMs - finishedMs,
        takenAgoMs: takenMs === undefined ? null : nowMs - takenMs,
        error,
      };
    },
  };
};
