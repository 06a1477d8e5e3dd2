import type { Metric } from './exposition.ts';

/** How a request ended, as its server knows: `abandoned` by its client is no failure of the service. */
export type RequestOutcome = 'served' | 'refused' | 'failed' | 'abandoned';

export interface RequestMetrics {
  ended(outcome: RequestOutcome, code: number): void;
  firstToken(tookMs: number): void;
  metrics(): readonly Metric[];
}

/** Upper bounds in seconds. One is the documented limit of 700 ms, so that what is above it is counted exactly. */
const bucketsSeconds = [0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2.5, 5, 10] as const;

export const requestsMetric = 'gateway_requests_total';
export const firstTokenMetric = 'gateway_time_to_first_token_seconds';

/** Plain counters: two additions for each request. */
export const createRequestMetrics = (): RequestMetrics => {
  const ends = new Map<string, { readonly outcome: RequestOutcome; readonly code: number; count: number }>();
  const buckets = bucketsSeconds.map((upTo) => ({ upTo, count: 0 }));
  let sumSeconds = 0;
  let count = 0;
  return {
    ended(outcome, code) {
      const key = `${outcome} ${code}`;
      const known = ends.get(key);
      if (known === undefined) ends.set(key, { outcome, code, count: 1 });
      else known.count += 1;
    },
    firstToken(tookMs) {
      const seconds = tookMs / 1000;
      count += 1;
      sumSeconds += seconds;
      const bucket = buckets.find(({ upTo }) => seconds <= upTo);
      if (bucket !== undefined) bucket.count += 1;
    },
    metrics() {
      let below = 0;
      const cumulative = buckets.map((bucket) => {
        below += bucket.count;
        return { name: `${firstTokenMetric}_bucket`, labels: { le: String(bucket.upTo) }, value: below };
      });
      return [
        {
          name: requestsMetric,
          type: 'counter',
          help: 'Chat requests by how they ended.',
          samples: [...ends.values()].map((end) => ({
            name: requestsMetric,
            labels: { outcome: end.outcome, code: String(end.code) },
            value: end.count,
          })),
        },
        {
          name: firstTokenMetric,
          type: 'histogram',
          help: 'Seconds from a request to the first token of its answer.',
          samples: [
            ...cumulative,
            { name: `${firstTokenMetric}_bucket`, labels: { le: '+Inf' }, value: count },
            { name: `${firstTokenMetric}_sum`, labels: {}, value: sumSeconds },
            { name: `${firstTokenMetric}_count`, labels: {}, value: count },
          ],
        },
      ];
    },
  };
};
