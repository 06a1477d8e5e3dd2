import { z } from 'zod';
import { defineMeasure, figure } from './measure.ts';

/** From observations `hands.needed`, and `decision` where no `hands.needed` of the same subject stands beside it. */
export const hands = defineMeasure({
  name: 'hands',
  summary: 'Manual steps in the timeline; a waited-out decision of --approve auto stands for a person.',
  params: z.strictObject({}),
  bound: 'maxCount',
  measure(_params, context) {
    const { observations } = context.record;
    const manual = observations.filter((seen) => seen.name === 'hands.needed');
    const subjects = new Set(manual.map((seen) => seen.subject));
    const decisions = observations.filter((seen) => seen.name === 'decision' && !subjects.has(seen.subject));
    const all = [...manual, ...decisions];
    const recovered = context.streams
      .filter(({ stream }) => stream.required)
      .every(({ outages }) => outages.every((outage) => outage.confirmed));
    return {
      kind: 'count',
      count: all.length,
      of: 'manual steps from injection to redundancy',
      proven: recovered ? 'the service came back without them' : false,
      figures: all.map((seen) => figure('manual step', seen.subject, 'text')),
    };
  },
});
