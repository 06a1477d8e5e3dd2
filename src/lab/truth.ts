import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { systemClock } from '../core/clock.ts';
import type { Truth } from './component.ts';

const truthFile = (stateDir: string): string => path.join(stateDir, 'truth.jsonl');

/**
 * Appends what was done, stamped now unless `detail.atMs` says when it was. One short write in append mode, so lines of
 * different processes never mix.
 */
export const appendTruth = (
  stateDir: string,
  event: string,
  subject: string,
  detail: Record<string, unknown> = {},
): void => {
  const truth: Truth = { atMs: systemClock.monotonicMs(), event, subject, ...detail };
  appendFileSync(truthFile(stateDir), `${JSON.stringify(truth)}\n`, { mode: 0o600 });
};

/** Everything the lab did so far, in the order it was written; a last line that is still being written is left out. */
export const readTruth = (stateDir: string): readonly Truth[] => {
  const file = truthFile(stateDir);
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  lines.pop();
  return lines.map((line): Truth => JSON.parse(line));
};
