import { bad, type Evidence, good, overlapMs, slow, unknown, wasSent } from './evidence.ts';
import type { Bracket } from './record.ts';
import { bracketOf, type Span } from './span.ts';
import { createTracker, openingRule, type RawEpisode, type RawOutage } from './tracker.ts';
import type { Window } from './window.ts';

/**
 * How it failed: `crash` answers at once with a refusal or reset, `hang` does not answer in time, `freeze` answers late
 * what was sent shortly before the thaw, `error` answers with an error, `slow` answers over the limit.
 */
export type OutageKind = 'crash' | 'hang' | 'freeze' | 'error' | 'slow' | 'mixed';

/** Two lengths, never mixed: what clients experienced, and how long the service was physically unable. Real time. */
export interface Lengths {
  readonly client: Bracket;
  readonly interruption: Bracket;
}

export interface Episode extends Lengths {
  readonly kind: OutageKind;
  /** When it went down: between the send of the last good probe and of the first not good one. */
  readonly down: Span;
  /** When it came up: between the send of the last not good probe and of the first good one. */
  readonly up: Span;
}

export interface Outage extends Episode {
  readonly stream: string;
  readonly location: string;
  /** Recoveries that did not last. */
  readonly flaps: number;
  /** The recovery was sustained over the confirmation window. Otherwise the upper ends are infinite. */
  readonly confirmed: boolean;
  /** First recovery, whether it lasted or not. */
  readonly firstUp: Span;
  /** Sum of the episodes; at most the client length. */
  readonly downtimeMs: number;
  readonly episodes: readonly Episode[];
  readonly notGood: number;
  /** First instant at which a probe of it was known not to be good: the fault bites no later. */
  readonly knownMs: number;
}

export interface Blip {
  readonly atMs: number;
  readonly probes: number;
  readonly code: string;
}

/** Up means good in time (`strict`, what targets are judged by) or merely served (`reachable`). */
export type UpRule = 'strict' | 'reachable';

const isUp = (kind: number, rule: UpRule): boolean => kind === good || (rule === 'reachable' && kind === slow);

const sentAt = ({ samples }: Evidence, position: number | null): number | undefined =>
  position === null ? undefined : samples[position]?.sentMs;

interface Range {
  readonly before: number | null;
  readonly first: number;
  readonly last: number;
  readonly after: number | null;
}

/** Earliest known end among evidence probes from `first` to `last` that are not up. */
const earliestFailure = ({ samples, kinds }: Evidence, { first, last }: Range, rule: UpRule): number => {
  let earliest = Number.POSITIVE_INFINITY;
  for (let index = first; index <= last; index += 1) {
    const sample = samples[index];
    if (sample === undefined || kinds[index] === unknown || isUp(kinds[index] ?? unknown, rule)) continue;
    earliest = Math.min(earliest, sample.endedMs);
  }
  return earliest;
};

/** Earliest end among probes up that were sent after `last`: the interruption was over by then. */
const earliestSuccess = ({ samples, kinds }: Evidence, { last, after }: Range, rule: UpRule): number => {
  if (after === null) return Number.POSITIVE_INFINITY;
  let earliest = Number.POSITIVE_INFINITY;
  for (let index = last + 1; index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined || sample.sentMs > earliest) break;
    if (isUp(kinds[index] ?? unknown, rule)) earliest = Math.min(earliest, sample.endedMs);
  }
  return earliest;
};

/** G: longest interval between successful completions from the send of the last good to the end of the first good. */
const longestSuccessGap = (evidence: Evidence, range: Range, rule: UpRule): number | undefined => {
  const { samples, kinds, stream } = evidence;
  const fromMs = sentAt(evidence, range.before);
  const toMs = range.after === null ? undefined : samples[range.after]?.endedMs;
  if (fromMs === undefined || toMs === undefined || range.before === null) return undefined;
  const ends: number[] = [];
  let start = range.before;
  while (start > 0 && (samples[start - 1]?.sentMs ?? 0) >= fromMs - stream.timeoutMs) start -= 1;
  for (let index = start; index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined || sample.sentMs > toMs) break;
    if (isUp(kinds[index] ?? unknown, rule) && sample.endedMs >= fromMs && sample.endedMs <= toMs) {
      ends.push(sample.endedMs);
    }
  }
  ends.sort((a, b) => a - b);
  let longest = 0;
  for (let index = 1; index < ends.length; index += 1) {
    longest = Math.max(longest, (ends[index] ?? 0) - (ends[index - 1] ?? 0));
  }
  return longest;
};

