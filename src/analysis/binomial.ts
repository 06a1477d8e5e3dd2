/**
 * Exact binomial bounds. Recovery is judged by what a number of probes proves about the service, never by "N in a row":
 * at 10 % residual errors a run of three good answers is more likely than not.
 */

/** One-sided confidence of every bound that a verdict rests on. */
export const confidence = 0.95;
const alpha = 1 - confidence;

/** Lanczos coefficients (g = 7, n = 9); relative error below 1e-14 for arguments ≥ 0.5. */
const lanczos = [
  0.9999999999998099, 676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406, 12.507343278686905,
  -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
];

const logGamma = (x: number): number => {
  const shifted = x - 1;
  const t = shifted + 7.5;
  const sum = lanczos.reduce(
    (total, coefficient, index) => total + (index === 0 ? coefficient : coefficient / (shifted + index)),
    0,
  );
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(t) - t + Math.log(sum);
};

const iterationsMax = 10_000;
const tiny = 1e-300;

/** Continued fraction of the incomplete beta function, by the modified method of Lentz. */
const betaFraction = (x: number, a: number, b: number): number => {
  const guard = (value: number): number => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / guard(1 - ((a + b) * x) / (a + 1));
  let result = d;
  for (let m = 1; m <= iterationsMax; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / guard(1 + even * d);
    c = guard(1 + even / c);
    result *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / guard(1 + odd * d);
    c = guard(1 + odd / c);
    const step = d * c;
    result *= step;
    if (Math.abs(step - 1) < 1e-15) return result;
  }
  return result;
};

/** Regularised incomplete beta function I_x(a, b). */
const incompleteBeta = (x: number, a: number, b: number): number => {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(x, a, b)) / a : 1 - (front * betaFraction(1 - x, b, a)) / b;
};

/** P(X ≤ count) for X binomial with `trials` and probability `share`: I_{1−share}(trials − count, count + 1). */
export const binomialAtMost = (count: number, trials: number, share: number): number => {
  if (count < 0) return 0;
  if (count >= trials || share <= 0) return 1;
  if (share >= 1) return 0;
  return incompleteBeta(1 - share, trials - count, count + 1);
};

const bisections = 60;

/** Clopper–Pearson: the largest share at which `count` or fewer of `trials` is not yet rarer than 5 %. */
export const upperShare = (count: number, trials: number): number => {
  if (count >= trials) return 1;
  let low = count / trials;
  let high = 1;
  for (let step = 0; step < bisections; step += 1) {
    const middle = (low + high) / 2;
    if (binomialAtMost(count, trials, middle) > alpha) low = middle;
    else high = middle;
  }
  return high;
};

/** Clopper–Pearson: the smallest share at which `count` or more of `trials` is not yet rarer than 5 %. */
export const lowerShare = (count: number, trials: number): number => 1 - upperShare(trials - count, trials);

/**
 * Most bad probes among `trials` whose upper bound is still at most `shareMax`; −1 when even none is too many. `level`
 * is the probability with which a share of exactly `shareMax` may pass.
 */
export const toleratedCount = (trials: number, shareMax: number, level = alpha): number => {
  let low = -1;
  let high = trials;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (binomialAtMost(middle, trials, shareMax) <= level) low = middle;
    else high = middle;
  }
  return low;
};

/** Fewest probes among which `count` bad ones still prove a share of at most `shareMax`. */
export const probesProving = (count: number, shareMax: number, level = alpha): number => {
  let low = count;
  let high = Math.ceil((count + 4) / shareMax) * 2;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (binomialAtMost(count, middle, shareMax) <= level) high = middle;
    else low = middle;
  }
  return high;
};
