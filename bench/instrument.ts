import { randomFrom } from '../src/experiments/plan.ts';
import { waysToBreak } from '../src/testing/breakable.ts';
import { runTrial } from '../src/testing/instrument-trial.ts';

/*
 * The instrument against known truth: one server, broken sixteen times in four ways, watched as `observe` watches it.
 * `node bench/instrument.ts [seed] [fresh|kept]` prints one line per break and exits 1 when a figure is out of bounds.
 */
const seed = Number(process.argv[2] ?? Math.floor(Math.random() * 1e9));
const connection = process.argv[3] === 'kept' ? 'kept' : 'fresh';
const errorMaxMs = 105;
const random = randomFrom(seed);
const ways = Array.from({ length: 4 }, () => waysToBreak)
  .flat()
  .map((way) => ({ way, order: random() }))
  .sort((one, other) => one.order - other.order)
  .map(({ way }) => way);

const print = (line: string): void => void process.stdout.write(`${line}\n`);
print(`seed ${seed}, ${connection} connections, every 100 ms, time-out 1 s; milliseconds`);
const trial = await runTrial({
  ways,
  everyMs: 100,
  timeoutMs: 1000,
  connection,
  lastsMs: { minMs: 1500, maxMs: 5000 },
  apartMs: { minMs: 4500, maxMs: 9000 },
  random,
});
print('way     truth   estimate  error   interruption bracket   client bracket   kind');
const text = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(0));
for (const row of trial.rows) {
  const bracket = (one: typeof row.client): string => `[${text(one?.minMs)}, ${text(one?.maxMs)}]`;
  print(
    [
      row.way.padEnd(7),
      text(row.truthMs).padStart(6),
      text(row.interruption?.estimateMs).padStart(9),
      text(row.errorMs ?? undefined).padStart(7),
      `${bracket(row.interruption)}${row.contained ? '' : ' MISSES THE TRUTH'}`.padEnd(20),
      bracket(row.client).padEnd(16),
      row.kind ?? 'MISSED',
    ].join('  '),
  );
}
const worstMs = Math.max(...trial.rows.map((row) => Math.abs(row.errorMs ?? Number.POSITIVE_INFINITY)));
const outside = trial.rows.filter((row) => !row.contained).length;
const { instrument, blind } = trial.record;
const blindMs = blind.reduce((total, one) => total + one.toMs - one.fromMs, 0);
print(
  `${trial.missed} missed, ${trial.invented} invented, worst error ${worstMs.toFixed(0)} ms (allowed ${errorMaxMs}), ` +
    `${outside} brackets without the truth`,
);
print(
  `send lag max ${Math.max(...instrument.map((one) => one.sendLagMaxMs)).toFixed(1)} ms, blind ${blindMs.toFixed(0)} ms ` +
    `in ${blind.length} stretches, dropped ${instrument.reduce((total, one) => total + one.dropped, 0)}`,
);
const passed = trial.missed === 0 && trial.invented === 0 && outside === 0 && worstMs <= errorMaxMs;
print(passed ? 'within bounds' : 'OUT OF BOUNDS');
process.exitCode = passed ? 0 : 1;
