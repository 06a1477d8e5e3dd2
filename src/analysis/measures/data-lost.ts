import { z } from 'zod';
import { formatDuration } from '../../core/duration.ts';
import type { Sets } from '../ledger/check.ts';
import { powerBefore } from '../ledger/recovery.ts';
import type { Store } from '../ledger/store.ts';
import { defineMeasure, type Figure, figure, type Measured, none, probeParam } from './measure.ts';

/** A loss shorter than this is not asked for: a ledger that would have seen it may say that nothing was lost. */
const smallestLossMaxMs = 100;
const atRiskLeast = 10;

const told: readonly (readonly [keyof Sets, string])[] = [
  ['lost', 'lost'],
  ['lostWeak', 'lost of those acknowledged more weakly than promised'],
  ['recovered', 'unknown at first, and there'],
  ['indeterminate', 'unknown at first, and not there'],
  ['neverRead', 'acknowledged too late to be read'],
  ['vanished', 'unknown at first, seen once, and gone'],
];

export const countFigures = (store: Store): readonly Figure[] => [
  figure('acknowledged', store.writes.filter(({ out }) => out === 'ok').length, 'count'),
  ...told.flatMap(([key, name]) =>
    store.sets[key].size > 0 || key === 'lost' ? [figure(name, store.sets[key].size, 'count')] : [],
  ),
];

/** What no store may do, whatever fails: bring back what it refused, make up records, keep one twice. */
export const brokenPromise = ({ sets }: Store): string | undefined => {
  if (sets.resurrected.size > 0) return `${sets.resurrected.size} writes that were refused are there nevertheless`;
  if (sets.phantom.size > 0) return `${sets.phantom.size} records are there that nobody wrote`;
  return sets.duplicate.size > 0 ? `${sets.duplicate.size} records are there more than once` : undefined;
};

/** Why nothing can be said of a store's losses; `undefined` when something can. */
export const unknownLoss = (store: Store): Measured | undefined => {
  if (store.histories.length === 0) return none(`no ${store.kind} was written`);
  if (store.epochs.length === 0) return none(`no write of ${store.kind} was acknowledged`);
  const broken = brokenPromise(store);
  if (broken !== undefined) return { kind: 'judged', verdict: 'FAIL', reason: broken, figures: countFigures(store) };
  const [missing] = store.missing;
  if (missing !== undefined) return { kind: 'judged', verdict: 'INCONCLUSIVE', reason: missing };
  return undefined;
};

/** Zero of n at risk: the rule of three (Jovanovic and Levy, 1997). */
const provenBy = (store: Store, atMs: number): { readonly proven: string | false; readonly note: string } => {
  const { smallestLossMs, atRisk } = powerBefore(store.writes, atMs);
  const smallest = formatDuration(Math.round(smallestLossMs));
  const seen = `a loss of ${smallest} would have been seen, ${atRisk} writes were at risk in the last second`;
  const proven = smallestLossMs <= smallestLossMaxMs && atRisk >= atRiskLeast;
  const share = atRisk === 0 ? '' : `; with 95 % confidence at most ${((300 / atRisk) as number).toFixed(0)} % of such`;
  return { proven: proven && `${seen}${share}`, note: proven ? '' : `too few writes to prove it: ${seen}` };
};

export const dataLost = defineMeasure({
  name: 'data-lost',
  summary: 'Acknowledged writes that are not there in the end; zero needs a ledger that would have seen a small loss.',
  params: z.strictObject({ ledger: probeParam('postgres-ledger') }),
  bound: 'maxCount',
  measure({ ledger }, context, fault) {
    const store = context.stores(ledger);
    const unknown = unknownLoss(store);
    if (unknown !== undefined) return unknown;
    const acknowledged = store.writes.filter(({ out }) => out === 'ok').length;
    const { proven, note } = provenBy(store, fault.effective.minMs);
    const unread = store.sets.neverRead.size;
    return {
      kind: 'count',
      count: store.sets.lost.size,
      of: `acknowledged writes lost, of ${acknowledged}`,
      proven: unread > 0 ? false : proven,
      figures: countFigures(store),
      notes: [
        ...(note === '' ? [] : [note]),
        ...(unread === 0 ? [] : [`${unread} were acknowledged after the last read began`]),
      ],
    };
  },
});