/**
 * The two brackets of one stretch, by `docs/measurement.md`: the client's is exact by definition, the interruption's
 * holds because an operation proves something only somewhere between its send and its end.
 */
const lengthsOf = (evidence: Evidence, range: Range, rule: UpRule, hasFlaps: boolean): Lengths => {
  const beforeMs = sentAt(evidence, range.before);
  const firstMs = sentAt(evidence, range.first) ?? 0;
  const lastMs = sentAt(evidence, range.last) ?? firstMs;
  const afterMs = sentAt(evidence, range.after);
  const ended = beforeMs !== undefined && afterMs !== undefined;
  const clientMaxMs = ended ? afterMs - beforeMs : Number.POSITIVE_INFINITY;
  const gapsMs = ended ? firstMs - beforeMs + (afterMs - lastMs) : 0;
  const clientMs = ended ? afterMs - firstMs - (afterMs - lastMs - (firstMs - beforeMs)) / 2 : lastMs - firstMs;
  const minMs = Math.max(0, lastMs - earliestFailure(evidence, range, rule));
  const maxMs = beforeMs === undefined ? Number.POSITIVE_INFINITY : earliestSuccess(evidence, range, rule) - beforeMs;
  const gapMs = hasFlaps ? undefined : longestSuccessGap(evidence, range, rule);
  const plainMs = (afterMs ?? lastMs) - firstMs;
  const interruptionMs = gapMs === undefined ? plainMs : gapMs - gapsMs / 2;
  return {
    client: bracketOf(hasFlaps ? plainMs : clientMs, lastMs - firstMs, clientMaxMs),
    interruption: bracketOf(interruptionMs, minMs, Math.max(minMs, maxMs)),
  };
};

const crashCodes = /^(refused|reset|closed|unreachable|ECONN|EPIPE|EHOST|ENET|57P0|08)/;

const kindOfFailures = (evidence: Evidence, range: Range, rule: UpRule): OutageKind => {
  const { samples, kinds, stream } = evidence;
  const counts = { crash: 0, hang: 0, error: 0, slow: 0 };
  let total = 0;
  for (let index = range.first; index <= range.last; index += 1) {
    const sample = samples[index];
    const kind = kinds[index] ?? unknown;
    if (sample === undefined || kind === unknown || isUp(kind, rule)) continue;
    total += 1;
    if (kind === slow) counts.slow += 1;
    else if (sample.code.endsWith('timeout') || sample.endedMs - sample.sentMs >= 0.9 * stream.timeoutMs)
      counts.hang += 1;
    else if (crashCodes.test(sample.code)) counts.crash += 1;
    else counts.error += 1;
  }
  const [name, count] = Object.entries(counts).reduce((most, one) => (one[1] > most[1] ? one : most));
  return count * 2 > total ? (name as keyof typeof counts) : 'mixed';
};

/** A freeze shows in its lengths: what was sent shortly before the thaw was answered late, but in time. */
const kindOfOutage = (
  evidence: Evidence,
  range: Range,
  rule: UpRule,
  { client, interruption }: Lengths,
  latencyMs: number,
): OutageKind => {
  const kind = kindOfFailures(evidence, range, rule);
  const excessMs = interruption.estimateMs - client.estimateMs;
  const frozen = Number.isFinite(client.maxMs) && excessMs > 2 * evidence.stream.everyMs + latencyMs;
  return frozen && kind !== 'crash' && kind !== 'error' ? 'freeze' : kind;
};

