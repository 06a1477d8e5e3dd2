import { z } from 'zod';
import { good } from '../evidence.ts';
import type { FaultWindow } from '../fault-window.ts';
import { elapsed, type Span } from '../span.ts';
import type { StreamAnalysis } from '../stream.ts';
import { firstSentFrom } from '../stream.ts';
import { type Context, defineMeasure, figure, none, probeParam } from './measure.ts';
import { affectedStreams, homeRegion, latest, onTheWayHome, requiredStreams, worstOf } from './select.ts';

/** When a location is served at home for good: after the last answer from elsewhere. */
const homecoming = (one: StreamAnalysis, fault: FaultWindow): Span => {
  const { samples, kinds } = one.evidence;
  const home = homeRegion(one, fault);
  let awayMs = fault.reverted.minMs;
  let homeMs: number | undefined;
  for (let index = firstSentFrom(samples, fault.reverted.minMs); index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample?.region === undefined || kinds[index] !== good) continue;
    if (sample.region === home) homeMs ??= sample.endedMs;
    else {
      awayMs = sample.sentMs;
      homeMs = undefined;
    }
  }
  return { minMs: awayMs, maxMs: homeMs ?? Number.POSITIVE_INFINITY };
};

/** Redundancy is back: the last such observation after the revert, or the end of the phase that waited for it. */
const redundancy = ({ record }: Context, fault: FaultWindow): Span | undefined => {
  const settled = Object.entries(record.facts).filter(([name]) => name.startsWith('settled.'));
  if (settled.some(([, value]) => value !== true))
    return { minMs: fault.reverted.minMs, maxMs: Number.POSITIVE_INFINITY };
  const restored = record.observations.filter(
    (seen) => seen.name === 'redundancy.restored' && seen.maxMs >= fault.reverted.minMs,
  );
  const last = latest(restored);
  if (last !== undefined) return last;
  const phase = record.phases.findLast(({ name }) => name === 'settle');
  if (settled.length === 0 || phase?.endMs === undefined || phase.endMs === null) return undefined;
  return { minMs: fault.reverted.minMs, maxMs: phase.endMs };
};

export const failback = defineMeasure({
  name: 'failback',
  summary: 'Fault ended to redundancy restored and every location served at home again; outages on the way beside it.',
  params: z.strictObject({ probe: probeParam('chat') }),
  bound: 'max',
  measure({ probe }, context, fault) {
    if (!Number.isFinite(fault.reverted.maxMs)) return none('the fault was not ended, so there was no way home');
    const streams = affectedStreams(requiredStreams(context, probe), fault);
    if (streams.length === 0) return none(`no required ${probe} stream was served by the broken region`);
    const redundant = redundancy(context, fault);
    if (redundant === undefined) return none('nothing was seen of when redundancy was restored');
    const homes = streams.map((one) => ({ location: one.stream.location, span: homecoming(one, fault) }));
    const end = latest([redundant, ...homes.map(({ span }) => span)]) ?? redundant;
    const start = { minMs: fault.reverted.minMs, maxMs: fault.reverted.maxMs };
    const wayHome = worstOf(
      context.streams.filter(({ stream }) => stream.required).flatMap((one) => onTheWayHome(one, fault)),
      (outage) => outage.client,
    );
    const figures = [
      figure('redundancy restored after', elapsed(start, redundant).estimateMs, 'ms'),
      ...homes.map(({ location, span }) => figure(`${location} home after`, elapsed(start, span).estimateMs, 'ms')),
      figure('worst outage of the way home', wayHome?.client.estimateMs ?? 0, 'ms'),
    ];
    const notes = ['data lost on the way home is counted by the ledger, which comes with data-loss measurement'];
    const confirmed = Number.isFinite(end.maxMs) && wayHome?.confirmed !== false;
    return { kind: 'duration', bracket: elapsed(start, end), confirmed, figures, notes };
  },
});
