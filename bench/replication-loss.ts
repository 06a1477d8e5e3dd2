import { type LossTrial, runLossTrial } from '../src/testing/ledger-trial.ts';

/*
 * Loss whose size is known: a PostgreSQL primary and a replica whose log is under way for 50, 200, 1000 and 3000 ms, 200
 * writes a second, kill -9 of every process of the primary, promotion of the replica. `node bench/replication-loss.ts
 * [delay…]` prints one line per delay; exits 1 when the count of what was lost is off by more than two writes, or the
 * delay is not in the bracket of the recovery point, or anything but the tail is missing.
 */
const delaysMs = process.argv.slice(2).map(Number);
const everyMs = 5;
const writeMs = 6000;
/** Writes, by the acknowledgements in the delay or by their rate; and what timers on a busy machine may be late. */
const lostOffMax = 2;
const lateMsMax = 20;

const print = (line: string): void => void process.stdout.write(`${line}\n`);
const text = (value: number): string => value.toFixed(1);

const isFine = ({
  lost,
  expected,
  expectedByRate,
  holes,
  resurrected,
  phantom,
  delayMs,
  handover: { rpo },
}: LossTrial): boolean =>
  Math.min(Math.abs(lost - expected), Math.abs(lost - expectedByRate)) <= lostOffMax &&
  holes + resurrected + phantom === 0 &&
  rpo.minMs - lateMsMax <= delayMs &&
  delayMs <= rpo.maxMs + lateMsMax;

print(`${1000 / everyMs} writes a second; real milliseconds`);
print('delay   acknowledged   lost   in the delay   by the rate   after the cut   recovery point   holes   cores');
let passed = true;
for (const delayMs of delaysMs.length > 0 ? delaysMs : [50, 200, 1000, 3000]) {
  const trial = await runLossTrial(delayMs, { everyMs, writeMs });
  const { acknowledged, lost, expected, expectedByRate, afterCut, holes, cpuCores, handover } = trial;
  const fine = isFine(trial);
  passed &&= fine;
  print(
    [
      String(delayMs).padStart(5),
      String(acknowledged).padStart(14),
      String(lost).padStart(6),
      String(expected).padStart(14),
      text(expectedByRate).padStart(14),
      String(afterCut).padStart(14),
      `[${text(handover.rpo.minMs)}, ${text(handover.rpo.maxMs)}]`.padStart(21),
      String(holes).padStart(6),
      cpuCores.toFixed(2).padStart(7),
      fine ? '' : '  OUT OF BOUNDS',
    ].join(''),
  );
}
print(passed ? 'within bounds' : 'OUT OF BOUNDS');
process.exitCode = passed ? 0 : 1;