const spansOf = (evidence: Evidence, range: Range): { readonly down: Span; readonly up: Span } => {
  const firstMs = sentAt(evidence, range.first) ?? 0;
  return {
    down: { minMs: sentAt(evidence, range.before) ?? Number.NEGATIVE_INFINITY, maxMs: firstMs },
    up: {
      minMs: sentAt(evidence, range.last) ?? firstMs,
      maxMs: sentAt(evidence, range.after) ?? Number.POSITIVE_INFINITY,
    },
  };
};

const episodeOf = (evidence: Evidence, raw: RawEpisode, rule: UpRule, latencyMs: number): Episode => {
  const range = { before: raw.before, first: raw.first, last: raw.last, after: raw.recovered };
  const lengths = lengthsOf(evidence, range, rule, false);
  return { ...lengths, ...spansOf(evidence, range), kind: kindOfOutage(evidence, range, rule, lengths, latencyMs) };
};

const countNotUp = ({ kinds }: Evidence, { first, last }: Range, rule: UpRule): number => {
  let count = 0;
  for (let index = first; index <= last; index += 1) {
    const kind = kinds[index] ?? unknown;
    if (kind !== unknown && !isUp(kind, rule)) count += 1;
  }
  return count;
};

const unended = (bracket: Bracket): Bracket => ({ ...bracket, maxMs: Number.POSITIVE_INFINITY });

const outageOf = (evidence: Evidence, raw: RawOutage, rule: UpRule, latencyMs: number): Outage | undefined => {
  const first = raw.episodes[0];
  const last = raw.episodes.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const range = { before: first.before, first: first.first, last: last.last, after: raw.candidate };
  const episodes = raw.episodes.map((episode) => episodeOf(evidence, episode, rule, latencyMs));
  const whole = lengthsOf(evidence, range, rule, episodes.length > 1);
  // Strays after the recovery move its confirmation, never the physical interruption: that is the episode's own.
  const [only] = episodes.length === 1 ? episodes : [];
  const lengths = { client: whole.client, interruption: only?.interruption ?? whole.interruption };
  const spans = spansOf(evidence, range);
  const firstMs = spans.down.maxMs;
  const endMs = evidence.samples.findLast(wasSent)?.sentMs ?? firstMs;
  const downtimeMs = raw.episodes.reduce(
    (total, one) => total + (sentAt(evidence, one.recovered) ?? endMs) - (sentAt(evidence, one.first) ?? endMs),
    0,
  );
  return {
    stream: evidence.stream.stream,
    location: evidence.stream.location,
    kind:
      episodes.length > 1
        ? kindOfFailures(evidence, range, rule)
        : kindOfOutage(evidence, range, rule, lengths, latencyMs),
    flaps: episodes.length - 1,
    confirmed: raw.confirmed,
    client: raw.confirmed ? lengths.client : unended(lengths.client),
    interruption: raw.confirmed ? lengths.interruption : unended(lengths.interruption),
    down: spans.down,
    up: raw.confirmed ? spans.up : { minMs: spans.up.minMs, maxMs: Number.POSITIVE_INFINITY },
    firstUp: episodes[0]?.up ?? spans.up,
    downtimeMs,
    episodes,
    notGood: countNotUp(evidence, range, rule),
    knownMs: earliestFailure(evidence, range, rule),
  };
};

/** Positions of the first and last probe of each outage, for what lies between and outside them. */
export interface OutageRange {
  readonly first: number;
  readonly last: number;
}

export interface Outages {
  readonly outages: readonly Outage[];
  readonly ranges: readonly OutageRange[];
}

/** Every outage of a stream, from evidence alone. `latencyMs` is one normal latency ℓ. Linear in the samples. */
export const outagesOf = (evidence: Evidence, window: Window, rule: UpRule, latencyMs: number): Outages => {
  const tracker = createTracker(window);
  const { kinds } = evidence;
  for (let index = 0; index < kinds.length; index += 1) {
    const kind = kinds[index] ?? unknown;
    if (kind !== unknown) tracker.push(index, isUp(kind, rule), kind === bad);
  }
  const outages: Outage[] = [];
  const ranges: OutageRange[] = [];
  for (const raw of tracker.outages()) {
    const outage = outageOf(evidence, raw, rule, latencyMs);
    if (outage === undefined) continue;
    outages.push(outage);
    ranges.push({ first: raw.episodes[0]?.first ?? 0, last: raw.episodes.at(-1)?.last ?? 0 });
  }
  return { outages, ranges };
};

