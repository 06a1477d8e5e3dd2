import { z } from 'zod';
import { durationMs, formatDuration } from '../../core/duration.ts';
import type { Observation } from '../../core/observation.ts';
import {
  type Absent,
  type Condition,
  errorCondition,
  failuresCondition,
  lagCondition,
  latencyCondition,
} from '../alert-conditions.ts';
import type { FaultWindow } from '../fault-window.ts';
import type { Bracket } from '../record.ts';
import { elapsed, scaled } from '../span.ts';
import { type Context, defineMeasure, figure, type Measured, none, probeParam } from './measure.ts';

const alertParams = {
  alert: z.string().min(1),
  receiver: z.string().min(1),
  /** Documented time that the alerting may take: to scrape once and to evaluate once. */
  within: durationMs.prefault('30s'),
};

interface Expected {
  readonly alert: string;
  readonly receiver: string;
  readonly within: number;
  /** Documented time over which its condition is counted: it may reach back before anybody watched. */
  readonly window?: number;
  /** Only alerts about these regions, or about none. */
  readonly regions?: ReadonlySet<string>;
}

const isAbout = ({ data }: Observation, { regions }: Expected): boolean =>
  regions === undefined || typeof data['region'] !== 'string' || regions.has(data['region']);

const receiversOf = ({ data }: Observation): readonly string[] => String(data['receiver'] ?? '').split(' ');

/** Stretches in which nobody could see what fired. */
const unseenIn = ({ record }: Context, fromMs: number, toMs: number): boolean =>
  record.observations.some(({ name, minMs, maxMs }) => name === 'alert.unseen' && maxMs > fromMs && minMs < toMs);

const judgeDelay = (
  context: Context,
  bracket: Bracket,
  fired: Observation,
  condition: Condition,
  expected: Expected,
): Measured => {
  const { timeScale } = context.record.run;
  const documented = scaled(bracket, timeScale);
  const stretch = context.record.stretches?.alerting;
  const figures = [
    ...(condition.figures ?? []),
    figure('alert after', `${formatDuration(documented.minMs)} to ${formatDuration(documented.maxMs)}`, 'text'),
    figure('alert', `${fired.subject} ${fired.data['labels'] ?? ''}`.trim(), 'text'),
    figure('as it says itself', String(fired.data['description'] ?? ''), 'text'),
  ];
  const notes = [
    ...(condition.notes ?? []),
    `the documentation gives no time; ${formatDuration(expected.within)} allow for one scrape and one evaluation`,
  ];
  const beside = { bracket, figures, notes };
  const heard = receiversOf(fired);
  const after = `${condition.text}, and ${expected.alert} fired`;
  if (!heard.includes(expected.receiver)) {
    const reason = `${after}, but went to ${heard.join(', ') || 'nobody'} instead of ${expected.receiver}`;
    return { kind: 'judged', verdict: 'FAIL', reason, ...beside };
  }
  const allowed = formatDuration(expected.within);
  // A lab scrapes no faster than its floor, whatever the time scale says.
  if (documented.minMs > expected.within + (stretch?.maxMs ?? 0) * timeScale) {
    const reason = `${after} only ${formatDuration(documented.minMs)} later at the earliest, not within ${allowed}`;
    return { kind: 'judged', verdict: 'FAIL', reason, ...beside };
  }
  if (documented.maxMs > expected.within) {
    const resolves = stretch === undefined || stretch.maxMs === 0 ? '' : `; --time-scale ${stretch.scale} resolves it`;
    const later = `up to ${formatDuration(documented.maxMs)} later`;
    const reason = `${after}; whether within ${allowed} was not seen: ${later}${resolves}`;
    return { kind: 'judged', verdict: 'INCONCLUSIVE', reason, ...beside };
  }
  const isSilent = !unseenIn(context, Number.NEGATIVE_INFINITY, condition.began.minMs);
  const before = isSilent ? 'and was silent before' : 'and for a part of the time before nobody could see it';
  return { kind: 'judged', verdict: 'PASS', reason: `${after} within ${allowed}, ${before}`, ...beside };
};

const judgeSilence = (context: Context, condition: Condition, expected: Expected): Measured => {
  const { timeScale } = context.record.run;
  const heldMs = Math.max(0, condition.heldToMs - condition.began.maxMs);
  const held = formatDuration(heldMs * timeScale);
  const beside = { figures: condition.figures ?? [], notes: condition.notes ?? [] };
  if (unseenIn(context, condition.began.minMs, condition.heldToMs)) {
    const reason = `${condition.text}, and for a part of that time nobody could see what fired`;
    return { kind: 'judged', verdict: 'INCONCLUSIVE', reason, ...beside };
  }
  if (heldMs * timeScale <= expected.within) {
    return none(`${condition.text} for ${held} only: shorter than a scrape and an evaluation`);
  }
  const reason = `${condition.text} for ${held}, and ${expected.alert} did not fire`;
  return { kind: 'judged', verdict: 'FAIL', reason, ...beside };
};

