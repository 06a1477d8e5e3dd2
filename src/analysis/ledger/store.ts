import type { FaultWindow } from '../fault-window.ts';
import type { RunRecord } from '../record.ts';
import { checkLedger, finalRead, holesOf, isRead, type Sets, unionOf } from './check.ts';
import { type Epoch, epochsOf } from './epochs.ts';
import { type History, historyOf, type Write } from './history.ts';
import { copyAsFinal } from './lag.ts';
import { type Handover, type Hints, handoverOf } from './recovery.ts';

/** All ledgers of one kind: they share a store, its servers and its log. */
export interface Store {
  readonly kind: string;
  readonly histories: readonly History[];
  /** Of all its ledgers, in order of their sending. */
  readonly writes: readonly Write[];
  readonly epochs: readonly Epoch[];
  /** Of the ledgers whose end was read. */
  readonly sets: Sets;
  readonly holes: ReadonlySet<string>;
  /** Why the end of a ledger is not known; empty when all were read. */
  readonly missing: readonly string[];
}

/** The store of a kind of ledger, computed once; without ledgers of this kind its `histories` are empty. */
export type Stores = (kind: string) => Store;

const storeOf = (record: RunRecord, kind: string): Store => {
  const histories = record.streams
    .filter((stream) => stream.probe === kind)
    .map(({ stream }) => historyOf(stream, record.ledgers.get(stream) ?? []))
    .filter(({ writes }) => writes.length > 0);
  const missing: string[] = [];
  const sets: Sets[] = [];
  for (const history of histories) {
    const last = finalRead(history);
    if (isRead(last)) sets.push(checkLedger(history, last));
    else missing.push(`${history.stream}: ${last.missing}`);
  }
  return assembled(kind, histories, unionOf(sets), missing);
};

const assembled = (kind: string, histories: readonly History[], sets: Sets, missing: readonly string[]): Store => {
  const writes = histories.flatMap((history) => history.writes).toSorted((a, b) => a.invokedMs - b.invokedMs);
  return { kind, histories, writes, epochs: epochsOf(writes), sets, holes: holesOf(writes, sets), missing };
};

export const createStores = (record: RunRecord): Stores => {
  const known = new Map<string, Store>();
  return (kind) => {
    const store = known.get(kind) ?? storeOf(record, kind);
    known.set(kind, store);
    return store;
  };
};

/** The store as if a region's copy took over with what it showed up to an instant; `undefined` if nobody looked. */
export const asCopy = (store: Store, copy: string, untilMs: number): Store | undefined => {
  const looked = store.histories.flatMap((history) => {
    const last = copyAsFinal(history, copy, untilMs);
    return last === undefined ? [] : [{ history, last }];
  });
  if (looked.length === 0) return undefined;
  const histories = looked.map(({ history }) => ({
    ...history,
    // What was acknowledged once the copy had its say is no loss of it: what a black hole held flows when it is ended.
    writes: history.writes.filter(({ invokedMs, endedMs, out }) => (out === 'ok' ? endedMs : invokedMs) <= untilMs),
  }));
  const sets = looked.map(({ last }, index) => checkLedger(histories[index] ?? noHistory, last));
  return assembled(store.kind, histories, unionOf(sets), []);
};

const noHistory: History = { stream: '', writes: [], reads: [] };

/** After these nobody can reach what they hit, so no client gets an acknowledgement from it. */
const cuttingOff: ReadonlySet<string> = new Set(['region.blackhole', 'zone.blackhole', 'database.kill']);

/** When a database that took writes was first seen to be stopped, by its own control plane. */
export const stoppedMs = ({ observations }: Pick<RunRecord, 'observations'>): number | undefined => {
  const stopped = observations.filter(
    ({ name, data }) => name === 'database.unavailable' && data['status'] === 'stopped',
  );
  return stopped.length === 0 ? undefined : Math.min(...stopped.map(({ maxMs }) => maxMs));
};

/** What RDS says of stopped instances is about the conversations: no other store ends with them. */
const stoppable = 'postgres-ledger';

export const hintsOf = (record: RunRecord, { kind }: Pick<Store, 'kind'>, fault: FaultWindow): Hints => ({
  ...(fault.faults.some((name) => cuttingOff.has(name)) ? { cutOffMs: fault.effective.maxMs } : {}),
  ...(kind === stoppable ? { fencedMs: stoppedMs(record) } : {}),
});

/** The authority that reigned when the fault took effect, and what of it did not survive. */
export const handoverAt = (record: RunRecord, store: Store, fault: FaultWindow): Handover | undefined => {
  const reigning = store.writes.findLast(
    ({ out, invokedMs }) => out === 'ok' && invokedMs <= fault.effective.minMs,
  )?.epoch;
  const epoch = store.epochs.find(({ name }) => name === (reigning ?? ''));
  return epoch === undefined
    ? undefined
    : handoverOf(epoch, store.writes, store.sets, store.holes, hintsOf(record, store, fault));
};

/** What authorities after that one lost: on the way home, or when they were changed again. */
export const laterHandovers = (store: Store, first: Handover): readonly Handover[] => {
  const at = store.epochs.indexOf(first.epoch);
  return store.epochs
    .slice(at + 1)
    .map((epoch) => handoverOf(epoch, store.writes, store.sets, store.holes))
    .filter((handover, index, all) => index < all.length - 1 || handover.lost.length > 0);
};
