import type { Stream } from '../../probes/sample.ts';
import { lowerShare, upperShare } from '../binomial.ts';
import { good } from '../evidence.ts';
import type { FaultWindow } from '../fault-window.ts';
import type { Outage } from '../outages.ts';
import { type Span, worst } from '../span.ts';
import { firstSentFrom, isServed, type StreamAnalysis, servedWithin } from '../stream.ts';
import { openingRule } from '../tracker.ts';
import type { Context, Share } from './measure.ts';

/** Streams of one probe kind that targets are judged by. */
export const requiredStreams = (context: Context, probe: string): readonly StreamAnalysis[] =>
  context.streams.filter(({ stream }) => stream.required && stream.probe === probe);

export const streamsNamed = (context: Context, name: string): readonly StreamAnalysis[] =>
  context.streams.filter(({ stream }) => stream.name === name);

export const streamsOfProbe = (context: Context, probe: string): readonly StreamAnalysis[] =>
  context.streams.filter(({ stream }) => stream.probe === probe);

/** A stray this shortly before the fault may count as the first probe of its outage: so far the opening rule looks. */
export const strayReachMs = ({ everyMs }: Stream): number => openingRule.among * everyMs;

/** Outages of a stream that the fault caused: still open after the injection, and begun before the fault was ended. */
export const causedBy = ({ outages, stream }: StreamAnalysis, fault: FaultWindow): readonly Outage[] =>
  outages.filter(
    (outage) =>
      outage.up.minMs >= fault.effective.minMs &&
      outage.down.maxMs >= fault.effective.minMs - strayReachMs(stream) &&
      outage.down.maxMs < fault.reverted.minMs,
  );

/** Outages that began on the way home. */
export const onTheWayHome = ({ outages }: StreamAnalysis, fault: FaultWindow): readonly Outage[] =>
  outages.filter((outage) => outage.down.maxMs >= fault.reverted.minMs);

/** Region that served most of a stream before the fault; `undefined` when its answers do not say. */
export const homeRegion = ({ evidence, stream }: StreamAnalysis, fault: FaultWindow): string | undefined => {
  const counts = new Map<string, number>();
  for (const sample of evidence.samples) {
    if (sample.sentMs >= fault.effective.minMs) break;
    const region = stream.probe === 'dns' ? sample.answer : sample.region;
    if (region !== undefined) counts.set(region, (counts.get(region) ?? 0) + 1);
  }
  return [...counts].toSorted((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))[0]?.[0];
};

/** Streams that were served by a broken region before the fault; all of them when nobody can tell. */
export const affectedStreams = (streams: readonly StreamAnalysis[], fault: FaultWindow): readonly StreamAnalysis[] => {
  if (fault.regions.size === 0) return streams;
  const homes = streams.map((one) => homeRegion(one, fault));
  if (homes.every((home) => home === undefined)) return streams;
  return streams.filter((_one, index) => fault.regions.has(homes[index] ?? ''));
};

export const shareOf = (count: number, of: number): Share => ({
  estimate: of === 0 ? 0 : count / of,
  min: of === 0 ? 0 : lowerShare(count, of),
  max: of === 0 ? 1 : upperShare(count, of),
});

export interface Tally {
  readonly served: number;
  readonly probes: number;
}

export const tally = (streams: readonly StreamAnalysis[], fromMs: number, toMs: number): Tally => {
  let served = 0;
  let probes = 0;
  for (const { evidence } of streams) {
    const one = servedWithin(evidence, fromMs, toMs);
    served += one.served;
    probes += one.probes;
  }
  return { served, probes };
};

/** End of the fault's reign: when its end was called, or the end of what was seen. */
export const faultEndMs = (context: Context, fault: FaultWindow): number =>
  Math.min(fault.reverted.minMs, context.endMs);

/** A new database server acknowledged its first write. */
export interface NewAuthority {
  readonly span: Span;
  readonly stream: string;
  readonly epoch: string;
  readonly previous: string;
}

const newAuthorityOf = (one: StreamAnalysis, fault: FaultWindow): NewAuthority | undefined => {
  const { samples, kinds } = one.evidence;
  let previous: string | undefined;
  let provenMs = fault.effective.minMs;
  for (let index = 0; index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined) continue;
    const epoch = kinds[index] === good ? sample.epoch : undefined;
    if (sample.sentMs < fault.effective.minMs) {
      previous = epoch ?? previous;
    } else if (epoch !== undefined && previous !== undefined && epoch !== previous) {
      const span = { minMs: Math.min(provenMs, sample.endedMs), maxMs: sample.endedMs };
      return { span, stream: one.stream.stream, epoch, previous };
    } else if (isServed(kinds[index]) || sample.outcome === 'bad') {
      // Served by the old one, or not at all: the new one had not answered this stream yet when this was sent.
      if (kinds[index] !== 0) provenMs = Math.max(provenMs, sample.sentMs);
    }
  }
  return undefined;
};

/** First write that a new primary acknowledged, as the stream that saw it first saw it. */
export const newAuthority = (streams: readonly StreamAnalysis[], fault: FaultWindow): NewAuthority | undefined => {
  const found = streams.flatMap((one) => newAuthorityOf(one, fault) ?? []);
  return found.toSorted((a, b) => a.span.maxMs - b.span.maxMs)[0];
};

/** When this location's answers stopped to name the broken region. Infinite when they never did. */
export interface Removal {
  readonly location: string;
  readonly span: Span;
}

const removalOf = (one: StreamAnalysis, fault: FaultWindow, endMs: number): Removal | undefined => {
  const { samples, kinds } = one.evidence;
  if (!fault.regions.has(homeRegion(one, fault) ?? '')) return undefined;
  let last: number | undefined;
  let after: number | undefined;
  const start = firstSentFrom(samples, fault.effective.minMs);
  for (let index = Math.max(0, start - 1); index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined || sample.sentMs > endMs) break;
    if (kinds[index] !== good || sample.answer === undefined) continue;
    if (fault.regions.has(sample.answer)) {
      last = sample.sentMs;
      after = undefined;
    } else after ??= sample.endedMs;
  }
  const minMs = Math.max(fault.effective.minMs, last ?? fault.effective.minMs);
  return { location: one.stream.location, span: { minMs, maxMs: after ?? Number.POSITIVE_INFINITY } };
};

/** Per location that the broken region served: when it left the DNS answers. */
export const removals = (context: Context, fault: FaultWindow): readonly Removal[] => {
  const endMs = faultEndMs(context, fault);
  return streamsOfProbe(context, 'dns').flatMap((one) => removalOf(one, fault, endMs) ?? []);
};

/** The longest stretch that nobody could see between two instants, among streams. */
export const longestHiddenMs = (streams: readonly StreamAnalysis[], fromMs: number, toMs: number): number => {
  let longest = 0;
  for (const { hidden } of streams) {
    for (const place of hidden) {
      if (place.toMs > fromMs && place.fromMs < toMs) longest = Math.max(longest, place.toMs - place.fromMs);
    }
  }
  return longest;
};

export const latest = (spans: readonly Span[]): Span | undefined =>
  spans.length === 0
    ? undefined
    : { minMs: Math.max(...spans.map((span) => span.minMs)), maxMs: Math.max(...spans.map((span) => span.maxMs)) };

export const worstOf = worst;