/** End of the warm-up: what was before it, of the instrument or of a platform that just came up, is not judged. */
const warmEndMs = ({ record }: Context): number =>
  record.phases.find(({ name }) => name === 'warm-up')?.endMs ?? record.run.originMs;

/** Sets the alerts that fired against the condition they are for. */
const judge = (context: Context, fault: FaultWindow, expected: Expected, found: Condition | Absent): Measured => {
  const { observations, run } = context.record;
  const watched = observations.find(({ name }) => name === 'alert.watched');
  if (watched === undefined) return none('no Alertmanager was watched: the environment names none, or it was silent');
  const { alert } = expected;
  if (
    String(watched.data['firing'] ?? '')
      .split(' ')
      .includes(alert)
  ) {
    return none(`${alert} fired already when the run began`);
  }
  const fired = observations
    .filter((one) => one.name === 'alert.fired' && one.subject === alert && isAbout(one, expected))
    .toSorted((one, other) => one.maxMs - other.maxMs);
  const beganMs = 'absent' in found ? fault.effective.minMs : found.began.minMs;
  const early = fired.find(({ maxMs }) => maxMs < Math.min(beganMs, fault.effective.minMs));
  const watchedSinceMs = warmEndMs(context) + (expected.window ?? 0) / run.timeScale;
  if (early !== undefined && early.minMs < watchedSinceMs) {
    return none(`${alert} fired for what had been before the run: its window reached back behind the first probes`);
  }
  if (early !== undefined) {
    const says = early.data['description'] ?? '';
    const reason = `${alert} fired before the fault, when its condition did not hold: ${says}`;
    return { kind: 'judged', verdict: 'FAIL', reason };
  }
  if ('absent' in found) {
    const [first] = fired;
    if (first === undefined) return none(`${found.absent}; ${alert} was silent, as it should be`);
    const reason = `${alert} fired, but ${found.absent}: ${first.data['description'] ?? ''}`;
    return { kind: 'judged', verdict: 'INCONCLUSIVE', reason };
  }
  const [first] = fired;
  if (first === undefined) return judgeSilence(context, found, expected);
  if (first.maxMs < found.began.minMs) {
    const notYet = formatDuration((found.began.minMs - first.maxMs) * run.timeScale);
    const reason = `${alert} fired ${notYet} before its condition was seen to hold: ${first.data['description'] ?? ''}`;
    const verdict = found.isExact ? 'FAIL' : 'INCONCLUSIVE';
    return { kind: 'judged', verdict, reason, figures: found.figures ?? [], notes: found.notes ?? [] };
  }
  if (first.minMs > found.heldToMs && !unseenIn(context, found.began.minMs, first.maxMs)) {
    return judgeSilence(context, found, expected);
  }
  return judgeDelay(context, elapsed(found.began, first), first, found, expected);
};

const windowParam = durationMs.prefault('5m');

export const errorRateAlert = defineMeasure({
  name: 'error-rate-alert',
  summary: 'Share of failed probes above its limit to the alert about it; silent below.',
  params: z.strictObject({
    ...alertParams,
    probe: probeParam('chat'),
    share: z.number().gt(0).lt(1).default(0.01),
    window: windowParam,
  }),
  bound: 'none',
  measure: ({ probe, share, ...expected }, context, fault) =>
    judge(context, fault, expected, errorCondition(context, fault, probe, share, expected.window, expected.within)),
});

export const latencyAlert = defineMeasure({
  name: 'latency-alert',
  summary: 'p95 of the time to first token above its limit to the alert about it; silent below.',
  params: z.strictObject({
    ...alertParams,
    probe: probeParam('chat'),
    /** Real time. */
    limit: durationMs.prefault('700ms'),
    window: windowParam,
  }),
  bound: 'none',
  measure: ({ probe, limit, ...expected }, context, fault) =>
    judge(context, fault, expected, latencyCondition(context, fault, probe, limit, expected.window, expected.within)),
});

export const healthAlert = defineMeasure({
  name: 'health-alert',
  summary: 'More failed health checks of a region than it takes to remove it, to the alert about it; silent before.',
  params: z.strictObject({ ...alertParams, failures: z.int().positive().default(3) }),
  bound: 'none',
  measure: ({ failures, ...expected }, context, fault) =>
    judge(context, fault, { ...expected, regions: fault.regions }, failuresCondition(context, fault, failures)),
});

export const lagAlert = defineMeasure({
  name: 'lag-alert',
  summary: 'Replication lag above its limit to the alert about it; silent below.',
  params: z.strictObject({
    ...alertParams,
    probe: probeParam('postgres-ledger'),
    lag: durationMs,
    /** Longest documented lag of a replica that is well. */
    lagBefore: durationMs.prefault('10s'),
  }),
  bound: 'none',
  measure: ({ probe, lag, lagBefore, ...expected }, context, fault) =>
    judge(context, fault, expected, lagCondition(context, fault, probe, lag, lagBefore)),
});
