import { analyse } from '../src/analysis/analyse.ts';
import type { RunRecord } from '../src/analysis/record.ts';
import { analyseStream } from '../src/analysis/stream.ts';
import { singleLook } from '../src/analysis/window.ts';
import {
  clientTruthMs,
  type Down,
  type FailureKind,
  seeded,
  simulate,
  streamOf,
} from '../src/testing/simulated-probes.ts';

/*
 * The estimator against known truth in virtual time, and what the analysis of many samples costs.
 * `node bench/analysis.ts [trials] [samples]`: signed error of the interruption estimate per setting, the share of
 * brackets that hold the truth, and seconds and megabytes for that many samples. Exits 1 when a bracket misses.
 */
const trials = Number(process.argv[2] ?? 20_000);
const sampleCount = Number(process.argv[3] ?? 1_000_000);
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const kinds: readonly FailureKind[] = ['crash', 'hang', 'freeze', 'error'];
const settings = [
  [50, 400],
  [100, 1000],
  [100, 5000],
  [1000, 1000],
] as const;
const window = singleLook({ probes: 40, toleratedBad: 0, toleratedLate: 0 });
const epsilonMs = 1e-6;

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN;

const trialOf = (kind: FailureKind, everyMs: number, timeoutMs: number, seed: number) => {
  const random = seeded(seed);
  const stream = streamOf({ everyMs, timeoutMs, slowAfterMs: timeoutMs });
  const leastMs = Math.max(300, 4 * everyMs) + (kind === 'freeze' ? timeoutMs : 0);
  const fromMs = 30 * everyMs + random() * everyMs;
  const down: Down = { kind, fromMs, toMs: fromMs + leastMs + random() * 100 * everyMs };
  const halfMs = 1 + random() * 5;
  const jitterMs = random() * 20;
  const toMs = down.toMs + 60 * everyMs + timeoutMs;
  const samples = simulate({ stream, fromMs: 0, toMs, downs: [down], halfMs, jitterMs, strays: 0, stalls: [], random });
  const { outages } = analyseStream(samples, [], stream, { window });
  const truthMs = down.toMs - down.fromMs;
  const [outage] = outages;
  const looseMs = kind === 'freeze' ? jitterMs : 0;
  const clientMs = clientTruthMs(down, stream, halfMs);
  const holds = (
    one: { readonly minMs: number; readonly maxMs: number } | undefined,
    truth: number,
    loose: number,
  ): boolean => one !== undefined && one.minMs <= truth + loose + epsilonMs && truth <= one.maxMs + epsilonMs;
  return {
    opened: outages.length === 1,
    errorMs: (outage?.interruption.estimateMs ?? Number.NaN) - truthMs,
    holds: holds(outage?.interruption, truthMs, 0) && holds(outage?.client, clientMs, looseMs),
  };
};

print(`${trials} outages for each setting; signed error of the interruption estimate in milliseconds`);
print('kind    spacing  time-out   opened  brackets hold     p1    p50    p99');
let missed = 0;
for (const kind of kinds) {
  for (const [everyMs, timeoutMs] of settings) {
    const rows = Array.from({ length: trials }, (_, index) => trialOf(kind, everyMs, timeoutMs, index + 1));
    const errors = rows.map(({ errorMs }) => errorMs).sort((a, b) => a - b);
    const held = rows.filter(({ holds }) => holds).length;
    const opened = rows.filter((row) => row.opened).length;
    missed += 2 * trials - held - opened;
    print(
      [
        kind.padEnd(6),
        String(everyMs).padStart(8),
        String(timeoutMs).padStart(9),
        `${((opened / trials) * 100).toFixed(2)} %`.padStart(9),
        `${((held / trials) * 100).toFixed(2)} %`.padStart(14),
        ...[0.01, 0.5, 0.99].map((share) => at(errors, share).toFixed(0).padStart(6)),
      ].join(' '),
    );
  }
}

/** A run of ten streams with one outage in the middle. */
const largeRecord = (count: number): RunRecord => {
  const toMs = (count / 10) * 100;
  const streams = Array.from({ length: 10 }, (_, index) =>
    streamOf({ stream: `chat/location-${index}/fresh`, location: `location-${index}` }),
  );
  const downs: readonly Down[] = [{ kind: 'crash', fromMs: toMs / 2, toMs: toMs / 2 + 60_000 }];
  return {
    run: {
      id: 'bench',
      name: 'bench',
      title: 'bench',
      environment: 'bench',
      timeScale: 1,
      seed: 1,
      startedAt: '2026-01-01T00:00:00.000Z',
      originMs: 0,
      versions: {},
    },
    streams,
    samples: new Map(
      streams.map((stream, index) => [
        stream.stream,
        simulate({
          stream,
          fromMs: 0,
          toMs,
          downs,
          halfMs: 5,
          jitterMs: 10,
          strays: 0.0005,
          stalls: [],
          random: seeded(index),
        }),
      ]),
    ),
    blind: [],
    instrument: [],
    ledgers: new Map(),
    observations: [],
    faults: [
      {
        fault: 'zone.blackhole',
        target: 'zone/a',
        effective: { minMs: toMs / 2 - 100, maxMs: toMs / 2 + 500 },
        reverted: { minMs: toMs / 2 + 200_000, maxMs: toMs / 2 + 200_500 },
      },
    ],
    phases: [{ name: 'baseline', startMs: 0, endMs: toMs / 2 - 1000 }],
    undo: { armed: 1, reverted: 1, outstanding: [] },
    targets: [{ id: 'rto', promise: '', text: '', source: '', measure: 'outage', with: {}, maxMs: 120_000 }],
    facts: {},
    ended: { reason: 'finished', message: null },
  };
};

const record = largeRecord(sampleCount);
const beforeBytes = process.memoryUsage().rss;
const startNs = process.hrtime.bigint();
const report = analyse(record);
const seconds = Number(process.hrtime.bigint() - startNs) / 1e9;
const moreMegabytes = (process.memoryUsage().rss - beforeBytes) / 1e6;
print(
  `${sampleCount} samples analysed in ${seconds.toFixed(2)} s, ${moreMegabytes.toFixed(0)} MB beside the samples: ` +
    report.verdict,
);
print(missed === 0 ? 'within bounds' : `OUT OF BOUNDS: ${missed} outages or brackets missed`);
process.exitCode = missed === 0 ? 0 : 1;
