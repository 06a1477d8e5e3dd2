import { z } from 'zod';
import { elapsed } from '../span.ts';
import { defineMeasure, figure, none, probeParam } from './measure.ts';
import { newAuthority, streamsOfProbe } from './select.ts';

/**
 * From observations `health.failed` (detection) or `database.unavailable`, `decision` (by a person, or auto in place of
 * one), and the first write with a new epoch.
 */
export const promotion = defineMeasure({
  name: 'promotion',
  summary: "Detected to the first write acknowledged by the new primary, people's share and the machine's apart.",
  params: z.strictObject({ probe: probeParam('postgres-ledger') }),
  bound: 'max',
  measure({ probe }, context, fault) {
    const { observations } = context.record;
    const detected = observations
      .filter((seen) => seen.name === 'health.failed' || seen.name === 'database.unavailable')
      .filter((seen) => seen.maxMs >= fault.effective.minMs)
      .toSorted((a, b) => a.maxMs - b.maxMs)[0];
    if (detected === undefined)
      return none('nothing was seen to detect the failure, so the time since has no beginning');
    const streams = streamsOfProbe(context, probe);
    const found = newAuthority(streams, fault);
    if (found === undefined) return none(`no ${probe} stream saw a write acknowledged by a new primary`);
    const decision = observations.find((seen) => seen.name === 'decision' && seen.maxMs >= fault.effective.minMs);
    const figures = [];
    const notes = [`detected by ${detected.source}: ${detected.name} ${detected.subject}`];
    if (decision === undefined) notes.push('no decision of a person is in the timeline');
    else {
      figures.push(figure("people's share", elapsed(detected, decision).estimateMs, 'ms'));
      figures.push(figure("machine's share", elapsed(decision, found.span).estimateMs, 'ms'));
      if (decision.data['by'] === 'auto')
        notes.push('nobody was asked: the documented time of a person was waited out');
    }
    return { kind: 'duration', bracket: elapsed(detected, found.span), figures, notes };
  },
});
