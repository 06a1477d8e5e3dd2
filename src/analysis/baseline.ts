import type { Stream } from '../probes/sample.ts';
import { lowerShare, upperShare } from './binomial.ts';
import { createTracker } from './tracker.ts';
import { confirms, type Limits, probesNeeded, singleLook, type Window, windowFor } from './window.ts';

/** What a stream showed before anything was injected, since it was last down. */
export interface BaselineCounts {
  readonly stream: Stream;
  /** Evidence probes. */
  readonly probes: number;
  readonly bad: number;
  readonly late: number;
  /** An outage is open. */
  readonly down: boolean;
}

/** Window by which an outage of the baseline itself is closed. */
const closingWindow: Window = singleLook({ probes: 40, toleratedBad: 2, toleratedLate: 2 });

/** Counts the evidence of one stream. An outage begins the baseline anew: what must hold is the state before t0. */
export const createBaselineCounter = () => {
  const tracker = createTracker(closingWindow);
  let pushed = 0;
  let counts = { probes: 0, bad: 0, late: 0, down: false };
  return {
    push(outcome: 'good' | 'slow' | 'bad'): void {
      tracker.push(pushed, outcome === 'good', outcome === 'bad');
      pushed += 1;
      if (tracker.isDown()) {
        counts = { probes: 0, bad: 0, late: 0, down: true };
        return;
      }
      counts.down = false;
      counts.probes += 1;
      if (outcome === 'bad') counts.bad += 1;
      if (outcome === 'slow') counts.late += 1;
    },
    counts: (): Readonly<typeof counts> => counts,
  };
};

/** Fewest probes by which a stream may be called surely too bad; before, a few strays would decide. */
const failingLeast = 628;

export interface BaselineRow extends BaselineCounts {
  readonly window: Window | undefined;
  /** Why the stream's baseline cannot hold any more. */
  readonly failed: string | undefined;
  /** What it lacks yet. */
  readonly missing: string | undefined;
}

/** Streams of one journey and connection class are one population: their rates are pooled, each holds for itself. */
const journeyOf = (stream: Stream): string => `${stream.probe} ${stream.name} ${stream.connection}`;

const percent = (share: number): string => `${Number((share * 100).toPrecision(3))} %`;

/** One stray among the first few probes says nothing yet; as many as open an outage do. */
const straysMax = 2;

const failureOf = (row: BaselineCounts, limits: Limits): string | undefined => {
  const { probes, bad, late } = row;
  if (probes < failingLeast) return undefined;
  if (bad > straysMax && lowerShare(bad, probes) >= limits.errorsMax) {
    return `${bad} of ${probes} probes were bad: surely more than ${percent(limits.errorsMax)}`;
  }
  if (late > straysMax && lowerShare(late, probes) >= limits.lateMax) {
    return `${late} of ${probes} probes were over the latency limit: surely more than ${percent(limits.lateMax)}`;
  }
  return undefined;
};

const missingOf = (row: BaselineCounts, window: Window | undefined): string | undefined => {
  if (row.down) return 'it is down';
  if (window === undefined) return `${row.probes} probes so far prove too little to fix a confirmation window`;
  if (confirms(window, row)) return undefined;
  const needed = probesNeeded(window, row);
  return needed === undefined
    ? `${row.bad} bad and ${row.late} late of ${row.probes} probes do not prove a steady service`
    : `${row.probes} of the ${needed} probes of its window`;
};

/**
 * What an earlier run of the same series showed of a stream just before. It makes the rates better known, and so the
 * window shorter; that the steady state holds now each run shows for itself.
 */
export interface CarriedBaseline {
  readonly stream: string;
  readonly probes: number;
  readonly bad: number;
  readonly late: number;
}

/**
 * The baseline gate. Each stream's window has power for the upper bound of its journey's pooled rates. `discount`
 * counts only that share of the pooled probes, so that a look while the run goes on never finds a shorter window than
 * the analysis afterwards, which sets blind probes aside.
 */
export const judgeBaseline = (
  counts: readonly BaselineCounts[],
  limits: Limits,
  discount = 1,
  carried: readonly CarriedBaseline[] = [],
): readonly BaselineRow[] => {
  const pooled = new Map<string, { probes: number; bad: number; late: number }>();
  const pool = (stream: Stream, row: Omit<CarriedBaseline, 'stream'>): void => {
    const sums = pooled.get(journeyOf(stream)) ?? { probes: 0, bad: 0, late: 0 };
    sums.probes += row.probes;
    sums.bad += row.bad;
    sums.late += row.late;
    pooled.set(journeyOf(stream), sums);
  };
  for (const row of counts) {
    pool(row.stream, row);
    for (const before of carried) if (before.stream === row.stream.stream) pool(row.stream, before);
  }
  const windows = new Map(
    [...pooled].map(([key, sums]) => {
      const probes = Math.floor(sums.probes * discount);
      const rates = { bad: upperShare(sums.bad, probes), late: upperShare(sums.late, probes) };
      return [key, probes === 0 ? undefined : windowFor(rates, limits)] as const;
    }),
  );
  return counts.map((row) => {
    const window = windows.get(journeyOf(row.stream));
    return { ...row, window, failed: failureOf(row, limits), missing: missingOf(row, window) };
  });
};

/** Real milliseconds that a baseline without a single stray takes at least. */
export const baselineNeedsMs = (
  streams: readonly Stream[],
  limits: Limits,
  discount = 1,
  carried: readonly CarriedBaseline[] = [],
): number => {
  const holds = (forMs: number): boolean => {
    const counts = streams.map((stream) => ({
      stream,
      probes: Math.floor(forMs / stream.everyMs),
      bad: 0,
      late: 0,
      down: false,
    }));
    return judgeBaseline(counts, limits, discount, carried).every((row) => row.missing === undefined);
  };
  if (streams.length === 0) return 0;
  const stepMs = Math.min(...streams.map((stream) => stream.everyMs)) * 20;
  let highMs = stepMs;
  while (!holds(highMs) && highMs < 24 * 3_600_000) highMs *= 2;
  let lowMs = highMs / 2;
  while (highMs - lowMs > stepMs) {
    const middleMs = (lowMs + highMs) / 2;
    if (holds(middleMs)) highMs = middleMs;
    else lowMs = middleMs;
  }
  return highMs;
};
