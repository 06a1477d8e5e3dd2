import { z } from 'zod';
import { durationMs } from '../../core/duration.ts';
import { defineMeasure, type Figure, figure, none } from './measure.ts';

const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

/** A period counts as exact when it is within this share of the documented one: timers are late, never early. */
const periodTolerance = 0.05;

/**
 * From the facts `health.periodMs` (mean real period of the checks), `health.failuresAtRemoval` (consecutive failures
 * when a region was removed) and `health.failuresTolerated` (longest run of failures after which none was removed), or
 * data.failures of observations `health.failed`.
 */
export const healthPeriod = defineMeasure({
  name: 'health-period',
  summary: 'Period of the health checks that steer DNS, and how many consecutive failures remove a region.',
  params: z.strictObject({ period: durationMs, failures: z.int().positive() }),
  bound: 'none',
  measure({ period: periodMs, failures }, context) {
    const { facts, observations, run } = context.record;
    const period = numberOf(facts['health.periodMs']);
    const seen = observations.find((one) => one.name === 'health.failed')?.data['failures'];
    const removed = numberOf(facts['health.failuresAtRemoval']) ?? numberOf(seen);
    const tolerated = numberOf(facts['health.failuresTolerated']);
    if (period === undefined && removed === undefined) {
      return none('neither the period of the checks nor the failures that removed a region could be observed');
    }
    const figures: Figure[] = [];
    const wrong: string[] = [];
    const missing: string[] = [];
    if (period === undefined) missing.push('the period');
    else {
      figures.push(figure('period', period, 'ms'));
      const documented = period * run.timeScale;
      if (Math.abs(documented - periodMs) > periodTolerance * periodMs) {
        wrong.push(`checks come every ${Math.round(documented)} documented ms, not every ${periodMs}`);
      }
    }
    if (removed === undefined) missing.push('how many failures remove a region');
    else {
      figures.push(figure('failures at removal', removed, 'count'));
      if (removed !== failures) wrong.push(`${removed} failures removed a region, not ${failures}`);
    }
    if (tolerated !== undefined) {
      figures.push(figure('failures tolerated', tolerated, 'count'));
      if (tolerated >= failures) wrong.push(`${tolerated} failures did not remove a region`);
    }
    const notes =
      tolerated === failures - 1 ? [] : [`that ${failures - 1} failures do not remove a region was not tried`];
    if (wrong.length > 0) return { kind: 'judged', verdict: 'FAIL', reason: wrong.join('; '), figures, notes };
    if (missing.length > 0) {
      return {
        kind: 'judged',
        verdict: 'INCONCLUSIVE',
        reason: `${missing.join(' and ')} was not observed`,
        figures,
        notes,
      };
    }
    return { kind: 'judged', verdict: 'PASS', reason: 'period and failures as documented', figures, notes };
  },
});
