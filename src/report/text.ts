import { formatDuration } from '../core/duration.ts';
import type { Report } from './model.ts';

type Target = Report['targets'][number];
type Bracket = NonNullable<Target['observed']>;

export const bracketText = ({ estimateMs, minMs, maxMs }: Bracket): string => {
  if (maxMs === null) return `at least ${formatDuration(minMs)}, not seen to end`;
  if (estimateMs === minMs && minMs === maxMs) return formatDuration(estimateMs);
  return `${formatDuration(estimateMs)} [${formatDuration(minMs)}, ${formatDuration(maxMs)}]`;
};

export const percentText = (share: number): string => {
  const value = share * 100;
  return `${value > 99 && value < 101 && value !== 100 ? value.toFixed(2) : Number(value.toPrecision(3))} %`;
};

/** What was observed of a target, in the terms of its bound; documented time. */
export const observedText = (target: Target): string => {
  if (target.verdict === 'NOT MEASURED') return '-';
  if (target.observed !== null) return bracketText(target.observed);
  if (target.share !== null) {
    const { estimate, min, max } = target.share;
    return `${percentText(estimate)} [${percentText(min)}, ${percentText(max)}]`;
  }
  return target.count === null ? 'see reason' : String(target.count);
};

/** The bound as a number where there is one, else as the documentation words it. */
export const boundText = ({ documented }: Target): string => {
  const { maxMs, minShare, maxShare, maxCount, text } = documented;
  if (maxMs !== undefined) return `≤ ${formatDuration(maxMs)}`;
  if (minShare !== undefined) return `≥ ${percentText(minShare)}`;
  if (maxShare !== undefined) return `≤ ${percentText(maxShare)}`;
  return maxCount === undefined ? text : String(maxCount);
};

export const scaleText = (timeScale: number): string =>
  timeScale === 1
    ? 'real time'
    : `time scale ${timeScale}: one documented minute took ${formatDuration(60_000 / timeScale)}`;

export const figureText = ({ name, value, unit }: Target['figures'][number]): string => {
  if (typeof value === 'string') return `${name}: ${value}`;
  if (unit === 'ms') return `${name}: ${formatDuration(value)}`;
  return unit === 'share' ? `${name}: ${percentText(value)}` : `${name}: ${value}`;
};

/** When in the cycle of periodic mechanisms the fault was injected; documented time. */
export const phaseText = ({ phase, run: { timeScale } }: Report): string | undefined => {
  if (phase === null) return undefined;
  const { at, offsetMs, mechanism } = phase;
  const documented = (realMs: number): string => formatDuration(realMs * timeScale);
  const how = typeof at === 'number' ? 'as told' : at;
  if (mechanism === null) return `${how}: ${documented(offsetMs)} after the baseline`;
  const { name, region, periodMs, durationMs, positionMs, age, passEnded } = mechanism;
  const { minMs, maxMs } = age ?? { minMs: 0, maxMs: null };
  const shown =
    maxMs === null ? '' : `; what ${region} showed was ${documented(minMs)} to ${documented(maxMs)} old at the fault`;
  const cycle = `every ${documented(periodMs)}, takes ${documented(durationMs)}`;
  const slipped = passEnded ? '; a pass ended while the fault was injected, so that this is not the phase it met' : '';
  return `${how}: ${documented(positionMs)} into a pass of ${name} (${cycle})${shown}${slipped}`;
};

/** An instant since the start of the run, with what is known of it. */
export const instantText = (span: { readonly minMs: number | null; readonly maxMs: number | null } | null): string => {
  if (span === null) return '-';
  const { minMs, maxMs } = span;
  if (maxMs === null) return minMs === null ? '-' : `after ${seconds(minMs)}`;
  if (minMs === null || minMs === maxMs) return seconds(maxMs);
  return `${seconds(minMs)} … ${seconds(maxMs)}`;
};

/** Seconds since the start, to the millisecond: a timeline is read by comparing. */
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(3)} s`;
