import type { FaultWindow } from './fault-window.ts';
import { visibilityLags } from './ledger/lag.ts';
import { type Handover, type Power, powerBefore } from './ledger/recovery.ts';
import { splitBrainOf } from './ledger/split.ts';
import { asCopy, handoverAt, laterHandovers, type Store } from './ledger/store.ts';
import type { Context } from './measures/measure.ts';
import type { Bracket } from './record.ts';
import { bracketOf } from './span.ts';

/** How far one copy was behind, over all writes that were seen there. */
export interface CopyLag {
  readonly copy: string;
  readonly writes: number;
  readonly longest: Bracket;
}

/** One store's account, as the report gives it. */
export interface StoreLoss {
  readonly store: Store;
  readonly power: Power | null;
  /** Of the authority at the fault, then of those after it. */
  readonly handovers: readonly Handover[];
  readonly copies: readonly CopyLag[];
  readonly dualAcknowledged: number;
  readonly divergent: number;
  readonly overlap: Bracket | null;
}

/**
 * What somebody feels who uses several stores together: the newest instant up to which every one of them is whole, and
 * what one store kept without its counterpart in another.
 */
export interface ConsistentCut {
  readonly stores: readonly string[];
  readonly rpo: Bracket;
  readonly dangling: readonly { readonly kept: string; readonly without: string; readonly count: number }[];
}

const copiesOf = (store: Store): readonly CopyLag[] => {
  const copies = new Set(store.histories.flatMap(({ reads }) => reads.flatMap(({ copy }) => copy ?? [])));
  return [...copies].toSorted().flatMap((copy) => {
    const lags = store.histories.flatMap((history) => visibilityLags(history, copy));
    const shown = lags.filter(({ lag }) => Number.isFinite(lag.maxMs));
    if (shown.length === 0) return [];
    const longest = shown.reduce((most, one) => (one.lag.estimateMs > most.lag.estimateMs ? one : most));
    return [{ copy, writes: shown.length, longest: longest.lag }];
  });
};

const lossOf = (context: Context, store: Store, fault: FaultWindow | undefined): StoreLoss => {
  const split = splitBrainOf(store.histories, store.sets.lost);
  const first = fault === undefined ? undefined : handoverAt(context.record, store, fault);
  return {
    store,
    power: fault === undefined ? null : powerBefore(store.writes, fault.effective.minMs),
    handovers: first === undefined ? [] : [first, ...laterHandovers(store, first)],
    copies: copiesOf(store),
    dualAcknowledged: split.dualAcknowledged.length,
    divergent: split.divergent.length,
    overlap: split.overlap,
  };
};

interface Part {
  readonly kind: string;
  readonly handover: Handover;
}

/**
 * In a lost region each store goes on with what the failover region's copy has; a store nobody looked at a copy of goes
 * on with what it had in the end.
 */
const partsOf = (context: Context, kinds: readonly string[], fault: FaultWindow): readonly Part[] => {
  const untilMs = Math.min(fault.reverted.minMs, context.endMs);
  return kinds.flatMap((kind): Part[] => {
    const store = context.stores(kind);
    const copied = store.epochs.length > 1 ? store : (asCopy(store, 'failover', untilMs) ?? store);
    if (copied.missing.length > 0 || copied.writes.length === 0) return [];
    const handover = handoverAt(context.record, copied, fault);
    return handover === undefined ? [] : [{ kind, handover }];
  });
};

/** Survivors of one store sent after the recovery point of another: their counterparts there are gone. */
const danglingOf = (kept: Part, without: Part): number => {
  const { recoveryPoint } = without.handover;
  if (recoveryPoint === null) return 0;
  const lost = new Set(kept.handover.lost.map(({ id }) => id));
  return kept.handover.epoch.writes.filter(({ id, invokedMs }) => !lost.has(id) && invokedMs > recoveryPoint.maxMs)
    .length;
};

/** The joint recovery point lies with the store that lost most. */
export const consistentCutOf = (parts: readonly Part[]): ConsistentCut | null => {
  if (parts.length < 2) return null;
  const most = (of: (rpo: Bracket) => number): number => Math.max(...parts.map(({ handover }) => of(handover.rpo)));
  return {
    stores: parts.map(({ kind }) => kind),
    rpo: bracketOf(
      most((rpo) => rpo.estimateMs),
      most((rpo) => rpo.minMs),
      most((rpo) => rpo.maxMs),
    ),
    dangling: parts.flatMap((kept) =>
      parts.flatMap((without) => {
        const count = kept === without ? 0 : danglingOf(kept, without);
        return count === 0 ? [] : [{ kept: kept.kind, without: without.kind, count }];
      }),
    ),
  };
};

export const dataLossOf = (
  context: Context,
  fault: FaultWindow | undefined,
): { readonly stores: readonly StoreLoss[]; readonly cut: ConsistentCut | null } => {
  const { streams, ledgers } = context.record;
  const kinds = [...new Set(streams.filter(({ stream }) => ledgers.has(stream)).map(({ probe }) => probe))].toSorted();
  return {
    stores: kinds.map((kind) => lossOf(context, context.stores(kind), fault)),
    cut: fault === undefined ? null : consistentCutOf(partsOf(context, kinds, fault)),
  };
};
