import { formatDuration } from '../core/duration.ts';
import type { Sample } from '../probes/sample.ts';
import { unknown, wasSent } from './evidence.ts';
import type { FaultWindow } from './fault-window.ts';
import { seenChecks } from './health-checks.ts';
import { type Context, type Figure, figure } from './measures/measure.ts';
import { faultEndMs, streamsOfProbe } from './measures/select.ts';
import type { Span } from './span.ts';

/**
 * From the instant a documented condition held to the alert about it. The condition is what this instrument saw itself,
 * never what the alerting says of it.
 */
export interface Condition {
  /** When it began to hold. */
  readonly began: Span;
  /** Until when it surely held. */
  readonly heldToMs: number;
  /** It surely did not hold before; else it was found in a sample of the traffic. */
  readonly isExact: boolean;
  readonly text: string;
  readonly figures?: readonly Figure[];
  readonly notes?: readonly string[];
}

/** It was never seen to hold, and why. */
export interface Absent {
  readonly absent: string;
}

/** One probe as the trailing window counts it. */
interface Hit {
  readonly sentMs: number;
  /** When it counts. */
  readonly atMs: number;
  readonly isHit: boolean;
}

/** Fewer say nothing of a share. */
const countLeast = 20;

interface Episode {
  readonly began: Span;
  readonly heldToMs: number;
}

/** Two stretches above a limit that are this share of the window apart, or less, are one that only just dipped. */
const dipShare = 0.1;

/**
 * When the share of hits within a trailing window rose above a limit, at or after `fromMs`, and until when it stayed
 * there: the first time that it did so for at least `leastMs`, else the longest. Pure. It cannot have risen before so
 * many hits were sent as it took.
 */
export const shareCrossing = (
  hits: readonly Hit[],
  windowMs: number,
  above: number,
  fromMs: number,
  leastMs: number,
): { readonly episode: Episode | undefined; readonly largest: number } => {
  const sorted = hits.toSorted((one, other) => one.atMs - other.atMs);
  const episodes: { began: Span; heldToMs: number }[] = [];
  let start = 0;
  let count = 0;
  let largest = 0;
  for (const [index, one] of sorted.entries()) {
    if (one.isHit) count += 1;
    while ((sorted[start]?.atMs ?? one.atMs) <= one.atMs - windowMs) {
      if (sorted[start]?.isHit === true) count -= 1;
      start += 1;
    }
    const total = index - start + 1;
    if (total < countLeast || one.atMs < fromMs) continue;
    largest = Math.max(largest, count / total);
    if (count / total <= above) continue;
    const last = episodes.at(-1);
    if (last !== undefined && one.atMs - last.heldToMs <= windowMs * dipShare) last.heldToMs = one.atMs;
    else {
      const began = { minMs: sentBefore(sorted, one.atMs - windowMs, count), maxMs: one.atMs };
      episodes.push({ began, heldToMs: one.atMs });
    }
  }
  const lengthOf = ({ began, heldToMs }: Episode): number => heldToMs - began.maxMs;
  const longest = episodes.toSorted((one, other) => lengthOf(other) - lengthOf(one))[0];
  return { episode: episodes.find((one) => lengthOf(one) >= leastMs) ?? longest, largest };
};

/** When the `count`-th of the hits that count after an instant was sent. */
const sentBefore = (hits: readonly Hit[], afterMs: number, count: number): number => {
  const sent = hits.filter(({ isHit, atMs }) => isHit && atMs > afterMs).map(({ sentMs }) => sentMs);
  return sent.toSorted((one, other) => one - other)[count - 1] ?? afterMs;
};

/** Samples that are evidence and count towards a window that ends after `fromMs`. */
const sentSamples = (context: Context, probe: string, fromMs: number): readonly Sample[] =>
  streamsOfProbe(context, probe).flatMap(({ evidence: { samples, kinds } }) =>
    samples.filter((sample, index) => sample.endedMs > fromMs && wasSent(sample) && kinds[index] !== unknown),
  );

const percent = (share: number): string => `${Number((share * 100).toPrecision(3))} %`;

export const errorCondition = (
  context: Context,
  fault: FaultWindow,
  probe: string,
  share: number,
  windowMs: number,
  withinMs: number,
): Condition | Absent => {
  const { timeScale } = context.record.run;
  const realMs = windowMs / timeScale;
  const hits = sentSamples(context, probe, fault.effective.minMs - realMs).map(({ sentMs, endedMs, outcome }): Hit => {
    return { sentMs, atMs: endedMs, isHit: outcome === 'bad' };
  });
  if (hits.length === 0) return { absent: `no ${probe} stream was probed` };
  const { episode, largest } = shareCrossing(hits, realMs, share, fault.effective.minMs, withinMs / timeScale);
  const figures = [figure('largest share of errors in the window', largest, 'share')];
  if (episode === undefined) {
    return { absent: `at most ${percent(largest)} of ${probe} probes failed in ${formatDuration(windowMs)}` };
  }
  const text = `more than ${percent(share)} of ${probe} probes of ${formatDuration(windowMs)} failed`;
  const notes = ['errors are those that clients saw; a request that no gateway heard of is no error to the alerting'];
  return { ...episode, isExact: false, text, figures, notes };
};

/** Share beyond the p95. */
const lateShare = 0.05;

