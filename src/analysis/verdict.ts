import { formatDuration } from '../core/duration.ts';
import type { Figure, LocationBracket, Measured, Share } from './measures/measure.ts';
import type { Bracket, RunRecord, RunVerdict, Stretch, Target, Verdict } from './record.ts';
import { scaled } from './span.ts';

/** A target and what came of it. `observed` is documented time, to be set against the bound; `real` is what passed. */
export interface Judged {
  readonly target: Target;
  readonly verdict: Verdict;
  readonly reason: string;
  readonly observed: Bracket | null;
  readonly real: Bracket | null;
  readonly share: Share | null;
  readonly count: number | null;
  readonly location: string | null;
  readonly locations: readonly (LocationBracket & { readonly verdict: Verdict | null })[];
  /** The other documented numbers for the same thing. */
  readonly also: readonly {
    readonly text: string;
    readonly maxMs: number;
    readonly source: string;
    readonly verdict: Verdict;
  }[];
  readonly figures: readonly Figure[];
  readonly notes: readonly string[];
}

/** PASS when the worst end meets the bound, FAIL when the best end misses it. */
export const judgeBracket = (bracket: Bracket, maxMs: number): Exclude<Verdict, 'NOT MEASURED'> => {
  if (bracket.maxMs <= maxMs) return 'PASS';
  return bracket.minMs > maxMs ? 'FAIL' : 'INCONCLUSIVE';
};

/**
 * The time scale at which a bracket of the same real width would no longer straddle the bound, supposing that what was
 * estimated scales: the estimate stays where it is in documented time, its error shrinks with the scale. `undefined`
 * when even real time would not do.
 */
export const resolvingScale = (real: Bracket, timeScale: number, maxMs: number): number | undefined => {
  const estimateMs = real.estimateMs * timeScale;
  const roomMs = Math.abs(maxMs - estimateMs);
  const errorMs = estimateMs <= maxMs ? real.maxMs - real.estimateMs : real.estimateMs - real.minMs;
  if (!Number.isFinite(errorMs) || errorMs <= 0) return undefined;
  // Strictly below the ratio: a bracket that only touches the bound is not resolved.
  const scale = (Math.ceil((roomMs / errorMs) * 10) - 1) / 10;
  return scale >= 1 && scale < timeScale ? scale : undefined;
};

const bracketText = (bracket: Bracket): string => {
  const upper = Number.isFinite(bracket.maxMs) ? formatDuration(bracket.maxMs) : 'not seen to end';
  return `${formatDuration(bracket.estimateMs)} [${formatDuration(bracket.minMs)}, ${upper}]`;
};

type Duration = Extract<Measured, { kind: 'duration' }>;

const straddling = (real: Bracket, timeScale: number, maxMs: number): string => {
  const text = `${bracketText(scaled(real, timeScale))} straddles ${formatDuration(maxMs)}`;
  if (timeScale === 1) return `${text}; a finer probe spacing narrows the bracket`;
  const scale = resolvingScale(real, timeScale, maxMs);
  return scale === undefined
    ? `${text}; no time scale resolves it, a finer probe spacing narrows the bracket`
    : `${text}; --time-scale ${scale >= 10 ? Math.floor(scale) : scale} or less would resolve it`;
};

/** Where a run took place, as far as verdicts depend on it. */
export interface Conditions extends Pick<RunRecord, 'stretches'> {
  readonly timeScale: number;
}

/** What the time-outs that a duration includes may have added to it altogether, and the scale at which they do not. */
const stretchOf = ({ waitsFor = [] }: Duration, { stretches = {} }: Conditions): Stretch => {
  const all = waitsFor.flatMap((mechanism) => stretches[mechanism] ?? []).filter(({ maxMs }) => maxMs > 0);
  const maxMs = all.reduce((total, one) => total + one.maxMs, 0);
  return { maxMs, scale: Math.min(...all.map((one) => one.scale)) };
};

