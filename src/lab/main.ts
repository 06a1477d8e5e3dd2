import { readFileSync } from 'node:fs';
import { systemClock } from '../core/clock.ts';
import { stopGraceMs } from './component.ts';
import { components } from './components.ts';
import type { LabLayout } from './layout.ts';
import { appendTruth } from './truth.ts';

/**
 * The main module of every component: `main.ts <kind> <layoutFile> key=value…`. Prints `{"ready":{…}}` once it serves.
 * Ends on SIGTERM and when standard input ends, which it does when the parent is gone, however that came about.
 */
const optionsOf = (words: readonly string[]): Record<string, string> =>
  Object.fromEntries(
    words.map((word): [string, string] => {
      const at = word.indexOf('=');
      return at < 0 ? [word, ''] : [word.slice(0, at), word.slice(at + 1)];
    }),
  );

const log = (line: string): void => {
  process.stderr.write(`${new Date(systemClock.nowMs()).toISOString()} ${line}\n`);
};

const stopWork: (() => Promise<void>)[] = [];
const controller = new AbortController();

const stop = (reason: string): void => {
  if (controller.signal.aborted) return;
  log(`stopping: ${reason}`);
  setTimeout(() => process.exit(1), stopGraceMs);
  controller.abort(new Error(reason));
  const works = stopWork
    .toReversed()
    .map((work) =>
      work().catch((error: unknown) => log(`could not stop cleanly: ${error instanceof Error ? error.stack : error}`)),
    );
  Promise.all(works).then(() => process.exit(0));
};

const main = async ([kind = '', layoutFile = '', ...words]: readonly string[]): Promise<void> => {
  const load = components[kind];
  if (load === undefined) throw new Error(`the lab has no component "${kind}"`);
  const layout: LabLayout = JSON.parse(readFileSync(layoutFile, 'utf8'));
  const { component } = await load();
  const ready = await component.start({
    layout,
    options: optionsOf(words),
    signal: controller.signal,
    log,
    truth: (event, subject, detail) => appendTruth(layout.stateDir, event, subject, detail),
    onStop: (work) => stopWork.push(work),
  });
  if (!controller.signal.aborted) process.stdout.write(`${JSON.stringify({ ready })}\n`);
};

process.stdin.on('end', () => stop('the parent is gone'));
process.stdin.on('error', () => stop('the parent is gone'));
process.stdin.resume();
process.stdout.on('error', () => stop('the parent is gone'));
for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => stop(name));

main(process.argv.slice(2)).catch((error: unknown) => {
  log(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exit(70);
});
