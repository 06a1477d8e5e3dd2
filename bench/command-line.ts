import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '../src/core/clock.ts';

/**
 * How long a person waits for `--help` and for `validate` on 100 files: whole processes, started as a user starts them.
 * Bounds: 200 ms and 1 s (design, "Numbers to hold"), judged on the median of runs after a first one that fills the
 * compile cache.
 */

const root = path.dirname(import.meta.dirname);
const launcher = path.join(root, 'bin', 'blackstart.mjs');
const filesCount = 100;

const takesMs = async (argv: readonly string[]): Promise<number> => {
  const startedMs = systemClock.monotonicMs();
  await promisify(execFile)(process.execPath, [launcher, ...argv], { cwd: root });
  return systemClock.monotonicMs() - startedMs;
};

const medianMs = async (argv: readonly string[], times: number): Promise<{ median: number; worst: number }> => {
  await takesMs(argv);
  const all: number[] = [];
  for (let time = 0; time < times; time += 1) all.push(await takesMs(argv));
  all.sort((left, right) => left - right);
  return { median: all[Math.floor(all.length / 2)] ?? 0, worst: all.at(-1) ?? 0 };
};

/** Copies of the shipped experiments and drills, a hundred in all. */
const manyFiles = async (folder: string): Promise<readonly string[]> => {
  const experiments = path.join(root, 'experiments');
  const drills = path.join(experiments, 'drills');
  const good = [
    ...(await readdir(experiments))
      .filter((name) => /^(?!targets).*\.yaml$/.test(name))
      .map((name) => path.join(experiments, name)),
    ...(await readdir(drills)).map((name) => path.join(drills, name)),
  ];
  const files: string[] = [];
  for (let index = 0; index < filesCount; index += 1) {
    const from = good[index % good.length] ?? '';
    const to = path.join(folder, `${index}.yaml`);
    await copyFile(from, to);
    files.push(to);
  }
  return files;
};

const folder = await mkdtemp(path.join(tmpdir(), 'blackstart-bench-'));
try {
  const help = await medianMs(['--help'], 15);
  const validate = await medianMs(['validate', ...(await manyFiles(folder))], 7);
  const row = (name: string, boundMs: number, { median, worst }: { median: number; worst: number }): void => {
    const verdict = median <= boundMs ? 'met' : 'missed';
    if (median > boundMs) process.exitCode = 1;
    process.stdout.write(
      `${name.padEnd(26)} median ${median.toFixed(0)} ms, worst ${worst.toFixed(0)} ms, bound ${boundMs} ms: ${verdict}\n`,
    );
  };
  row('--help', 200, help);
  row(`validate, ${filesCount} files`, 1000, validate);
} finally {
  await rm(folder, { recursive: true, force: true });
}