const judgeDuration = (
  measured: Duration,
  maxMs: number | undefined,
  conditions: Conditions,
): readonly [Verdict, string] => {
  const { timeScale } = conditions;
  const observed = scaled(measured.bracket, timeScale);
  const text = bracketText(observed);
  if (maxMs === undefined) return ['PASS', `${text}: reported, there is no bound`];
  const bound = formatDuration(maxMs);
  const verdict = judgeBracket(observed, maxMs);
  const hiddenMs = (measured.hiddenMs ?? 0) * timeScale;
  if (measured.confirmed === false && verdict !== 'FAIL') {
    const least = formatDuration(observed.minMs);
    return [
      'INCONCLUSIVE',
      `at least ${least} and not confirmed to be over when the observation ended; bound ${bound}`,
    ];
  }
  const stretch = stretchOf(measured, conditions);
  if (verdict === 'FAIL' && observed.minMs - stretch.maxMs * timeScale <= maxMs) {
    const added = formatDuration(stretch.maxMs * timeScale);
    return [
      'INCONCLUSIVE',
      `${text} is over ${bound}, but up to ${added} of it may be time-outs, which the lab cannot scale so far; ` +
        `--time-scale ${stretch.scale} or less would tell`,
    ];
  }
  if (verdict === 'FAIL') return ['FAIL', `${text} is over ${bound}`];
  if (verdict === 'INCONCLUSIVE') return ['INCONCLUSIVE', straddling(measured.bracket, timeScale, maxMs)];
  if (hiddenMs > maxMs) {
    const hidden = formatDuration(hiddenMs);
    return ['INCONCLUSIVE', `${text} is within ${bound}, but ${hidden} may hide where the instrument was blind`];
  }
  return ['PASS', `${text} is within ${bound}`];
};

/** One location's part: what is not known to be over elsewhere says nothing of it. */
const atLocation = (measured: Duration, bracket: Bracket): Duration => ({
  ...measured,
  bracket,
  confirmed: Number.isFinite(bracket.maxMs),
  hiddenMs: 0,
});

const percent = (share: number): string => {
  const value = share * 100;
  return `${Number(value >= 99 && value < 101 && value !== 100 ? value.toFixed(2) : value.toPrecision(3))} %`;
};

const judgeShare = (measured: Extract<Measured, { kind: 'share' }>, target: Target): readonly [Verdict, string] => {
  const { estimate, min, max } = measured.share;
  const text = `${percent(estimate)} [${percent(min)}, ${percent(max)}] of ${measured.of}`;
  const { minShare, maxShare } = target;
  if (minShare === undefined && maxShare === undefined) return ['PASS', `${text}: reported, there is no bound`];
  const bound = minShare ?? maxShare ?? 0;
  const side = minShare === undefined ? 'at most' : 'at least';
  const passes = minShare === undefined ? max <= bound : min >= bound;
  const fails = minShare === undefined ? min > bound : max < bound;
  if (passes) return ['PASS', `${text}, promised ${side} ${percent(bound)}`];
  if (fails) return ['FAIL', `${text}, promised ${side} ${percent(bound)}`];
  if (measured.accepted !== undefined) return ['PASS', `${text}: ${measured.accepted}, ${side} ${percent(bound)}`];
  return ['INCONCLUSIVE', `${text}: too few to tell it from the promised ${percent(bound)}`];
};

const judgeCount = (measured: Extract<Measured, { kind: 'count' }>, target: Target): readonly [Verdict, string] => {
  const text = `${measured.count} ${measured.of}`;
  if (measured.count > (target.maxCount ?? 0)) return ['FAIL', `${text}, promised at most ${target.maxCount ?? 0}`];
  if (measured.proven === false) return ['INCONCLUSIVE', `${text}, but nothing shows that there could have been none`];
  return ['PASS', measured.proven === undefined ? text : `${text}: ${measured.proven}`];
};

