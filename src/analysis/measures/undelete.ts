import { z } from 'zod';
import type { FaultWindow } from '../fault-window.ts';
import { elapsed } from '../span.ts';
import type { StreamAnalysis } from '../stream.ts';
import { defineMeasure, type Figure, figure, none } from './measure.ts';
import { causedBy, homeRegion, latest, streamsNamed, tally } from './select.ts';

/** Regions whose objects were deleted: `object/<region>/<bucket>/<key>`. */
const regionsOf = ({ targets }: FaultWindow): ReadonlySet<string> =>
  new Set(targets.filter((target) => target.startsWith('object/')).map((target) => target.split('/')[1] ?? ''));

/** Reads that other regions answered while the objects were hidden: what a delete does to the copies. */
const elsewhereOf = (streams: readonly StreamAnalysis[], fault: FaultWindow): readonly Figure[] => {
  const { served, probes } = tally(streams, fault.effective.maxMs, fault.reverted.minMs);
  if (probes === 0) return [];
  return [figure('reads of copies meanwhile', probes, 'count'), figure('of them good', served, 'count')];
};

/**
 * From the call that undoes an accidental delete to the object's first good read. It passes only when its readers were
 * seen to miss it, and to have it back for good.
 */
export const undelete = defineMeasure({
  name: 'undelete',
  summary: 'Whether deleted objects can be had again, and how long that takes once somebody undoes the delete.',
  params: z.strictObject({
    /** Name of the probe in the experiment file that reads what is deleted. */
    stream: z.string().min(1).default('objects'),
  }),
  bound: 'none',
  measure({ stream }, context, fault) {
    const regions = regionsOf(fault);
    if (regions.size === 0) return none('nothing was deleted in this run');
    const streams = streamsNamed(context, stream);
    const readers = streams.filter((one) => regions.has(homeRegion(one, fault) ?? ''));
    if (readers.length === 0) return none(`no probe named ${stream} reads from ${[...regions].join(', ')}`);
    const outages = readers.map((one) => ({ one, outage: causedBy(one, fault).at(-1) }));
    const blind = outages.filter(({ outage }) => outage === undefined).map(({ one }) => one.stream.location);
    const figures = elsewhereOf(
      streams.filter((one) => !readers.includes(one)),
      fault,
    );
    if (blind.length > 0) {
      const reason = `read from ${blind.join(', ')}, the object was never seen to be missing`;
      return { kind: 'judged', verdict: 'INCONCLUSIVE', reason, figures };
    }
    const back = latest(outages.flatMap(({ outage }) => (outage === undefined ? [] : [outage.up])));
    if (back === undefined || !Number.isFinite(back.maxMs) || !Number.isFinite(fault.reverted.minMs)) {
      return { kind: 'judged', verdict: 'FAIL', reason: 'the object could not be read again', figures };
    }
    const hidden = figure('hidden from its readers for at most', back.maxMs - fault.effective.minMs, 'ms');
    if (outages.some(({ outage }) => outage?.confirmed === false)) {
      const reason = 'the object was read again, and it is not confirmed that it stayed';
      return { kind: 'judged', verdict: 'INCONCLUSIVE', reason, figures: [hidden, ...figures] };
    }
    const called = { minMs: fault.reverted.minMs, maxMs: fault.reverted.minMs };
    return { kind: 'duration', bracket: elapsed(called, back), figures: [hidden, ...figures] };
  },
});
