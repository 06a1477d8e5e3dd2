import { z } from 'zod';
import { elapsed } from '../span.ts';
import { defineMeasure, figure, none } from './measure.ts';

/** From the observations `cache.unserved` and `cache.served`, which follow whether some node takes writes. */
export const cacheRebalance = defineMeasure({
  name: 'cache-rebalance',
  summary: 'Fault effective to all slots of the cache served again.',
  params: z.strictObject({}),
  bound: 'max',
  measure(_params, context, fault) {
    const seen = context.record.observations.filter(({ name }) => name === 'cache.served' || name === 'cache.unserved');
    if (seen.length === 0) {
      return none(
        'no cache was watched: in the lab because no redis-server was found (install one, or name it in the ' +
          'environment), elsewhere because addresses.cache names no node',
      );
    }
    const during = seen.filter(
      ({ minMs, maxMs }) => maxMs >= fault.effective.minMs && minMs < Math.min(fault.reverted.minMs, context.endMs),
    );
    const lost = during.find(({ name }) => name === 'cache.unserved');
    if (lost === undefined) {
      return {
        kind: 'judged',
        verdict: 'INCONCLUSIVE',
        reason: 'the cache took writes throughout: its primary was not in what the fault took away',
      };
    }
    // The last time it came back counts: one that came and went had not rebalanced.
    const back = seen.slice(seen.indexOf(lost)).findLast(({ name, minMs }) => {
      return name === 'cache.served' && minMs < fault.reverted.minMs;
    });
    const lastLost = during.findLast(({ name }) => name === 'cache.unserved');
    const isBack = back !== undefined && lastLost !== undefined && back.maxMs >= lastLost.maxMs;
    const figures = [
      figure('primary before', lost.subject, 'text'),
      ...(isBack ? [figure('primary after', back.subject, 'text')] : []),
      figure('times lost', during.filter(({ name }) => name === 'cache.unserved').length, 'count'),
    ];
    const until = isBack ? back : { minMs: context.endMs, maxMs: Number.POSITIVE_INFINITY };
    return {
      kind: 'duration',
      bracket: elapsed(fault.effective, until),
      confirmed: isBack,
      figures,
      notes: [
        'one shard: all slots are served when a node takes writes; what was lost with the old one is not counted',
      ],
    };
  },
});