const verdictOf = (measured: Measured, target: Target, conditions: Conditions): readonly [Verdict, string] => {
  if (measured.kind === 'none') return ['NOT MEASURED', measured.reason];
  if (measured.kind === 'judged') return [measured.verdict, measured.reason];
  if (measured.kind === 'duration') return judgeDuration(measured, target.maxMs, conditions);
  return measured.kind === 'share' ? judgeShare(measured, target) : judgeCount(measured, target);
};

const alsoOf = (measured: Measured, target: Target, conditions: Conditions): Judged['also'] =>
  (target.also ?? []).map((other) => ({
    ...other,
    verdict: measured.kind === 'duration' ? judgeDuration(measured, other.maxMs, conditions)[0] : 'NOT MEASURED',
  }));

export const judge = (target: Target, measured: Measured, conditions: Conditions): Judged => {
  const { timeScale } = conditions;
  const [verdict, reason] = verdictOf(measured, target, conditions);
  const isDuration = measured.kind === 'duration';
  const real = 'bracket' in measured ? (measured.bracket ?? null) : null;
  const { maxMs } = target;
  return {
    target,
    verdict,
    reason,
    observed: real === null ? null : scaled(real, timeScale),
    real,
    share: measured.kind === 'share' ? measured.share : null,
    count: measured.kind === 'count' ? measured.count : null,
    location: measured.kind === 'none' ? null : (measured.location ?? null),
    locations: (isDuration ? (measured.locations ?? []) : []).map((one) => ({
      ...one,
      verdict:
        maxMs === undefined || measured.kind !== 'duration'
          ? null
          : judgeDuration(atLocation(measured, one.bracket), maxMs, conditions)[0],
    })),
    also: alsoOf(measured, target, conditions),
    figures: measured.kind === 'none' ? [] : (measured.figures ?? []),
    notes: measured.kind === 'none' ? [] : (measured.notes ?? []),
  };
};

/** Broken hard invariants are reported even from a void run: what was lost does not become un-lost. */
export const isHardInvariant = (target: Target): boolean => target.maxCount === 0 && target.measure !== 'hands';

/** Why the run as a whole says nothing, or `undefined`. */
export type Void = string | undefined;

const order: readonly RunVerdict[] = ['FAIL', 'INCONCLUSIVE', 'PASS'];

/** FAIL over INCONCLUSIVE over PASS; a run that measured nothing has not passed. */
export const runVerdict = (
  judged: readonly Judged[],
  isVoid: Void,
): { readonly verdict: RunVerdict; readonly reason: string } => {
  const broken = judged.filter(({ target, verdict }) => verdict === 'FAIL' && isHardInvariant(target));
  if (isVoid !== undefined) {
    return broken.length > 0
      ? { verdict: 'FAIL', reason: `${idsOf(broken)} broken, in a run that is void otherwise: ${isVoid}` }
      : { verdict: 'VOID', reason: isVoid };
  }
  const measured = judged.filter(({ verdict }) => verdict !== 'NOT MEASURED');
  if (measured.length === 0) return { verdict: 'INCONCLUSIVE', reason: 'no target was measured' };
  const verdict = order.find((one) => measured.some((row) => row.verdict === one)) ?? 'INCONCLUSIVE';
  const deciding = measured.filter((row) => row.verdict === verdict);
  if (verdict === 'PASS') {
    const left = judged.length - measured.length;
    const rest = left === 0 ? '' : `; ${left} not measured`;
    return { verdict, reason: `${measured.length} ${measured.length === 1 ? 'target' : 'targets'} met${rest}` };
  }
  return { verdict, reason: `${idsOf(deciding)}: ${deciding[0]?.reason ?? ''}` };
};

const idsOf = (rows: readonly Judged[]): string => rows.map(({ target }) => target.id).join(', ');

/** A row of a run that is void, or that did not come to its end: numbers stay, certainty goes. */
export const weaken = (row: Judged, why: string): Judged =>
  row.verdict === 'PASS' || (row.verdict === 'FAIL' && !isHardInvariant(row.target))
    ? { ...row, verdict: 'INCONCLUSIVE', reason: `${row.reason}; but ${why}` }
    : row;
