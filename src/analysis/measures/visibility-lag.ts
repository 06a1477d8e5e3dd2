import { z } from 'zod';
import type { History } from '../ledger/history.ts';
import { visibilityLags } from '../ledger/lag.ts';
import type { Bracket } from '../record.ts';
import { bracketOf } from '../span.ts';
import { defineMeasure, figure, none, probeParam } from './measure.ts';

/** Nearest rank of an ascending list. */
const quantile = (ascending: readonly number[], share: number): number =>
  ascending[Math.max(0, Math.ceil(ascending.length * share) - 1)] ?? 0;

const copiesOf = ({ reads }: History, copy: string | undefined): readonly string[] =>
  copy === undefined ? [...new Set(reads.flatMap((read) => read.copy ?? []))] : [copy];

export const visibilityLag = defineMeasure({
  name: 'visibility-lag',
  summary: 'How long acknowledged writes took to show at a copy, on one clock: the longest, or a quantile.',
  params: z.strictObject({
    ledger: probeParam('postgres-ledger'),
    /** As the ledger names it; all of its copies when left out. */
    copy: z.string().min(1).optional(),
    /** `steady`: writes before the fault alone; `run`: all of them. */
    during: z.enum(['steady', 'run']).default('steady'),
    /** Which of the lags is judged: 1 the longest, 0.5 the usual one. */
    quantile: z.number().gt(0).max(1).default(1),
  }),
  bound: 'max',
  measure({ ledger, copy, during, quantile: share }, context, fault) {
    const store = context.stores(ledger);
    if (store.histories.length === 0) return none(`no ${ledger} was written`);
    const untilMs = during === 'steady' ? fault.effective.minMs : Number.POSITIVE_INFINITY;
    const lags = store.histories
      .flatMap((history) => copiesOf(history, copy).flatMap((one) => visibilityLags(history, one)))
      // A write so near the fault that it was held up by it says nothing of the steady state.
      .filter(({ write, lag }) => write.invokedMs + (during === 'steady' ? lag.maxMs : 0) < untilMs);
    if (lags.length === 0)
      return none(`no write was seen at ${copy === undefined ? 'any copy' : `the copy in ${copy}`}`);
    const sorted = (of: (lag: Bracket) => number): readonly number[] =>
      lags.map(({ lag }) => of(lag)).sort((a, b) => a - b);
    const middles = sorted(({ estimateMs }) => estimateMs);
    // A quantile of what was never seen exactly lies between the same quantiles of its lower and of its upper ends.
    const minMs = quantile(
      sorted((lag) => lag.minMs),
      share,
    );
    const maxMs = quantile(
      sorted((lag) => lag.maxMs),
      share,
    );
    const pending = lags.filter(({ lag }) => !Number.isFinite(lag.maxMs)).length;
    return {
      kind: 'duration',
      bracket: bracketOf(quantile(middles, share), minMs, maxMs),
      figures: [
        figure('writes seen', lags.length - pending, 'count'),
        figure('median', quantile(middles, 0.5), 'ms'),
        figure('95th percentile', quantile(middles, 0.95), 'ms'),
        figure('longest', quantile(middles, 1), 'ms'),
        ...(pending === 0 ? [] : [figure('not shown yet in the end', pending, 'count')]),
      ],
    };
  },
});