/** Runs of probes that are not good and too short to be an outage. */
export const blipsOf = (evidence: Evidence, ranges: readonly OutageRange[]): readonly Blip[] => {
  const { samples, kinds } = evidence;
  const blips: { atMs: number; probes: number; code: string }[] = [];
  let run: { atMs: number; probes: number; code: string } | undefined;
  let next = 0;
  for (let index = 0; index < samples.length; index += 1) {
    const sample = samples[index];
    const kind = kinds[index] ?? unknown;
    if (sample === undefined || kind === unknown) continue;
    while ((ranges[next]?.last ?? Number.POSITIVE_INFINITY) < index) next += 1;
    const inside = index >= (ranges[next]?.first ?? Number.POSITIVE_INFINITY);
    if (kind === good || inside) {
      run = undefined;
      continue;
    }
    if (run === undefined) {
      run = { atMs: sample.sentMs, probes: 0, code: sample.code };
      blips.push(run);
    }
    run.probes += 1;
  }
  return blips;
};

/**
 * Brownout integral: seconds of full outage that the probes which are not good are worth. Sum of the gap to the next
 * send, less blind time in it, from `fromMs` until `toMs`.
 */
export const notGoodMs = (
  evidence: Evidence,
  fromMs = Number.NEGATIVE_INFINITY,
  toMs = Number.POSITIVE_INFINITY,
): number => {
  const { samples, kinds, stream, blind } = evidence;
  let total = 0;
  let nextMs: number | undefined;
  for (let index = samples.length - 1; index >= 0; index -= 1) {
    const sample = samples[index];
    if (sample === undefined || !wasSent(sample)) continue;
    const untilMs = nextMs ?? sample.sentMs + stream.everyMs;
    nextMs = sample.sentMs;
    const kind = kinds[index] ?? unknown;
    if (kind === unknown || kind === good || sample.sentMs < fromMs || sample.sentMs > toMs) continue;
    total += untilMs - sample.sentMs - overlapMs(blind, sample.sentMs, untilMs);
  }
  return total;
};

/** A stretch between two good probes, with unknown probes or blind time in it, in which an outage may hide. */
export interface Hidden {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The longest such stretches, outside the outages that were seen. An outage of up to its length may hide in each. */
export const hidingPlaces = (evidence: Evidence, ranges: readonly OutageRange[]): readonly Hidden[] => {
  const { samples, kinds, blind } = evidence;
  const places: Hidden[] = [];
  let before: { readonly index: number; readonly sentMs: number } | undefined;
  let unseen = false;
  let next = 0;
  for (let index = 0; index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined) continue;
    if (kinds[index] === unknown) unseen = true;
    if (kinds[index] !== good) continue;
    while ((ranges[next]?.last ?? Number.POSITIVE_INFINITY) < (before?.index ?? index)) next += 1;
    const hasOutage = (ranges[next]?.first ?? Number.POSITIVE_INFINITY) < index;
    if (before !== undefined && !hasOutage && (unseen || overlapMs(blind, before.sentMs, sample.sentMs) > 0)) {
      places.push({ fromMs: before.sentMs, toMs: sample.endedMs });
    }
    before = { index, sentMs: sample.sentMs };
    unseen = false;
  }
  return places;
};

/** The shortest outage that this stream surely opens: three spacings, and for a freeze the latency limit too. */
export const detectionFloorMs = ({ stream }: Evidence): { readonly outageMs: number; readonly freezeMs: number } => ({
  outageMs: openingRule.opens * stream.everyMs,
  freezeMs: stream.slowAfterMs + openingRule.opens * stream.everyMs,
});
