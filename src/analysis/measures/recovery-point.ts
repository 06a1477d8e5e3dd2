import { z } from 'zod';
import { formatDuration } from '../../core/duration.ts';
import type { FaultWindow } from '../fault-window.ts';
import { potentialRpo } from '../ledger/lag.ts';
import type { Handover } from '../ledger/recovery.ts';
import { asCopy, handoverAt, laterHandovers, type Store } from '../ledger/store.ts';
import { worst } from '../span.ts';
import { countFigures, unknownLoss } from './data-lost.ts';
import { type Context, defineMeasure, type Figure, figure, none, probeParam } from './measure.ts';

/** Acknowledged from the longest loss to be feared before the fault until the end of the authority. */
const atRiskOf = (handover: Handover, fault: FaultWindow): number => {
  const sinceMs = fault.effective.minMs - Math.max(1000, handover.rpo.estimateMs);
  return handover.epoch.writes.filter(({ endedMs }) => endedMs >= sinceMs).length;
};

const potentialFigures = (store: Store, fault: FaultWindow): readonly Figure[] => {
  const copies = new Set(store.histories.flatMap(({ reads }) => reads.flatMap(({ copy }) => copy ?? [])));
  return [...copies].toSorted().flatMap((copy) => {
    const found = store.histories.flatMap((one) => potentialRpo(one, copy, fault.effective.minMs) ?? []);
    const most = worst(found, (bracket) => bracket);
    return most === undefined ? [] : [figure(`would have been lost with ${copy} just before`, most.maxMs, 'ms')];
  });
};

const authorityNote = ({ end, isPrefix }: Handover): readonly string[] => [
  end.by === 'nothing'
    ? 'nothing shows when the old authority stopped to take writes: more may have been lost'
    : `the end of the old authority is known by ${end.by}`,
  ...(isPrefix ? [] : ['what was lost is no mere tail: later writes of the same authority survived']),
];

/** The way home is a change of authority as well, and may lose data as well. */
const homeFigures = (store: Store, first: Handover): readonly Figure[] =>
  laterHandovers(store, first).map(({ lost, epoch }) =>
    figure(`lost of those acknowledged by ${epoch.name}`, lost.length, 'count'),
  );

const measureStore = (store: Store, context: Context, fault: FaultWindow) => {
  const handover = handoverAt(context.record, store, fault);
  if (handover === undefined) return none('no write was acknowledged before the fault');
  const { lost, rpo, recoveryPoint } = handover;
  const atRisk = atRiskOf(handover, fault);
  const share = lost.length === 0 ? 'nothing was lost' : `${lost.length} of ${atRisk} writes at risk were lost`;
  const documented = formatDuration(handover.spanOfLostMs * context.record.run.timeScale);
  return {
    kind: 'duration' as const,
    bracket: rpo,
    figures: [
      ...countFigures(store),
      figure('acknowledged in the time at risk', atRisk, 'count'),
      ...potentialFigures(store, fault),
      ...homeFigures(store, handover),
    ],
    notes: [
      share,
      ...(recoveryPoint === null ? [] : [`from the first lost to the last lost write: ${documented}`]),
      ...authorityNote(handover),
    ],
  };
};

/** Time of acknowledged data that did not survive the fault, as a bracket. */
export const recoveryPoint = defineMeasure({
  name: 'recovery-point',
  summary: 'Time of acknowledged data lost: from the recovery point to the end of the old authority.',
  params: z.strictObject({
    ledger: probeParam('postgres-ledger'),
    /** A region's copy, as the ledger names it: what would be missing where it takes over without waiting. */
    copy: z.string().min(1).optional(),
  }),
  bound: 'max',
  measure({ ledger, copy }, context, fault) {
    const store = context.stores(ledger);
    if (store.histories.length === 0 || store.epochs.length === 0) return none(`no ${ledger} was acknowledged`);
    if (copy === undefined) return unknownLoss(store) ?? measureStore(store, context, fault);
    // Until its region is back, nothing more reaches the copy: this is what those who use it are served.
    const untilMs = Math.min(fault.reverted.minMs, context.endMs);
    const copied = asCopy(store, copy, untilMs);
    if (copied === undefined) return none(`nobody looked at the copy in ${copy}`);
    return measureStore(copied, context, fault);
  },
});
