import { z } from 'zod';
import { elapsed } from '../span.ts';
import { defineMeasure, none } from './measure.ts';

/** From the facts `cache.available`, and `cache.servedMinMs` and `cache.servedMaxMs` (instants on the run's clock). */
export const cacheRebalance = defineMeasure({
  name: 'cache-rebalance',
  summary: 'Fault effective to all slots of the cache served again.',
  params: z.strictObject({}),
  bound: 'max',
  measure(_params, context, fault) {
    const { facts } = context.record;
    if (facts['cache.available'] !== true) {
      return none(
        'there is no cache in this environment: no redis-server was found (install one, or name it in the environment)',
      );
    }
    const minMs = facts['cache.servedMinMs'];
    const maxMs = facts['cache.servedMaxMs'];
    if (typeof minMs !== 'number' || typeof maxMs !== 'number')
      return none('nothing watched the slots of the cache in this run');
    return { kind: 'duration', bracket: elapsed(fault.effective, { minMs, maxMs }) };
  },
});
