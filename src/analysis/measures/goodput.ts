import { z } from 'zod';
import type { FaultWindow } from '../fault-window.ts';
import type { StreamAnalysis } from '../stream.ts';
import { type Context, defineMeasure, figure, none, probeParam, type Share } from './measure.ts';
import { affectedStreams, causedBy, faultEndMs, requiredStreams, shareOf, type Tally, tally } from './select.ts';

/**
 * Ratio of two shares with bounds from the ends of both: what is served now of what was served before. It may exceed 1:
 * held down to 1, a baseline with errors of its own would leave a bracket without width, as if the loss were known
 * exactly.
 */
const ratioOf = (now: Tally, before: Tally): Share => {
  const a = shareOf(now.served, now.probes);
  const b = shareOf(before.served, before.probes);
  const at = (top: number, bottom: number): number => (bottom === 0 ? 0 : top / bottom);
  return { estimate: at(a.estimate, b.estimate), min: at(a.min, b.max), max: at(a.max, b.min) };
};

/** When the broken pod's place is filled again: its replacement is ready, or the fault was taken away. */
const replacedMs = (context: Context, fault: FaultWindow): number => {
  const ready = context.record.observations.find(
    (seen) => seen.name === 'pod.ready' && seen.maxMs > fault.effective.maxMs,
  );
  return Math.min(ready?.maxMs ?? Number.POSITIVE_INFINITY, fault.reverted.maxMs, context.endMs);
};

/** Since when the steady state held that the fault met: an outage before it is no baseline. */
const steadySinceMs = (streams: readonly StreamAnalysis[], fault: FaultWindow): number =>
  Math.max(
    Number.NEGATIVE_INFINITY,
    ...streams.flatMap(({ outages }) =>
      outages.map(({ up }) => up.maxMs).filter((upMs) => upMs < fault.effective.minMs),
    ),
  );

const params = z.strictObject({
  probe: probeParam('chat'),
  /** `fault`: from its effect; `recovery`: from the stable recovery, when what is left carries the load. */
  from: z.enum(['fault', 'recovery']).default('fault'),
  until: z.enum(['reverted', 'replaced']).default('reverted'),
});

const probesLeast = 59;

/** Served answers over probes sent at the same offered load, during the fault against the baseline. */
const servedRatio = (
  { probe, from, until }: z.output<typeof params>,
  context: Context,
  fault: FaultWindow,
): { readonly share: Share; readonly of: number; readonly fromMs: number; readonly toMs: number } | string => {
  const streams = affectedStreams(requiredStreams(context, probe), fault);
  if (streams.length === 0) return `no required ${probe} stream was served by the broken region`;
  const recoveries = streams.flatMap((one) => causedBy(one, fault));
  const recoveredMs = Math.max(fault.effective.maxMs, ...recoveries.map((outage) => outage.up.maxMs));
  if (from === 'recovery' && recoveredMs >= faultEndMs(context, fault))
    return 'the service did not recover while the fault lasted';
  const fromMs = from === 'recovery' ? recoveredMs : fault.effective.minMs;
  const toMs = until === 'replaced' ? replacedMs(context, fault) : faultEndMs(context, fault);
  const now = tally(streams, fromMs, toMs);
  if (now.probes === 0) return 'no probe was sent while the fault lasted';
  const before = tally(streams, steadySinceMs(streams, fault), fault.effective.minMs);
  return { share: ratioOf(now, before), of: now.probes, fromMs, toMs };
};

const loadNote = 'at the load of the probes, not at peak: what full load would do is not claimed';

export const goodput = defineMeasure({
  name: 'goodput',
  summary: 'Share of the baseline throughput that is still served at the same offered load, while the fault lasts.',
  params,
  bound: 'minShare',
  measure(given, context, fault) {
    const found = servedRatio(given, context, fault);
    if (typeof found === 'string') return none(found);
    const figures = [figure('probes', found.of, 'count'), figure('over', found.toMs - found.fromMs, 'ms')];
    return { kind: 'share', share: found.share, of: found.of, figures, notes: [loadNote] };
  },
});

export const throughputLoss = defineMeasure({
  name: 'throughput-loss',
  summary: 'Share of the baseline throughput that is lost at the same offered load; the bound is meant plus its error.',
  params,
  bound: 'maxShare',
  measure(given, context, fault, target) {
    const found = servedRatio(given, context, fault);
    if (typeof found === 'string') return none(found);
    const { share, of } = found;
    const lost = { estimate: 1 - share.estimate, min: 1 - share.max, max: 1 - share.min };
    const figures = [figure('probes', of, 'count'), figure('over', found.toMs - found.fromMs, 'ms')];
    const isWithin = lost.estimate <= (target.maxShare ?? 0) && of >= probesLeast;
    const accepted = isWithin ? { accepted: 'within the bound plus its error' } : {};
    return { kind: 'share', share: lost, of, figures, notes: [loadNote], ...accepted };
  },
});