export const latencyCondition = (
  context: Context,
  fault: FaultWindow,
  probe: string,
  limitMs: number,
  windowMs: number,
  withinMs: number,
): Condition | Absent => {
  const { timeScale } = context.record.run;
  const realMs = windowMs / timeScale;
  const hits = sentSamples(context, probe, fault.effective.minMs - realMs).flatMap(
    ({ sentMs, firstByteMs }): readonly Hit[] =>
      firstByteMs === undefined ? [] : [{ sentMs, atMs: firstByteMs, isHit: firstByteMs - sentMs > limitMs }],
  );
  if (hits.length === 0) return { absent: `no ${probe} stream had a first token` };
  const { episode, largest } = shareCrossing(hits, realMs, lateShare, fault.effective.minMs, withinMs / timeScale);
  const limit = formatDuration(limitMs);
  if (episode === undefined) {
    return {
      absent:
        `at most ${percent(largest)} of first tokens took longer than ${limit}, which is real time; ` +
        'where time-outs are scaled below it, a lower --time-scale lets slower ones through',
    };
  }
  const text = `the p95 of the time to first token was above ${limit}`;
  const figures = [figure(`share above ${limit}`, largest, 'share')];
  return { ...episode, isExact: false, text, figures };
};

/**
 * The failed check after the one that turned the last checker of a broken region: the first by which there were more
 * failures than it takes to remove it. Reports carry a verdict, so the turning check is the one that removed.
 */
export const failuresCondition = (context: Context, fault: FaultWindow, failures: number): Condition | Absent => {
  const { record } = context;
  const { checkers } = seenChecks(record.observations);
  const turned = record.observations.find(
    ({ name, subject, maxMs }) =>
      name === 'health.failed' && fault.regions.has(subject) && maxMs >= fault.effective.minMs,
  );
  if (turned === undefined) return { absent: 'the health checks did not call a region of the fault failed' };
  const lost = checkers.filter(({ region }) => region === turned.subject);
  const nexts = lost.map(({ checks }) => {
    const after = checks.filter(({ atMs }) => atMs > fault.effective.minMs);
    const turn = after.findIndex(({ healthy }) => !healthy);
    const next = turn < 0 ? undefined : after[turn + 1];
    const end = after.slice(Math.max(0, turn)).find(({ healthy }) => healthy);
    return next === undefined || next.healthy ? undefined : { atMs: next.atMs, endMs: end?.atMs };
  });
  if (nexts.length === 0 || nexts.includes(undefined)) {
    return {
      absent: `no health check failed after the one that removed ${turned.subject}: never more than ${failures}`,
    };
  }
  const found = nexts.flatMap((next) => next ?? []);
  const atMs = Math.max(...found.map((next) => next.atMs));
  const endMs = Math.min(...found.map((next) => next.endMs ?? faultEndMs(context, fault)));
  return {
    // The checker names the instant on its own clock; that it did so was seen within one look.
    began: { minMs: Math.max(fault.effective.minMs, atMs - seenWithinMs), maxMs: atMs + seenWithinMs },
    heldToMs: Math.max(atMs, endMs),
    isExact: true,
    text: `health checks of ${turned.subject} failed more than ${failures} times`,
    notes: [
      `${failures} failures remove the region and more than ${failures} raise the alert: ` +
        'it comes one check after the removal it announces',
    ],
    figures: [figure('removed from DNS until the condition of the alert', atMs - turned.maxMs, 'ms')],
  };
};

/** By how much a checker's clock and ours may differ on one machine, and a report's rounding. */
const seenWithinMs = 5;

/** Fewer do not show that the primary went on to take writes. */
const writesLeast = 5;

/** Faults that part a primary from its replicas while it goes on to take writes. */
const parting: ReadonlySet<string> = new Set(['region.partition', 'replication.pause']);

/**
 * Lag by arithmetic: parted from a primary that is written to, a replica falls behind by the time that passes, on top
 * of how far behind it was.
 */
export const lagCondition = (
  context: Context,
  fault: FaultWindow,
  probe: string,
  limitMs: number,
  lagBeforeMs: number,
): Condition | Absent => {
  const { timeScale } = context.record.run;
  if (!fault.faults.some((name) => parting.has(name))) {
    return { absent: 'the fault did not part replicas from a primary that takes writes' };
  }
  const endMs = faultEndMs(context, fault);
  const writes = sentSamples(context, probe, fault.effective.maxMs).filter(
    ({ outcome, sentMs, endedMs }) => outcome === 'good' && sentMs > fault.effective.maxMs && endedMs < endMs,
  );
  const lastWriteMs = Math.max(...writes.map(({ endedMs }) => endedMs));
  if (writes.length < writesLeast) return { absent: `${writes.length} ${probe} writes went on in the fault: too few` };
  const began = {
    minMs: fault.effective.minMs + Math.max(0, limitMs - lagBeforeMs) / timeScale,
    maxMs: fault.effective.maxMs + limitMs / timeScale,
  };
  const limit = formatDuration(limitMs);
  if (began.maxMs >= endMs || lastWriteMs < began.minMs) {
    return { absent: `the fault did not last long enough for a lag of ${limit}` };
  }
  return {
    began,
    heldToMs: endMs,
    isExact: true,
    text: `replicas lagged more than ${limit}`,
    notes: [
      `lag is counted from the fault: a replica was up to ${formatDuration(lagBeforeMs)} behind when it began`,
      'heartbeats come every 5 s of documented time or less often, and a lag is known that much later',
    ],
  };
};
