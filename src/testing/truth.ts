import type { Report } from '../report/model.ts';

/** What the oracle is told. `resolver` is `host:port`. */
export interface OracleConfig {
  readonly resolver: string;
  readonly host: string;
  readonly model: string;
  readonly everyMs: number;
  readonly timeoutMs: number;
  readonly file: string;
}

/** One request of the oracle, on the machine's monotonic clock. */
export interface OracleSample {
  readonly sentMs: number;
  readonly endedMs: number;
  readonly ok: boolean;
  readonly pod: string | null;
  readonly epoch: string | null;
}

/** Where the truth lies; the width is the oracle's own error. */
export interface Interval {
  readonly minMs: number;
  readonly maxMs: number;
}

/** One outage as the oracle saw it. Where answers flicker at an edge, the edge is as wide as the flicker. */
export interface TrueOutage {
  readonly down: Interval;
  readonly up: Interval;
  readonly lastsMs: Interval;
}

/** Failures of the oracle that lie further apart than this belong to different outages. */
const apartMs = 1000;
/** Fewer failures than this are strays, as they are for the rule that opens an outage. */
const failuresLeast = 10;

/**
 * An answer that took more than this share of the time-out is no sure success: to a client a little slower it is a
 * time-out. Where latency falls through the time-out as a platform recovers, that is where the edge lies.
 */
const surelyInTime = 0.9;

/**
 * Outages of the service as dense samples with this time-out show them; those that the samples do not see both ends of
 * are left out.
 */
export const trueOutages = (unsorted: readonly OracleSample[], timeoutMs: number): readonly TrueOutage[] => {
  const samples = unsorted.toSorted((a, b) => a.sentMs - b.sentMs);
  const isGood = ({ ok, sentMs, endedMs }: OracleSample): boolean => ok && endedMs - sentMs <= surelyInTime * timeoutMs;
  const doubtful = samples.flatMap((sample, index) => (isGood(sample) ? [] : [{ index, ...sample }]));
  const clusters: (typeof doubtful)[] = [];
  for (const one of doubtful) {
    const last = clusters.at(-1);
    if (last !== undefined && one.sentMs - (last.at(-1)?.sentMs ?? 0) <= apartMs) last.push(one);
    else clusters.push([one]);
  }
  return clusters
    .filter((cluster) => cluster.filter(({ ok }) => !ok).length >= failuresLeast)
    .flatMap((cluster) => {
      const first = cluster[0]?.index ?? 0;
      const last = cluster.at(-1)?.index ?? 0;
      const before = samples[first - 1]?.sentMs;
      const after = samples[last + 1]?.sentMs;
      if (before === undefined || after === undefined) return [];
      // The longest stretch of failures alone is where the service was down beyond doubt.
      let core = { from: first, to: first };
      let from = first;
      for (let index = first; index <= last; index += 1) {
        if (samples[index]?.ok) from = index + 1;
        else if (index - from > core.to - core.from || samples[core.from]?.ok) core = { from, to: index };
      }
      const down = { minMs: before, maxMs: samples[core.from]?.sentMs ?? before };
      const up = { minMs: samples[core.to]?.sentMs ?? after, maxMs: after };
      return [{ down, up, lastsMs: { minMs: up.minMs - down.maxMs, maxMs: up.maxMs - down.minMs } }];
    });
};

export const intersects = (one: Interval, other: Interval): boolean =>
  one.minMs <= other.maxMs && other.minMs <= one.maxMs;

const middle = ({ minMs, maxMs }: Interval): number => (minMs + maxMs) / 2;

/** One measured figure beside the truth. Real milliseconds. */
export interface Comparison {
  readonly what: string;
  readonly truth: Interval;
  readonly measured: { readonly estimateMs: number; readonly minMs: number; readonly maxMs: number };
  readonly contained: boolean;
  /** Estimate less the middle of the truth. */
  readonly errorMs: number;
}

export const compare = (what: string, truth: Interval, measured: Comparison['measured']): Comparison => ({
  what,
  truth,
  measured,
  contained: intersects(truth, measured),
  errorMs: measured.estimateMs - middle(truth),
});

