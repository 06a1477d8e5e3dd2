import { z } from 'zod';
import type { FaultWindow } from '../fault-window.ts';
import type { StreamAnalysis } from '../stream.ts';
import { latenciesOf } from '../stream.ts';
import { type Context, defineMeasure, type Figure, figure, none, probeParam } from './measure.ts';
import { causedBy, faultEndMs, homeRegion, requiredStreams } from './select.ts';

interface Shift {
  readonly location: string;
  readonly home: string | undefined;
  readonly served: string | undefined;
  readonly figures: readonly Figure[];
}

const shiftOf = (one: StreamAnalysis, context: Context, fault: FaultWindow): Shift | undefined => {
  const endMs = faultEndMs(context, fault);
  const upMs = Math.max(fault.effective.maxMs, ...causedBy(one, fault).map((outage) => outage.firstUp.maxMs));
  const before = latenciesOf(one.evidence, 'first', Number.NEGATIVE_INFINITY, fault.effective.minMs);
  const after = latenciesOf(one.evidence, 'first', upMs, endMs);
  if (before === null || after === null) return undefined;
  const { location } = one.stream;
  const served = one.evidence.samples.findLast(
    (sample) => sample.sentMs >= upMs && sample.sentMs <= endMs && sample.region !== undefined,
  )?.region;
  return {
    location,
    home: homeRegion(one, fault),
    served,
    figures: [
      figure(`${location} p50 before`, before.p50Ms, 'ms'),
      figure(`${location} p50 after`, after.p50Ms, 'ms'),
      figure(`${location} p95 before`, before.p95Ms, 'ms'),
      figure(`${location} p95 after`, after.p95Ms, 'ms'),
    ],
  };
};

export const latency = defineMeasure({
  name: 'latency-shift',
  summary: 'Time to the first token before the fault and after the switch, per location; real time, nothing scaled.',
  params: z.strictObject({ probe: probeParam('chat') }),
  bound: 'none',
  measure({ probe }, context, fault) {
    const streams = requiredStreams(context, probe).filter(({ stream }) => stream.connection === 'fresh');
    const shifts = streams.flatMap((one) => shiftOf(one, context, fault) ?? []);
    const moved = shifts.filter(({ home, served }) => fault.regions.has(home ?? '') && served !== undefined);
    if (moved.length === 0) return none('no location of the broken region was served again while the fault lasted');
    const stayed = moved.filter(({ served }) => fault.regions.has(served ?? ''));
    const figures = shifts.flatMap((shift) => shift.figures);
    const texts = moved.map(({ location, home, served }) => `${location} from ${served} instead of ${home}`);
    if (stayed.length > 0) {
      const reason = `${stayed.map(({ location }) => location).join(', ')} still served by the broken region`;
      return { kind: 'judged', verdict: 'FAIL', reason, figures };
    }
    return { kind: 'judged', verdict: 'PASS', reason: `served: ${texts.join('; ')}; latencies are reported`, figures };
  },
});
