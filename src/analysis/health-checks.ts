import type { Observation } from '../core/observation.ts';
import type { FaultWindow } from './fault-window.ts';
import type { Span } from './span.ts';

/** One check as its checker reported it: when, and what it thought of the endpoint from then on. */
export interface HealthCheck {
  readonly atMs: number;
  readonly healthy: boolean;
}

/** The checks that one checker made of one region, in order. */
export interface Checker {
  readonly region: string;
  readonly checker: string;
  readonly checks: readonly HealthCheck[];
}

export interface SeenChecks {
  readonly checkers: readonly Checker[];
  /** How the checks say they are set up, such as `every 10 s, 3 failures`. */
  readonly configured: readonly string[];
  /** Mean time between two looks at what the checkers report. */
  readonly looksEveryMs: number;
}

const checksIn = (text: string): readonly HealthCheck[] =>
  text.split(' ').flatMap((one) => {
    const atMs = Number.parseFloat(one);
    return Number.isFinite(atMs) ? [{ atMs, healthy: one.endsWith('+') }] : [];
  });

/** What the observations `health.checked` say. */
export const seenChecks = (observations: readonly Observation[]): SeenChecks => {
  const found = new Map<string, { region: string; checker: string; checks: HealthCheck[] }>();
  const configured = new Set<string>();
  const gaps: number[] = [];
  for (const { name, subject: region, data } of observations) {
    if (name !== 'health.checked') continue;
    for (const [key, value] of Object.entries(data)) {
      if (key === 'configured') configured.add(String(value));
      else if (key === 'looksEveryMs') gaps.push(...(Number(value) > 0 ? [Number(value)] : []));
      else {
        const one = found.get(`${region} ${key}`) ?? { region, checker: key, checks: [] };
        one.checks.push(...checksIn(String(value)));
        found.set(`${region} ${key}`, one);
      }
    }
  }
  const looksEveryMs = gaps.length === 0 ? 0 : gaps.reduce((total, gap) => total + gap, 0) / gaps.length;
  return { checkers: [...found.values()], configured: [...configured].toSorted(), looksEveryMs };
};

/** A value and the bounds between which it lies with 95 % confidence. */
export interface Median {
  readonly estimate: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

const countLeast = 6;

/** Distribution-free: the bounds are order statistics, 0.98 √n ranks either side of the middle. */
export const medianOf = (values: readonly number[]): Median | undefined => {
  if (values.length < countLeast) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  const at = (rank: number): number => sorted[Math.min(sorted.length - 1, Math.max(0, rank))] ?? 0;
  const reach = 0.98 * Math.sqrt(sorted.length);
  const middle = (sorted.length - 1) / 2;
  return {
    estimate: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    min: at(Math.floor(middle - reach)),
    max: at(Math.ceil(middle + reach)),
    count: sorted.length,
  };
};

/** A gap of more than this many of the shortest holds a check that no look saw. */
const skipsFrom = 1.5;

/** Times from one check to the next, both of them fine: a failing check costs its time-out besides. */
const healthyGaps = ({ checks }: Checker): readonly number[] =>
  checks.flatMap((check, index) => {
    const before = checks[index - 1];
    return before?.healthy === true && check.healthy ? [check.atMs - before.atMs] : [];
  });

export interface Period {
  readonly median: Median;
  /** Gaps that held a check nobody saw; left out. */
  readonly skipped: number;
  /** Looks were so rare that checks may have gone unseen regularly. */
  readonly isAliased: boolean;
}

/** Looks must come faster than this share of the gaps they show; slower ones could see every second check only. */
const looksShareMax = 0.8;

/** How often one checker looks, over all checkers. `undefined` when too few checks were seen. */
export const periodOf = ({ checkers, looksEveryMs }: SeenChecks): Period | undefined => {
  const gaps = checkers.flatMap(healthyGaps);
  const leastMs = Math.min(...gaps);
  const single = gaps.filter((gap) => gap < skipsFrom * leastMs);
  const median = medianOf(single);
  if (median === undefined) return undefined;
  return { median, skipped: gaps.length - single.length, isAliased: looksEveryMs > looksShareMax * leastMs };
};

/** A count nobody could see exactly. */
export interface Count {
  readonly min: number;
  readonly max: number;
}

/**
 * Failed checks in a row at which a checker called the endpoint unhealthy: those after the fault took effect, up to the
 * first with the new verdict. `undefined` when it never did, or when a check may have gone unseen among them.
 */
const failuresAtTurn = ({ checks }: Checker, effective: Span): Count | undefined => {
  const after = checks.filter(({ atMs }) => atMs > effective.minMs);
  const turn = after.findIndex(({ healthy }) => !healthy);
  if (turn < 0) return undefined;
  const failed = after.slice(0, turn + 1);
  const gaps = failed.slice(1).map((check, index) => check.atMs - (failed[index]?.atMs ?? 0));
  // The first of them may be the last good one, answered while the fault took effect: its gap is shorter, never longer.
  if (gaps.some((gap, index) => index > 0 && gap > skipsFrom * Math.min(...gaps.slice(1)))) return undefined;
  return { min: failed.filter(({ atMs }) => atMs > effective.maxMs).length, max: failed.length };
};

/** Route 53 calls an endpoint healthy while more than this share of its checkers does. */
const healthyShare = 0.18;

export interface Removal {
  readonly failures: Count;
  /** Failures in a row after which the checkers still called the region healthy. */
  readonly tolerated: number;
  readonly checkers: number;
}

/**
 * How many failures removed a region that the fault took away. Only checkers whose reports carry a verdict tell: where
 * the first failed check already reads as a failure, the report is that of the check, and the count is not known.
 */
export const removalOf = ({ checkers }: SeenChecks, fault: FaultWindow): Removal | undefined => {
  const lost = checkers.filter(({ region }) => fault.regions.has(region));
  const counts = lost.flatMap((checker) => failuresAtTurn(checker, fault.effective) ?? []);
  if (counts.length === 0 || counts.length < lost.length || counts.some(({ max }) => max < 2)) return undefined;
  const ranked = counts.toSorted((a, b) => a.min - b.min || a.max - b.max);
  // The region stays until all but that share have turned: the slowest that it needed is the one that counts.
  const failures = ranked[Math.floor(healthyShare * ranked.length)];
  return failures === undefined ? undefined : { failures, tolerated: failures.min - 1, checkers: counts.length };
};
