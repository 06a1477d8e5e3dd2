import { randomFrom } from '../src/experiments/plan.ts';
import { type LabCli, startLabCli } from '../src/testing/lab-cli.ts';
import {
  drillFile,
  drillPhases,
  faultNames,
  interruptIn,
  killAndRecover,
  killToWatchdog,
  type Outcome,
  runFile,
  runPhases,
} from '../src/testing/survival.ts';

/**
 * Whether anything is left when a run or a drill is ended by force: by Ctrl-C in every phase, by SIGKILL with a watchdog,
 * and by SIGKILL of everything at random instants with "recover" after it. The whole lab, the real command line. Bound:
 * no residue. `node bench/survival.ts drill/promote` does what the name begins with alone.
 */

const timeScale = 20;
const instants = 20;
const seed = Number(process.env['BLACKSTART_BENCH_SEED'] ?? 1);

interface Case {
  readonly name: string;
  readonly code: number | null;
  run(lab: LabCli): Promise<Outcome>;
}

const files = (lab: LabCli) => ({
  short: lab.write('run.yaml', runFile({ holds: '20s', atMost: '20m' })),
  drill: lab.write('drill.yaml', drillFile),
});

const cases = (): readonly Case[] => {
  const random = randomFrom(seed);
  const at = (fromMs: number, toMs: number): number => fromMs + random() * (toMs - fromMs);
  return [
    ...runPhases.map((phase) => ({
      name: `run/${phase}`,
      code: 130,
      run: (lab: LabCli) => interruptIn(lab, files(lab).short, phase),
    })),
    ...drillPhases.map((phase) => ({
      name: `drill/${phase}`,
      code: 130,
      run: (lab: LabCli) => interruptIn(lab, files(lab).drill, phase),
    })),
    // At its beginning a step has changed nothing yet; a little later its change is under way.
    ...['inject', 'fault', 'revert'].map((phase) => ({
      name: `later/run/${phase}`,
      code: 130,
      run: (lab: LabCli) => interruptIn(lab, files(lab).short, phase, at(40, 200)),
    })),
    ...['inject', 'promote', 'point-database', 'resync', 'shift-traffic', 'fail-back'].map((phase) => ({
      name: `later/drill/${phase}`,
      code: 130,
      run: (lab: LabCli) => interruptIn(lab, files(lab).drill, phase, at(40, 1000)),
    })),
    ...['inject', 'fault', 'revert'].map((phase) => ({
      name: `watchdog/run/${phase}`,
      code: null,
      run: (lab: LabCli) => killToWatchdog(lab, files(lab).short, phase),
    })),
    ...['inject', 'promote', 'point-database', 'resync', 'shift-traffic', 'fail-back'].map((phase) => ({
      name: `watchdog/drill/${phase}`,
      code: null,
      run: (lab: LabCli) => killToWatchdog(lab, files(lab).drill, phase, 200),
    })),
    ...faultNames.flatMap((fault) => {
      const afterMs = at(100, 1500);
      const file = (lab: LabCli): string => lab.write('fault.yaml', runFile({ fault, holds: '10m', atMost: '30m' }));
      return [
        { name: `fault/${fault}`, code: 0, run: (lab: LabCli) => killAndRecover(lab, file(lab), afterMs) },
        {
          name: `fault-watchdog/${fault}`,
          code: null,
          run: (lab: LabCli) => killToWatchdog(lab, file(lab), 'fault', 300),
        },
      ];
    }),
    ...Array.from({ length: instants }, (_, index) => {
      const afterMs = at(0, 2500);
      return {
        name: `random/run/${String(index + 1).padStart(2, '0')}`,
        code: 0,
        run: (lab: LabCli) => killAndRecover(lab, files(lab).short, afterMs),
      };
    }),
    ...Array.from({ length: instants }, (_, index) => {
      const afterMs = at(0, 30_000);
      return {
        name: `random/drill/${String(index + 1).padStart(2, '0')}`,
        code: 0,
        run: (lab: LabCli) => killAndRecover(lab, files(lab).drill, afterMs),
      };
    }),
  ];
};

const seconds = (durationMs: number): string => `${(durationMs / 1000).toFixed(1)} s`;

const wanted = process.argv.slice(2);
const chosen = cases().filter(({ name }) => wanted.length === 0 || wanted.some((prefix) => name.startsWith(prefix)));
// Ctrl-C ends it after the case that runs: the lab must not stay behind.
let isStopping = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    isStopping = true;
  });
}
const lab = await startLabCli(timeScale);
try {
  for (const { name, code, run } of chosen) {
    if (isStopping) break;
    const outcome = await run(lab);
    const isGood = outcome.code === code && outcome.residue.length === 0;
    if (!isGood) process.exitCode = 1;
    process.stdout.write(
      `${name.padEnd(42)} ${outcome.what.padEnd(60)} exit ${outcome.code ?? 'by signal'}, back after ` +
        `${seconds(outcome.backMs)}, whole after ${seconds(outcome.wholeMs)}, residue ${outcome.residue.length}: ` +
        `${isGood ? 'met' : 'missed'}\n`,
    );
    for (const one of outcome.residue) process.stdout.write(`    ${one}\n`);
    if (!isGood) process.stdout.write(`${outcome.notes.split('\n').slice(-25).join('\n')}\n`);
  }
} finally {
  await lab.down();
}
