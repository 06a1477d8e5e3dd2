import type { Blind, Sample, Stream } from '../probes/sample.ts';

/** What a probe says: it is evidence only when it was sent and neither its send nor its end touches blind time. */
export const unknown = 0;
export const good = 1;
export const slow = 2;
export const bad = 3;

export interface Interval {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The samples of one stream and what each of them proves. */
export interface Evidence {
  readonly stream: Stream;
  /** In send order. */
  readonly samples: readonly Sample[];
  /** `unknown`, `good`, `slow` or `bad`, one for each sample. */
  readonly kinds: Uint8Array;
  /** When the instrument could not see: sorted, disjoint. */
  readonly blind: readonly Interval[];
  readonly blindMs: number;
}

const kindOf = { good, slow, bad, dropped: unknown } as const;

export const wasSent = (sample: Sample): boolean => sample.outcome !== 'dropped';

/**
 * Gap rule: where the next send came more than two spacings late, the instrument was blind from one spacing after the
 * last send until the next one. Unobserved is not down.
 */
export const sendGaps = (samples: readonly Sample[], everyMs: number): readonly Interval[] => {
  const gaps: Interval[] = [];
  let lastMs: number | undefined;
  for (const sample of samples) {
    if (!wasSent(sample)) continue;
    if (lastMs !== undefined && sample.sentMs - lastMs > 2 * everyMs) {
      gaps.push({ fromMs: lastMs + everyMs, toMs: sample.sentMs });
    }
    lastMs = sample.sentMs;
  }
  return gaps;
};

export const mergeIntervals = (intervals: readonly Interval[]): readonly Interval[] => {
  const sorted = intervals.toSorted((a, b) => a.fromMs - b.fromMs);
  const merged: { fromMs: number; toMs: number }[] = [];
  for (const { fromMs, toMs } of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs);
    else merged.push({ fromMs, toMs });
  }
  return merged;
};

/** Index of the last interval that begins at or before `atMs`; −1 when there is none. */
const indexAt = (intervals: readonly Interval[], atMs: number): number => {
  let low = -1;
  let high = intervals.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((intervals[middle]?.fromMs ?? 0) <= atMs) low = middle;
    else high = middle;
  }
  return low;
};

/** How much of [fromMs, toMs] lies in the intervals. */
export const overlapMs = (intervals: readonly Interval[], fromMs: number, toMs: number): number => {
  let total = 0;
  for (let index = Math.max(0, indexAt(intervals, fromMs)); index < intervals.length; index += 1) {
    const interval = intervals[index];
    if (interval === undefined || interval.fromMs >= toMs) break;
    total += Math.max(0, Math.min(toMs, interval.toMs) - Math.max(fromMs, interval.fromMs));
  }
  return total;
};

/** Closed for ends, as an overdue timer fires exactly at the edge; half-open for sends: the first one sees again. */
const touchesBlind = (blind: readonly Interval[], sample: Sample): boolean => {
  const atSend = blind[indexAt(blind, sample.sentMs)];
  if (atSend !== undefined && sample.sentMs < atSend.toMs) return true;
  const atEnd = blind[indexAt(blind, sample.endedMs)];
  return atEnd !== undefined && sample.endedMs <= atEnd.toMs;
};

const isInSendOrder = (samples: readonly Sample[]): boolean => {
  for (let index = 1; index < samples.length; index += 1) {
    if ((samples[index]?.sentMs ?? 0) < (samples[index - 1]?.sentMs ?? 0)) return false;
  }
  return true;
};

/** Linear in the samples, but for a look-up in the blind stretches of each. */
export const evidenceOf = (stream: Stream, unordered: readonly Sample[], blindness: readonly Blind[]): Evidence => {
  const samples = isInSendOrder(unordered) ? unordered : unordered.toSorted((a, b) => a.sentMs - b.sentMs);
  const recorded = blindness.filter((one) => one.sender === stream.sender);
  const blind = mergeIntervals([...recorded, ...sendGaps(samples, stream.everyMs)]);
  const kinds = new Uint8Array(samples.length);
  for (let index = 0; index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined) continue;
    const touched = blind.length > 0 && touchesBlind(blind, sample);
    kinds[index] = touched ? unknown : kindOf[sample.outcome];
  }
  const blindMs = blind.reduce((total, one) => total + one.toMs - one.fromMs, 0);
  return { stream, samples, kinds, blind, blindMs };
};
