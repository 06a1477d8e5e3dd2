import type { Observation } from '../core/observation.ts';
import type { FaultWindow } from './fault-window.ts';
import type { Context } from './measures/measure.ts';
import { causedBy, latest, newAuthority, removals, streamsOfProbe, worstOf } from './measures/select.ts';
import type { Outage } from './outages.ts';
import type { Bracket } from './record.ts';
import { elapsed, type Span } from './span.ts';

/**
 * Where the time of an outage went, for one location. Instants are brackets on the run's clock; `null` for what was not
 * seen. Durations are real.
 */
export interface Decomposition {
  readonly location: string;
  readonly stream: string;
  readonly instants: {
    readonly faultEffective: Span;
    readonly firstImpact: Span;
    readonly detected: Span | null;
    readonly decided: Span | null;
    readonly newAuthority: Span | null;
    readonly routeChanged: Span | null;
    readonly firstGood: Span;
    readonly stable: Span;
    readonly redundant: Span | null;
  };
  readonly durations: {
    /** First impact to stable: the one that targets are judged by. */
    readonly outage: Bracket;
    /** Fault effective to stable. */
    readonly sinceFault: Bracket;
    readonly detect: Bracket | null;
    readonly failOver: Bracket | null;
    readonly propagate: Bracket | null;
    readonly settle: Bracket;
    readonly redundancy: Bracket | null;
  };
}

const detections: ReadonlySet<Observation['name']> = new Set([
  'health.failed',
  'pod.not-ready',
  'pod.deleted',
  'database.unavailable',
  'zone.removed',
]);

/** Earliest observation by which the platform, not we, noticed the failure. */
export const detectedAt = ({ record }: Context, fault: FaultWindow): Observation | undefined =>
  record.observations
    .filter((seen) => detections.has(seen.name) && seen.maxMs >= fault.effective.minMs)
    .filter((seen) => seen.minMs <= fault.reverted.minMs)
    .toSorted((a, b) => a.maxMs - b.maxMs)[0];

const spanOf = (seen: Observation | undefined): Span | null =>
  seen === undefined ? null : { minMs: seen.minMs, maxMs: seen.maxMs };

const between = (from: Span | null, to: Span | null): Bracket | null =>
  from === null || to === null || !Number.isFinite(to.minMs) ? null : elapsed(from, to);

const decomposeOne = (outage: Outage, context: Context, fault: FaultWindow): Decomposition => {
  const { observations } = context.record;
  const detected = spanOf(detectedAt(context, fault));
  const decided = spanOf(
    observations.find(
      (seen) => (seen.name === 'decision' || seen.name === 'database.failover') && seen.maxMs >= fault.effective.minMs,
    ),
  );
  const writers = streamsOfProbe(context, 'postgres-ledger');
  const authority = newAuthority(writers.length > 0 ? writers : context.streams, fault)?.span ?? null;
  const changed = removals(context, fault).find(({ location }) => location === outage.location)?.span;
  const route = changed !== undefined && Number.isFinite(changed.maxMs) ? changed : null;
  const redundant =
    latest(observations.filter((seen) => seen.name === 'redundancy.restored' && seen.maxMs >= outage.up.minMs)) ?? null;
  const instants = {
    faultEffective: fault.effective,
    firstImpact: outage.down,
    detected,
    decided,
    newAuthority: authority,
    routeChanged: route,
    firstGood: outage.firstUp,
    stable: outage.up,
    redundant,
  };
  return {
    location: outage.location,
    stream: outage.stream,
    instants,
    durations: {
      outage: outage.client,
      sinceFault: elapsed(fault.effective, outage.up),
      detect: between(fault.effective, detected),
      failOver: between(detected, authority),
      propagate: between(route, outage.firstUp),
      settle: elapsed(outage.firstUp, outage.up),
      redundancy: between(outage.up, redundant),
    },
  };
};

/** One for each location that was hit: its worst outage of the required streams. */
export const decompose = (context: Context, fault: FaultWindow): readonly Decomposition[] => {
  const required = context.streams.filter(({ stream }) => stream.required);
  const locations = [...new Set(required.map(({ stream }) => stream.location))].toSorted();
  return locations.flatMap((location) => {
    const outages = required
      .filter(({ stream }) => stream.location === location)
      .flatMap((one) => causedBy(one, fault));
    const worst = worstOf(outages, (outage) => outage.client);
    return worst === undefined ? [] : [decomposeOne(worst, context, fault)];
  });
};
