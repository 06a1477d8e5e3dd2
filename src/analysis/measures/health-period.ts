import { z } from 'zod';
import { durationMs, formatDuration } from '../../core/duration.ts';
import { type Period, periodOf, type Removal, removalOf, seenChecks } from '../health-checks.ts';
import { defineMeasure, type Figure, figure, none } from './measure.ts';

/** A period counts as exact when it is within this share of the documented one: timers are late, never early. */
const periodTolerance = 0.05;

/** What the checks say of one half of the promise. */
interface Finding {
  readonly figures: readonly Figure[];
  readonly notes: readonly string[];
  readonly right?: string;
  readonly wrong?: string;
  readonly missing?: string;
}

const periodFinding = (period: Period | undefined, documentedMs: number, timeScale: number): Finding => {
  if (period === undefined) return { figures: [], notes: [], missing: 'the period was not observed' };
  const { median, skipped, isAliased } = period;
  const figures = [
    figure('period', median.estimate, 'ms'),
    figure('period at least', median.min, 'ms'),
    figure('period at most', median.max, 'ms'),
    figure('times between two checks', median.count, 'count'),
    ...(skipped === 0 ? [] : [figure('left out, with an unseen check inside', skipped, 'count')]),
  ];
  const notes = ['the period is the median, with its 95 % bounds; it includes the time that an answer takes'];
  const least = median.min * timeScale;
  const most = median.max * timeScale;
  const lowest = documentedMs * (1 - periodTolerance);
  const highest = documentedMs * (1 + periodTolerance);
  const seen = `checks come every ${formatDuration(median.estimate * timeScale)} of documented time`;
  if (isAliased) return { figures, notes, missing: `${seen} or more often: the looks were too rare to tell` };
  const promised = formatDuration(documentedMs);
  if (least > highest || most < lowest) return { figures, notes, wrong: `${seen}, not every ${promised}` };
  if (least < lowest || most > highest) {
    return { figures, notes, missing: `${seen}, with an error that reaches beyond 5 % of ${promised}` };
  }
  return { figures, notes, right: seen };
};

const removalFinding = (removal: Removal | undefined, failures: number): Finding => {
  const untried = `that ${failures - 1} failures do not remove a region was not tried`;
  if (removal === undefined) {
    return { figures: [], notes: [untried], missing: 'how many failures remove a region was not observed' };
  }
  const { min, max } = removal.failures;
  const seen = min === max ? `${min}` : `${min} to ${max}`;
  const figures = [
    figure('failures at removal', seen, 'text'),
    figure('failures tolerated', removal.tolerated, 'count'),
    figure('checkers that turned', removal.checkers, 'count'),
  ];
  const notes = removal.tolerated === failures - 1 ? [] : [untried];
  const text = `${seen} failures in a row removed a region`;
  if (failures < min || failures > max) return { figures, notes, wrong: text };
  if (min !== max) return { figures, notes, missing: `${text}: which, was not seen` };
  return { figures, notes, right: text };
};

/** From the observations `health.checked`: when each checker looked, and what it thought of the endpoint then. */
export const healthPeriod = defineMeasure({
  name: 'health-period',
  summary: 'Period of the health checks that steer DNS, and how many consecutive failures remove a region.',
  params: z.strictObject({ period: durationMs, failures: z.int().positive() }),
  bound: 'none',
  measure({ period: documentedMs, failures }, context, fault) {
    const checks = seenChecks(context.record.observations);
    if (checks.checkers.length === 0) return none('no checker of the health checks reported when it looked');
    const period = periodFinding(periodOf(checks), documentedMs, context.record.run.timeScale);
    const removal = removalFinding(removalOf(checks, fault), failures);
    const found = [period, removal];
    const figures = [...found.flatMap((one) => one.figures), figure('set up as', checks.configured.join('; '), 'text')];
    const notes = found.flatMap((one) => one.notes);
    const wrong = found.flatMap((one) => one.wrong ?? []);
    if (wrong.length > 0) return { kind: 'judged', verdict: 'FAIL', reason: wrong.join('; '), figures, notes };
    const missing = found.flatMap((one) => one.missing ?? []);
    if (missing.length > 0) {
      return { kind: 'judged', verdict: 'INCONCLUSIVE', reason: missing.join('; '), figures, notes };
    }
    const right = found.flatMap((one) => one.right ?? []);
    return { kind: 'judged', verdict: 'PASS', reason: right.join('; '), figures, notes };
  },
});
