import { z } from 'zod';
import { defineMeasure, figure, none } from './measure.ts';
import { streamsNamed } from './select.ts';

/** What PostgreSQL says to a write while it is a replica. */
const readOnlyCode = '25006';

/** A replica that was asked itself, until it was promoted: silence proves nothing, so it must be heard to refuse. */
export const readOnly = defineMeasure({
  name: 'read-only',
  summary: 'Writes acknowledged by a replica that was asked itself; all of them must be refused.',
  params: z.strictObject({
    /** Name of the probe in the experiment file that writes to a replica itself. */
    replica: z.string().min(1).default('replica'),
  }),
  bound: 'maxCount',
  measure({ replica }, context) {
    const streams = streamsNamed(context, replica);
    if (streams.length === 0) return none(`no probe "${replica}" writes to a replica itself`);
    const promotions = context.record.observations.filter(
      ({ name, data }) => name === 'database.failover' && data['promoted'] === true,
    );
    const untilMs = Math.min(context.endMs, ...promotions.map(({ minMs }) => minMs));
    let [tried, refused, acknowledged] = [0, 0, 0];
    for (const { evidence } of streams) {
      for (const { sentMs, endedMs, outcome, code } of evidence.samples) {
        if (outcome === 'dropped' || endedMs > untilMs || sentMs > untilMs) continue;
        tried += 1;
        if (code === readOnlyCode) refused += 1;
        else if (outcome !== 'bad') acknowledged += 1;
      }
    }
    return {
      kind: 'count',
      count: acknowledged,
      of: `writes acknowledged by a replica, of ${tried} tried there`,
      proven: refused > 0 && `${refused} of ${tried} writes tried at the replica itself were refused as read-only`,
      figures: [
        figure('writes tried at the replica itself', tried, 'count'),
        figure(`refused with ${readOnlyCode}`, refused, 'count'),
        figure('neither refused nor acknowledged', tried - refused - acknowledged, 'count'),
      ],
      notes: refused > 0 ? [] : ['the replica itself was never heard to refuse a write'],
    };
  },
});
