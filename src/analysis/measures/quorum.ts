import { z } from 'zod';
import type { FaultWindow } from '../fault-window.ts';
import { splitBrainOf } from '../ledger/split.ts';
import { type Context, defineMeasure, figure, none, probeParam } from './measure.ts';

interface Election {
  readonly subject: string;
  /** Region of the writer that was elected. */
  readonly region: string;
  readonly from: string;
}

/** Regions that faults cut off from the others as a whole, by the faults' targets: `partition/west`, `region/west`. */
const cutOffBy = ({ targets }: FaultWindow): ReadonlySet<string> =>
  new Set(targets.flatMap((target) => /^(?:partition|region)\/(.+)$/.exec(target)?.[1] ?? []));

const electionsIn = (context: Context, fault: FaultWindow): readonly Election[] =>
  context.record.observations
    .filter(
      ({ name, minMs, maxMs }) =>
        name === 'database.elected' && maxMs >= fault.effective.minMs && minMs <= fault.reverted.maxMs,
    )
    .map(({ subject, data }) => {
      const regionOf = (zone: unknown): string => context.regionByZone.get(String(zone)) ?? String(zone);
      return { subject, region: regionOf(data['zone']), from: regionOf(data['from']) };
    });

/**
 * Fewer than half of the regions are cut off. Whoever is elected among them was elected without a majority; and what
 * they still acknowledge beside a majority's writer shows that they did not give up.
 */
export const quorum = defineMeasure({
  name: 'quorum',
  summary: 'Writers elected by a minority of the regions, or still acknowledging in one beside that of the majority.',
  params: z.strictObject({ ledger: probeParam('billing-ledger') }),
  bound: 'maxCount',
  measure({ ledger }, context, fault) {
    const store = context.stores(ledger);
    if (store.epochs.length === 0) return none(`no ${ledger} was acknowledged`);
    const all = new Set(context.regionByZone.values()).size;
    const cutOff = cutOffBy(fault);
    if (cutOff.size === 0 || cutOff.size * 2 >= all) return none('no minority of the regions was cut off');
    const elections = electionsIn(context, fault);
    const byMinority = elections.filter(({ region }) => cutOff.has(region));
    const byMajority = elections.filter(({ region, from }) => !cutOff.has(region) && cutOff.has(from));
    const beside = splitBrainOf(store.histories, store.sets.lost).dualAcknowledged.length;
    const [first] = byMajority;
    const minority = [...cutOff].join(', ');
    return {
      kind: 'count',
      count: byMinority.length + beside,
      of: `elections and acknowledgements by a minority (${minority}) of ${all} regions`,
      proven:
        first !== undefined &&
        `the others elected a writer of ${first.subject} in ${first.region}, and ${minority} gave its own up`,
      figures: [
        figure('elected by the majority', byMajority.length, 'count'),
        figure('elected by the minority', byMinority.length, 'count'),
        figure('acknowledged by the minority beside the new writer', beside, 'count'),
      ],
      notes: first === undefined ? ['nobody was elected: whether a minority would have been is not known'] : [],
    };
  },
});
