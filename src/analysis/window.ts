import { binomialAtMost, confidence, probesProving, toleratedCount } from './binomial.ts';

/*
 * The confirmation window: how many evidence probes prove that a service is steady. It is a group sequential test: it
 * looks once for each number of bad probes, so that a service without a stray is confirmed early and one with strays a
 * little later, and all looks together let a service at its limit pass with at most 5 %. Every look uses one nominal
 * level (Pocock, "Group sequential methods in the design and analysis of clinical trials", Biometrika 64, 1977), found
 * by exact enumeration. All looks are fixed before the run.
 */

/** Confirmed when at least `probes` were sent since the candidate, with at most these bad and late ones among them. */
export interface Look {
  readonly probes: number;
  readonly toleratedBad: number;
  readonly toleratedLate: number;
}

/** Looks in ascending order; a window with more than the last one tolerates has failed. */
export interface Window {
  readonly looks: readonly [Look, ...Look[]];
}

export interface WindowCounts {
  readonly probes: number;
  readonly bad: number;
  readonly late: number;
}

const tolerates = ({ toleratedBad, toleratedLate }: Look, { bad, late }: Omit<WindowCounts, 'probes'>): boolean =>
  bad <= toleratedBad && late <= toleratedLate;

/** Counts only grow, so a look that is met now was met, or is just met, at its own number of probes. */
export const confirms = ({ looks }: Window, counts: WindowCounts): boolean =>
  counts.probes >= looks[0].probes && looks.some((look) => counts.probes >= look.probes && tolerates(look, counts));

/** Evidence probes at which a window with these strays is confirmed if no more come; `undefined` when it has failed. */
export const probesNeeded = ({ looks }: Window, counts: Omit<WindowCounts, 'probes'>): number | undefined =>
  looks.find((look) => tolerates(look, counts))?.probes;

export const hasFailed = (window: Window, counts: Omit<WindowCounts, 'probes'>): boolean =>
  !tolerates(window.looks.at(-1) ?? window.looks[0], counts);

/** A window of one look. */
export const singleLook = (look: Look): Window => ({ looks: [look] });

export interface Rates {
  /** Share of bad answers, and of good ones over their latency limit. */
  readonly bad: number;
  readonly late: number;
}

export interface Limits {
  /** e_SLO: the largest share of errors a recovered service may have. */
  readonly errorsMax: number;
  /** The largest share of answers over the latency limit. */
  readonly lateMax: number;
}

export const defaultLimits: Limits = { errorsMax: 0.01, lateMax: 0.05 };

const falseConfirmationMax = 1 - confidence;
const power = 0.95;
const rateLeast = 0.001;
/** Looks double in number rather than grow by one: the search stays short, and the gain of one more is small. */
const lookCounts = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65] as const;

/** Probability that a service with this share of bad probes passes one of the looks at 0, 1, 2… bad ones. */
const passing = (probesAt: readonly number[], share: number): number => {
  const last = probesAt.at(-1) ?? 0;
  let waiting = new Float64Array(probesAt.length);
  let next = new Float64Array(probesAt.length);
  waiting[0] = 1;
  let passed = 0;
  for (let probes = 1; probes <= last; probes += 1) {
    for (let count = 0; count < waiting.length; count += 1) {
      const stays = (waiting[count] ?? 0) * (1 - share);
      const comes = count === 0 ? 0 : (waiting[count - 1] ?? 0) * share;
      const here = stays + comes;
      const passes = probes >= (probesAt[count] ?? 0);
      if (passes) passed += here;
      next[count] = passes ? 0 : here;
    }
    [waiting, next] = [next, waiting];
  }
  return passed;
};

const looksAt = (count: number, level: number, { errorsMax, lateMax }: Limits): readonly Look[] => {
  const least = probesProving(0, lateMax, level);
  return Array.from({ length: count }, (_, toleratedBad) => {
    const probes = Math.max(least, probesProving(toleratedBad, errorsMax, level));
    return { probes, toleratedBad, toleratedLate: toleratedCount(probes, lateMax, level) };
  });
};

const levelSteps = 20;

/** So many looks, at the largest nominal level at which all together keep to the false confirmations allowed. */
const boundary = (count: number, limits: Limits): Window => {
  let low = falseConfirmationMax / count;
  let high = falseConfirmationMax;
  for (let step = 0; count > 1 && step < levelSteps; step += 1) {
    const middle = (low + high) / 2;
    const probesAt = looksAt(count, middle, limits).map((look) => look.probes);
    if (passing(probesAt, limits.errorsMax) <= falseConfirmationMax) low = middle;
    else high = middle;
  }
  const [first, ...more] = looksAt(count, count > 1 ? low : high, limits);
  if (first === undefined) throw new Error('a window needs a look');
  return { looks: [first, ...more] };
};

const known = new Map<string, Window>();

/** A boundary depends on nothing but its arguments and is asked for ten times a second. */
const boundaryOnce = (count: number, limits: Limits): Window => {
  const key = `${count} ${limits.errorsMax} ${limits.lateMax}`;
  const found = known.get(key) ?? boundary(count, limits);
  known.set(key, found);
  return found;
};

/** Probability, at least, that a service with these rates is confirmed: that of its last look alone. */
const powerOf = (look: Look, { bad, late }: Rates): number =>
  binomialAtMost(look.toleratedBad, look.probes, bad) * binomialAtMost(look.toleratedLate, look.probes, late);

/**
 * The window with the fewest looks by which a service with these rates is confirmed with probability ≥ 95 %;
 * `undefined` when it is so near the limits that no usable window has that power. Rates below 0.1 % count as 0.1 %.
 */
export const windowFor = (rates: Rates, limits: Limits): Window | undefined => {
  const atLeast = { bad: Math.max(rateLeast, rates.bad), late: Math.max(rateLeast, rates.late) };
  if (atLeast.bad >= limits.errorsMax || atLeast.late >= limits.lateMax) return undefined;
  for (const count of lookCounts) {
    // A single look of as many tolerated bad probes is shorter: without its power there is none to be found.
    if (binomialAtMost(count - 1, probesProving(count - 1, limits.errorsMax), atLeast.bad) < power) continue;
    const window = boundaryOnce(count, limits);
    if (powerOf(window.looks.at(-1) ?? window.looks[0], atLeast) >= power) return window;
  }
  return undefined;
};
