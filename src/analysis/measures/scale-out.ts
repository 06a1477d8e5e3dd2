import { z } from 'zod';
import { elapsed } from '../span.ts';
import { defineMeasure, figure, none } from './measure.ts';
import { faultEndMs } from './select.ts';

/**
 * From observations `replicas.changed` (subject: zone; data.app, data.ready, data.before) and the fact
 * `autoscaler.available`: without an autoscaler nothing can be expected to add capacity.
 */
export const scaleOut = defineMeasure({
  name: 'scale-out',
  summary: 'Replicas added in the zones of the region that the fault left alone, and how long it took.',
  params: z.strictObject({ app: z.string().min(1).optional() }),
  bound: 'none',
  measure({ app }, context, fault) {
    const { observations, facts } = context.record;
    const surviving = [...context.regionByZone]
      .filter(([zone, region]) => fault.regions.has(region) && !fault.zones.has(zone))
      .map(([zone]) => zone);
    if (surviving.length === 0) return none('no zone of the region survived the fault');
    const changes = observations.filter(
      (seen) =>
        seen.name === 'replicas.changed' &&
        surviving.includes(seen.subject) &&
        seen.maxMs >= fault.effective.minMs &&
        seen.minMs <= faultEndMs(context, fault) &&
        (app === undefined || seen.data['app'] === app),
    );
    const baselines = new Map<string, number>();
    for (const change of changes) {
      const key = `${change.subject} ${change.data['app']}`;
      const before = Number(change.data['before'] ?? change.data['ready']);
      if (!baselines.has(key)) baselines.set(key, before);
      const ready = Number(change.data['ready']);
      if (ready <= (baselines.get(key) ?? ready)) continue;
      const bracket = elapsed(fault.effective, change);
      const figures = [figure(`ready in ${change.subject}`, ready, 'count'), figure('before', before, 'count')];
      const reason = `capacity was added in ${change.subject}: ${ready} ready, ${before} before`;
      return { kind: 'judged', verdict: 'PASS', reason, bracket, figures };
    }
    const where = surviving.join(', ');
    if (facts['autoscaler.available'] === true) {
      return { kind: 'judged', verdict: 'FAIL', reason: `no replica was added in ${where} while the fault lasted` };
    }
    return none(`no replica was added in ${where}, and there is no autoscaler in this environment to add one`);
  },
});
