import type { Blind, Sample, Stream } from '../probes/sample.ts';
import { type Evidence, evidenceOf, good, slow, unknown, wasSent } from './evidence.ts';
import {
  type Blip,
  blipsOf,
  detectionFloorMs,
  type Hidden,
  hidingPlaces,
  notGoodMs,
  type Outage,
  outagesOf,
} from './outages.ts';
import { singleLook, type Window } from './window.ts';

export interface Counts {
  readonly sent: number;
  readonly good: number;
  readonly slow: number;
  readonly bad: number;
  readonly dropped: number;
  /** Sent, but touched by blind time: neither up nor down. */
  readonly unknown: number;
}

/** Real milliseconds. */
export interface Quantiles {
  readonly count: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Everything one stream says. */
export interface StreamAnalysis {
  readonly stream: Stream;
  readonly evidence: Evidence;
  readonly window: Window;
  readonly counts: Counts;
  /** From send to complete answer, of good and slow evidence probes; `null` when there is none. */
  readonly latency: Quantiles | null;
  /** Up means good in time: what targets are judged by. */
  readonly outages: readonly Outage[];
  /** Up means served at all. */
  readonly reachable: readonly Outage[];
  readonly blips: readonly Blip[];
  readonly hidden: readonly Hidden[];
  readonly notGoodMs: number;
  readonly floor: { readonly outageMs: number; readonly freezeMs: number };
}

/**
 * Window that closes outages where nothing is judged and so no baseline fixes one: short enough to tell outages a few
 * seconds apart, and no proof of a lasting recovery.
 */
export const separatingWindow: Window = singleLook({ probes: 20, toleratedBad: 2, toleratedLate: 2 });

const countsOf = ({ samples, kinds }: Evidence): Counts => {
  const tally = [0, 0, 0, 0];
  let dropped = 0;
  for (let index = 0; index < kinds.length; index += 1) {
    const kind = kinds[index] ?? unknown;
    tally[kind] = (tally[kind] ?? 0) + 1;
    const sample = samples[index];
    if (sample !== undefined && !wasSent(sample)) dropped += 1;
  }
  const [unknowns = 0, goods = 0, slows = 0, bads = 0] = tally;
  const sent = kinds.length - dropped;
  return { sent, good: goods, slow: slows, bad: bads, dropped, unknown: unknowns - dropped };
};

export const quantilesOf = (values: Float64Array): Quantiles | null => {
  if (values.length === 0) return null;
  values.sort();
  const at = (share: number): number => values[Math.min(values.length - 1, Math.ceil(share * values.length) - 1)] ?? 0;
  return { count: values.length, p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99), maxMs: at(1) };
};

/** Latencies of the served evidence probes sent within [fromMs, toMs]: to the first byte or token, or to the end. */
export const latenciesOf = (
  { samples, kinds }: Evidence,
  part: 'first' | 'whole',
  fromMs = Number.NEGATIVE_INFINITY,
  toMs = Number.POSITIVE_INFINITY,
): Quantiles | null => {
  const values = new Float64Array(kinds.length);
  let count = 0;
  for (let index = 0; index < kinds.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined || (kinds[index] !== good && kinds[index] !== slow)) continue;
    if (sample.sentMs < fromMs || sample.sentMs > toMs) continue;
    const endMs = part === 'first' ? (sample.firstByteMs ?? sample.endedMs) : sample.endedMs;
    values[count] = endMs - sample.sentMs;
    count += 1;
  }
  return quantilesOf(values.subarray(0, count));
};

/** What the evidence of one stream says of the service. Linear in the samples, but for sorting latencies. */
export const analyseEvidence = (evidence: Evidence, window: Window): StreamAnalysis => {
  const latency = latenciesOf(evidence, 'whole');
  const strict = outagesOf(evidence, window, 'strict', latency?.p50Ms ?? 0);
  return {
    stream: evidence.stream,
    evidence,
    window,
    counts: countsOf(evidence),
    latency,
    outages: strict.outages,
    reachable: outagesOf(evidence, window, 'reachable', latency?.p50Ms ?? 0).outages,
    blips: blipsOf(evidence, strict.ranges),
    hidden: hidingPlaces(evidence, strict.ranges),
    notGoodMs: notGoodMs(evidence),
    floor: detectionFloorMs(evidence),
  };
};

/** The same from raw samples. Without a window, outages are told apart but no recovery is proven to last. */
export const analyseStream = (
  samples: readonly Sample[],
  blind: readonly Blind[],
  stream: Stream,
  options: { readonly window?: Window } = {},
): StreamAnalysis => analyseEvidence(evidenceOf(stream, samples, blind), options.window ?? separatingWindow);

/** Evidence probes that were served, of those sent within [fromMs, toMs]. */
export const servedWithin = (
  { samples, kinds }: Evidence,
  fromMs: number,
  toMs: number,
): { readonly served: number; readonly probes: number; readonly bad: number; readonly late: number } => {
  const counts = [0, 0, 0, 0];
  for (let index = firstSentFrom(samples, fromMs); index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined || sample.sentMs > toMs) break;
    const kind = kinds[index] ?? unknown;
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  const [, goods = 0, slows = 0, bads = 0] = counts;
  return { served: goods + slows, probes: goods + slows + bads, bad: bads, late: slows };
};

/** Index of the first sample sent at or after an instant. */
export const firstSentFrom = (samples: readonly Sample[], fromMs: number): number => {
  let low = 0;
  let high = samples.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((samples[middle]?.sentMs ?? 0) >= fromMs) high = middle;
    else low = middle + 1;
  }
  return low;
};

export const isServed = (kind: number | undefined): boolean => kind === good || kind === slow;
