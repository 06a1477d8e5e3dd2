import { z } from 'zod';
import { formatDuration } from '../../core/duration.ts';
import type { FaultWindow } from '../fault-window.ts';
import { authorityEnd } from '../ledger/recovery.ts';
import { type Fence, fenceOf, splitBrainOf } from '../ledger/split.ts';
import { handoverAt, hintsOf, type Store, stoppedMs } from '../ledger/store.ts';
import { elapsed } from '../span.ts';
import { type Context, defineMeasure, type Figure, figure, none, probeParam } from './measure.ts';

/** A refusal is heard at least so often: a direct write every 250 ms, and one that was late. */
const unheardMaxMs = 500;

const fenceText = ({ attempts, refused }: Fence): string => {
  const count = [...refused.values()].reduce((total, one) => total + one, 0);
  return `${count} of ${attempts} writes tried there were refused (${[...refused.keys()].toSorted().join(', ')})`;
};

interface Heard {
  readonly proven: string | false;
  readonly notes: readonly string[];
  readonly figures: readonly Figure[];
}

/** Whether everybody who must not take writes was heard to refuse them, all the time that it mattered. */
const heardFrom = (store: Store, context: Context, fault: FaultWindow): Heard => {
  const { epochs } = store;
  const reigning = handoverAt(context.record, store, fault)?.epoch ?? epochs[0];
  // Whoever took over while the fault lasted; on the way home the old one rightly takes writes again.
  const next = epochs.slice(reigning === undefined ? 0 : epochs.indexOf(reigning) + 1)[0];
  const changed = next !== undefined && next.firstAckMs < fault.reverted.minMs;
  const taking = changed ? next : reigning;
  const known = new Set(store.writes.flatMap(({ by }) => by ?? []));
  const silenced = new Set(
    [...(changed ? (reigning?.servers ?? []) : known)].filter((server) => taking?.servers.has(server) !== true),
  );
  const fromMs = changed ? next.firstAckMs : fault.effective.maxMs;
  const toMs = Math.min(fault.reverted.minMs, context.endMs);
  const whom = changed ? 'the old primary itself' : 'the replica itself';
  const shutMs = changed ? stoppedMs(context.record) : undefined;
  const fence = fenceOf(store.writes, silenced, fromMs, toMs, shutMs);
  const figures = [
    figure(`writes tried at ${whom}`, fence.attempts, 'count'),
    figure('longest time without a refusal', fence.longestUnheardMs, 'ms'),
  ];
  if (fence.attempts === 0) return { proven: false, notes: [`no write was tried at ${whom}`], figures };
  const unheard = formatDuration(Math.round(fence.longestUnheardMs));
  return fence.longestUnheardMs <= unheardMaxMs
    ? { proven: `${whom}: ${fenceText(fence)}`, notes: [], figures }
    : { proven: false, notes: [`${whom} was not heard to refuse for ${unheard} of the time that matters`], figures };
};

/** E1 of the ladder: proof by acknowledgements alone. E0 and E2 stand beside it. */
export const singleWriter = defineMeasure({
  name: 'single-writer',
  summary: 'Writes acknowledged by an old primary although sent after a newer one had acknowledged (a split brain).',
  params: z.strictObject({ ledger: probeParam('postgres-ledger') }),
  bound: 'maxCount',
  measure({ ledger }, context, fault) {
    const store = context.stores(ledger);
    if (store.epochs.length === 0) return none(`no ${ledger} was acknowledged`);
    const split = splitBrainOf(store.histories, store.sets.lost);
    const { proven, notes, figures } = heardFrom(store, context, fault);
    return {
      kind: 'count',
      count: split.dualAcknowledged.length,
      of: 'writes acknowledged by two primaries at the same time',
      proven,
      figures: [
        ...split.epochs.map((epoch) => figure(`acknowledged by ${epoch.name}`, epoch.writes.length, 'count')),
        figure('both acknowledged for', split.overlap?.estimateMs ?? 0, 'ms'),
        figure('of those not there in the end', split.divergent.length, 'count'),
        ...(split.dualRoleMs > 0 ? [figure('two answered as primaries for', split.dualRoleMs, 'ms')] : []),
        ...figures,
      ],
      notes,
    };
  },
});

/** Time to fence, and whether the old primary was shut before the new one took its first write. */
export const fenced = defineMeasure({
  name: 'fenced',
  summary: 'The old primary was shut before a new one acknowledged its first write; the time it took.',
  params: z.strictObject({ ledger: probeParam('postgres-ledger') }),
  bound: 'none',
  measure({ ledger }, context, fault) {
    const store = context.stores(ledger);
    const handover = handoverAt(context.record, store, fault);
    if (handover === undefined) return none(`no ${ledger} was acknowledged before the fault`);
    const { epoch } = handover;
    const newer = store.epochs.slice(store.epochs.indexOf(epoch) + 1);
    if (newer.length === 0) return none('no other primary acknowledged a write: there was nothing to be shut before');
    const end = authorityEnd(epoch, store.writes, hintsOf(context.record, store, fault));
    const bracket = elapsed(fault.effective, end);
    const firstAckMs = Math.min(...newer.map((one) => one.firstAckMs));
    const beside = { bracket, notes: [`its end is known by ${end.by}`] };
    if (epoch.lastInvokedMs > firstAckMs) {
      const lateMs = epoch.lastInvokedMs - firstAckMs;
      const reason = `the old primary acknowledged for ${formatDuration(Math.round(lateMs))} beside the new one`;
      return { kind: 'judged', verdict: 'FAIL', reason, ...beside };
    }
    if (end.maxMs > firstAckMs) {
      const reason = 'nobody was heard to be refused by the old primary before the new one took its first write';
      return { kind: 'judged', verdict: 'INCONCLUSIVE', reason, ...beside };
    }
    const beforeMs = formatDuration(Math.round(firstAckMs - end.maxMs));
    const reason = `refused at the old primary ${beforeMs} before the new one took its first write`;
    return { kind: 'judged', verdict: 'PASS', reason, ...beside };
  },
});