/** What really happened in a run, as the lab's truth log and the oracle have it. */
export interface TrueRun {
  /** Location that the oracle asked from. */
  readonly location: string;
  readonly outages: readonly TrueOutage[];
  /** When the fault took effect, on the machine's clock. */
  readonly faultMs: number;
  /** Durations since then by the target that measures them. */
  readonly durations: Readonly<Record<string, Interval>>;
}

export interface RunComparison {
  readonly rows: readonly Comparison[];
  /** Outages that the report promised to find and has not, real milliseconds since the start of the run. */
  readonly missed: readonly Interval[];
  /** Outages of the report that the oracle knows nothing of. */
  readonly invented: readonly Interval[];
}

type Reported = { readonly minMs: number | null; readonly maxMs: number | null };

/** `null` bounds nothing. */
const open = ({ minMs, maxMs }: Reported): Interval => ({
  minMs: minMs ?? Number.NEGATIVE_INFINITY,
  maxMs: maxMs ?? Number.POSITIVE_INFINITY,
});

/** Several outages that a report has as one: it went down with the first and was up for good after the last. */
const joined = (outages: readonly TrueOutage[]): Interval | undefined => {
  const first = outages[0]?.down;
  const last = outages.at(-1)?.up;
  return first && last && { minMs: last.minMs - first.maxMs, maxMs: last.maxMs - first.minMs };
};

/** Outages of the oracle's location beside those that the report has for its required stream. */
const compareOutages = (report: Report, originMs: number, truth: TrueRun): RunComparison => {
  const measured = report.outages.filter((one) => one.required && one.location === truth.location);
  // What is shorter than the report's own floor is not promised to be found: a flicker of the oracle is no outage.
  const stream = report.streams.find((one) => one.required && one.location === truth.location);
  const floorMs = stream?.floor.outageMs ?? 0;
  const left = new Set(truth.outages);
  const rows: Comparison[] = [];
  const invented: Interval[] = [];
  for (const { startMs, client } of measured) {
    const downMs = startMs + originMs;
    const span = { minMs: downMs, maxMs: downMs + client.minMs };
    // A report joins what is shorter apart than a recovery takes to be confirmed: the truth is then all of it.
    const ofIt = truth.outages.filter(({ down, up }) => intersects(span, { minMs: down.minMs, maxMs: up.maxMs }));
    const lasts = joined(ofIt);
    if (lasts === undefined) invented.push({ minMs: startMs, maxMs: startMs + client.minMs });
    else rows.push(compare('outage of clients', lasts, { ...client, ...open(client) }));
    for (const one of ofIt) left.delete(one);
  }
  const missed = [...left]
    .filter(({ lastsMs }) => lastsMs.minMs >= floorMs)
    .map(({ down, up }) => ({ minMs: down.maxMs - originMs, maxMs: up.minMs - originMs }));
  return { rows, missed, invented };
};

/** Everything of a report whose truth is known, beside it. `originMs`: the run's start on the machine's clock. */
export const compareRun = (report: Report, originMs: number, truth: TrueRun): RunComparison => {
  const { rows, missed, invented } = compareOutages(report, originMs, truth);
  const narrowed = report.decomposition[0]?.instants.faultEffective ?? report.faults[0]?.effective;
  const effective: Comparison[] = [];
  if (narrowed !== undefined && narrowed !== null) {
    const span = open(narrowed);
    const atMs = truth.faultMs - originMs;
    const estimateMs = (span.minMs + span.maxMs) / 2;
    effective.push(compare('fault effective', { minMs: atMs, maxMs: atMs }, { ...span, estimateMs }));
  }
  const targets = report.targets.flatMap(({ id, real }) => {
    const lasts = truth.durations[id];
    return lasts === undefined || real === null ? [] : [compare(id, lasts, { ...real, ...open(real) })];
  });
  return { rows: [...effective, ...rows, ...targets], missed, invented };
};
