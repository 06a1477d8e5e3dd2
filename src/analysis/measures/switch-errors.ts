import { z } from 'zod';
import type { FaultWindow } from '../fault-window.ts';
import { notGoodMs } from '../outages.ts';
import { bracketOf } from '../span.ts';
import type { StreamAnalysis } from '../stream.ts';
import { firstSentFrom } from '../stream.ts';
import { endpointKind } from './dns-removal.ts';
import { type Context, defineMeasure, figure, none, probeParam } from './measure.ts';
import { affectedStreams, faultEndMs, longestHiddenMs, removals, requiredStreams, worstOf } from './select.ts';

/** First answer from elsewhere: at the latest then the client had been switched. */
const servedElsewhereMs = ({ evidence: { samples } }: StreamAnalysis, fault: FaultWindow): number | undefined => {
  for (let index = firstSentFrom(samples, fault.effective.minMs); index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample?.region !== undefined && !fault.regions.has(sample.region)) return sample.sentMs;
  }
  return undefined;
};

/** End of the switch for one location: its DNS answer changed, or it was answered by another region. */
const switchedMs = (one: StreamAnalysis, context: Context, fault: FaultWindow): number => {
  const removal = removals(context, fault).find(({ location }) => location === one.stream.location);
  const ends = [removal?.span.maxMs, servedElsewhereMs(one, fault)].filter((end) => end !== undefined);
  return Math.min(faultEndMs(context, fault), ...(ends.length > 0 ? ends : [Number.POSITIVE_INFINITY]));
};

export const switchErrors = defineMeasure({
  name: 'switch-errors',
  summary: 'Time in errors of each client until its requests went to another region, worst location.',
  params: z.strictObject({ probe: probeParam('chat') }),
  bound: 'max',
  measure({ probe }, context, fault) {
    const fresh = requiredStreams(context, probe).filter(({ stream }) => stream.connection === 'fresh');
    const streams = affectedStreams(fresh, fault);
    if (streams.length === 0) return none(`no required ${probe} stream was served by the broken region`);
    const fromMs = fault.effective.minMs;
    const locations = streams.map((one) => {
      const toMs = switchedMs(one, context, fault);
      const errorsMs = notGoodMs(one.evidence, fromMs, toMs);
      const edgesMs = 2 * one.stream.everyMs;
      const bracket = bracketOf(errorsMs, Math.max(0, errorsMs - edgesMs), errorsMs + edgesMs);
      return { location: one.stream.location, bracket, switchedAfterMs: toMs - fromMs };
    });
    const worst = worstOf(locations, ({ bracket }) => bracket);
    if (worst === undefined) return none('no client was switched');
    return {
      kind: 'duration',
      bracket: worst.bracket,
      location: worst.location,
      locations: locations.map(({ location, bracket }) => ({ location, bracket })),
      waitsFor: endpointKind(fault.faults) === 'refused' ? [] : ['health-checks'],
      hiddenMs: longestHiddenMs(streams, fromMs, fromMs + worst.switchedAfterMs),
      figures: locations.map((one) => figure(`${one.location} switched after`, one.switchedAfterMs, 'ms')),
      notes: ['errors after the switch, while the database had no writer, are not errors of the switch'],
    };
  },
});
