import type { InjectedFault, RunRecord } from './record.ts';
import type { Span } from './span.ts';
import type { StreamAnalysis } from './stream.ts';

/** What broke, when, and until when. */
export interface FaultWindow {
  /** Names of the faults, such as `zone.blackhole`. */
  readonly faults: readonly string[];
  /** t0: when the fault took effect. */
  readonly effective: Span;
  /** When it was taken away: [start of the call, verified]. Infinite when it was not. */
  readonly reverted: Span;
  readonly targets: readonly string[];
  readonly regions: ReadonlySet<string>;
  readonly zones: ReadonlySet<string>;
  readonly pods: ReadonlySet<string>;
}

/** Changes that answer a failure instead of causing one; what they touch is not what was broken. */
const responses: ReadonlySet<string> = new Set(['traffic.shift', 'database.promote']);

export const breakingFaults = (faults: readonly InjectedFault[]): readonly InjectedFault[] => {
  const breaking = faults.filter(({ fault }) => !responses.has(fault));
  return breaking.length > 0 ? breaking : faults;
};

/** Parts of `pod/us-west-2/platform/llm-abc`, `zone/us-west-2a`, `region/us-west-2`, `database/name`. */
const partsOf = (target: string): { readonly kind: string; readonly region: string; readonly name: string } => {
  const parts = target.split('/');
  return { kind: parts[0] ?? '', region: parts[1] ?? '', name: parts.at(-1) ?? '' };
};

/** Which region a zone is in: as the environment says, or as the answers say that it served. */
export const regionByZone = (record: RunRecord, streams: readonly StreamAnalysis[]): ReadonlyMap<string, string> => {
  const regions = new Map<string, string>();
  for (const { name, zones } of record.places?.regions ?? []) for (const zone of zones) regions.set(zone, name);
  if (regions.size > 0) return regions;
  for (const { evidence, stream } of streams) {
    if (stream.probe === 'dns') continue;
    for (const { zone, region } of evidence.samples) {
      if (zone !== undefined && region !== undefined) regions.set(zone, region);
    }
  }
  return regions;
};

/**
 * An outage that begins once the injection was called is itself proof that the fault bit: t0 is no later than its first
 * probe known to have failed. Probing every few milliseconds, that narrows t0 far more than a look at an API.
 */
const narrowedByClients = (effective: Span, streams: readonly StreamAnalysis[]): Span => {
  let maxMs = effective.maxMs;
  for (const { outages, stream } of streams) {
    if (stream.probe === 'dns') continue;
    for (const outage of outages) {
      if (outage.down.maxMs >= effective.minMs && outage.knownMs >= effective.minMs) {
        maxMs = Math.min(maxMs, outage.knownMs);
      }
    }
  }
  return { minMs: effective.minMs, maxMs: Math.max(effective.minMs, maxMs) };
};

/** A good answer from the broken zone or pod proves that the fault had not bitten when it was asked. */
const narrowedByAnswers = (
  effective: Span,
  places: Pick<FaultWindow, 'zones' | 'pods'>,
  streams: readonly StreamAnalysis[],
): Span => {
  if (places.zones.size + places.pods.size === 0) return effective;
  let { minMs } = effective;
  for (const { evidence, stream } of streams) {
    if (stream.probe === 'dns') continue;
    for (const sample of evidence.samples) {
      if (sample.sentMs > effective.maxMs) break;
      if (sample.sentMs <= minMs || sample.outcome !== 'good' || sample.endedMs > effective.maxMs) continue;
      const fromPod = sample.pod !== undefined && places.pods.has(sample.pod);
      const fromZone = sample.zone !== undefined && places.zones.has(sample.zone);
      if (fromPod || fromZone) minMs = sample.sentMs;
    }
  }
  return { minMs, maxMs: effective.maxMs };
};

/** `undefined` when no fault was shown to bite. */
export const faultWindowOf = (record: RunRecord, streams: readonly StreamAnalysis[]): FaultWindow | undefined => {
  const faults = breakingFaults(record.faults);
  const spans = faults.flatMap((fault) => (fault.effective === null ? [] : [fault.effective]));
  const [first] = spans.toSorted((a, b) => a.minMs - b.minMs);
  if (first === undefined) return undefined;
  const zoneRegions = regionByZone(record, streams);
  const regions = new Set<string>();
  const zones = new Set<string>();
  const pods = new Set<string>();
  for (const { target } of faults) {
    const { kind, region, name } = partsOf(target);
    if (kind === 'pod') pods.add(name);
    if (kind === 'zone') zones.add(name);
    if (kind === 'region' || kind === 'pod') regions.add(region);
    const zoneRegion = kind === 'zone' ? zoneRegions.get(name) : undefined;
    if (zoneRegion !== undefined) regions.add(zoneRegion);
  }
  const faultNames = [...new Set(faults.map(({ fault }) => fault))];
  const ended = faults.every((fault) => fault.reverted !== null);
  const reverted = {
    minMs: ended ? Math.max(...faults.map((fault) => fault.reverted?.minMs ?? 0)) : Number.POSITIVE_INFINITY,
    maxMs: ended ? Math.max(...faults.map((fault) => fault.reverted?.maxMs ?? 0)) : Number.POSITIVE_INFINITY,
  };
  const isPartial = faultNames.every((name) => name.startsWith('region.'));
  const byClients = narrowedByClients(first, streams);
  const effective = isPartial ? byClients : narrowedByAnswers(byClients, { zones, pods }, streams);
  const targets = faults.map(({ target }) => target);
  return { faults: faultNames, effective, reverted, targets, regions, zones, pods };
};
