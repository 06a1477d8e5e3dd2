import type { MetricSample } from './exposition.ts';

/** What counters grew by within a trailing window, over all targets that were scraped; sums by name and labels. */
export interface Increases {
  /** One scrape of one target. Instants never go back. */
  add(atMs: number, target: string, samples: readonly MetricSample[]): void;
  /** Increases seen within the window up to `nowMs`. */
  over(nowMs: number): readonly MetricSample[];
}

const keyOf = ({ name, labels }: MetricSample): string => `${name} ${JSON.stringify(Object.entries(labels).sort())}`;

/** A counter that falls has begun anew at zero; the first sight of a target is where its counting begins. */
export const createIncreases = (windowMs: number): Increases => {
  const last = new Map<string, ReadonlyMap<string, number>>();
  const grown: { readonly atMs: number; readonly samples: readonly MetricSample[] }[] = [];
  const forget = (nowMs: number): void => {
    while (grown[0] !== undefined && grown[0].atMs <= nowMs - windowMs) grown.shift();
  };
  return {
    add(atMs, target, samples) {
      const before = last.get(target);
      last.set(target, new Map(samples.map((sample) => [keyOf(sample), sample.value])));
      forget(atMs);
      if (before === undefined) return;
      const increases = samples.flatMap((sample) => {
        const earlier = before.get(keyOf(sample)) ?? 0;
        const value = sample.value >= earlier ? sample.value - earlier : sample.value;
        return value > 0 ? [{ ...sample, value }] : [];
      });
      if (increases.length > 0) grown.push({ atMs, samples: increases });
    },
    over(nowMs) {
      forget(nowMs);
      const sums = new Map<string, MetricSample>();
      for (const sample of grown.flatMap(({ samples }) => samples)) {
        const key = keyOf(sample);
        sums.set(key, { ...sample, value: (sums.get(key)?.value ?? 0) + sample.value });
      }
      return [...sums.values()];
    },
  };
};

/**
 * The value below which this share of a histogram lies, as Prometheus's `histogram_quantile` has it: evenly spread
 * within a bucket; the last finite bound for what lies beyond it. `undefined` of nothing.
 */
export const histogramQuantile = (
  share: number,
  buckets: readonly { readonly upTo: number; readonly count: number }[],
): number | undefined => {
  const sorted = buckets.toSorted((one, other) => one.upTo - other.upTo);
  const total = sorted.at(-1)?.count ?? 0;
  if (total <= 0) return undefined;
  const rank = share * total;
  let from = 0;
  let below = 0;
  for (const { upTo, count } of sorted) {
    if (count >= rank) {
      if (!Number.isFinite(upTo)) return from;
      return count === below ? upTo : from + ((upTo - from) * (rank - below)) / (count - below);
    }
    from = upTo;
    below = count;
  }
  return from;
};
