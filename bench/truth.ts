import type { Comparison, Interval } from '../src/testing/truth.ts';
import { oracleEveryMs, startTrialLab, type TrialExperiment, type TrialRun } from '../src/testing/truth-trial.ts';

/*
 * Whole runs against the truth: `npm run bench -- truth`, or `node bench/truth.ts [runs] [experiment…]`. Each experiment
 * runs so many times at random phase by the command line on a lab, while an oracle asks ten times as often as the
 * probes. Prints one line per figure and a table; exits 1 when a bracket misses the truth, an outage is missed or
 * invented, or the estimate of an outage is off by more than one spacing and one latency.
 */
const experiments: readonly TrialExperiment[] = [
  { name: 'kill-llm-pod', timeScale: 20, location: 'us-west' },
  // A hung pod is found by time-outs: at a scale whose time-out floor does not hide them.
  { name: 'hang-llm-pod', timeScale: 5, location: 'us-west' },
  { name: 'blackhole-zone', timeScale: 20, location: 'us-west' },
  { name: 'partition-regions', timeScale: 20, location: 'us-east' },
];

const runs = Number(process.argv[2] ?? 20);
const names = process.argv.slice(3);
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const text = (ms: number): string => (Number.isFinite(ms) ? ms.toFixed(0) : '∞');
const spans = (some: readonly Interval[]): string =>
  [String(some.length), ...some.map(({ minMs, maxMs }) => `[${text(minMs)}, ${text(maxMs)}]`)].join(' ');
const lineOf = ({ what, truth, measured, contained, errorMs }: Comparison, late: boolean): string =>
  [
    what.padEnd(22),
    `truth [${text(truth.minMs)}, ${text(truth.maxMs)}]`.padEnd(26),
    `measured ${text(measured.estimateMs)} [${text(measured.minMs)}, ${text(measured.maxMs)}]`.padEnd(38),
    `error ${text(errorMs)}`,
    contained ? '' : 'MISSES THE TRUTH',
    late ? 'ESTIMATE OUT OF BOUNDS' : '',
  ].join('  ');

interface Tally {
  figures: number;
  contained: number;
  late: number;
  worstMs: number;
}
const tallies = new Map<string, Tally>();
let missed = 0;
let invented = 0;
let broken = 0;

const count = (experiment: string, comparison: Comparison, late: boolean): void => {
  const key = `${experiment} ${comparison.what}`;
  const tally = tallies.get(key) ?? { figures: 0, contained: 0, late: 0, worstMs: 0 };
  tally.figures += 1;
  if (comparison.contained) tally.contained += 1;
  if (late) tally.late += 1;
  tally.worstMs = Math.max(tally.worstMs, Math.abs(comparison.errorMs));
  tallies.set(key, tally);
};

const tell = (experiment: string, seed: number, run: TrialRun): void => {
  print(`${experiment} ${seed}: ${run.report.verdict}, ${spans(run.missed)} missed, ${spans(run.invented)} invented`);
  missed += run.missed.length;
  invented += run.invented.length;
  for (const row of run.rows) {
    const late = row.what === 'outage of clients' && Math.abs(row.errorMs) > run.errorMaxMs(row.truth);
    print(`  ${lineOf(row, late)}`);
    count(experiment, row, late);
  }
};

print(`${runs} runs of each, oracle every ${oracleEveryMs} ms; real milliseconds`);
for (const experiment of experiments.filter(({ name }) => names.length === 0 || names.includes(name))) {
  const lab = await startTrialLab(experiment);
  try {
    for (let seed = 1; seed <= runs; seed += 1) {
      try {
        tell(experiment.name, seed, await lab.run(seed));
      } catch (error) {
        broken += 1;
        print(`${experiment.name} ${seed}: ${error instanceof Error ? error.message : error}`);
      }
    }
  } finally {
    await lab.down();
  }
}
print('');
print('figure                                     compared  contained  out of bounds  worst error');
for (const [key, { figures, contained, late, worstMs }] of tallies) {
  print(
    `${key.padEnd(42)} ${String(figures).padStart(8)} ${String(contained).padStart(10)} ${String(late).padStart(14)} ` +
      `${text(worstMs).padStart(9)} ms`,
  );
}
print(`${missed} outages missed, ${invented} invented, ${broken} runs without a report`);
const fine = [...tallies.values()].every((tally) => tally.contained === tally.figures && tally.late === 0);
const passed = fine && missed + invented + broken === 0 && tallies.size > 0;
print(passed ? 'within bounds' : 'OUT OF BOUNDS');
process.exitCode = passed ? 0 : 1;
