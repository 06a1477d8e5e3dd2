import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Environment } from '../core/environment.ts';
import { BlackstartError, isBlackstartError, isFileMissing, messageOf } from '../core/errors.ts';
import { type JournalEvent, outstanding, readJournal } from '../core/journal.ts';
import { nearestName } from '../core/nearest.ts';
import { journalFile, startOf } from '../experiments/recover.ts';
import { reportsFolder } from '../experiments/run-folder.ts';

export interface ListedRun {
  readonly runId: string;
  readonly folder: string;
  /** What can be said of it from its journal, on one line. */
  readonly text: string;
  readonly outstanding: number;
}

const describeRun = (events: readonly JournalEvent[]): string => {
  const started = startOf(events);
  if (started === undefined) return 'its journal does not say what it was';
  const end = events.findLast((event) => event.type === 'run.ended');
  const ended = end?.type === 'run.ended' ? end.reason : 'going on, or killed';
  const left = outstanding(events).length;
  const rest = left === 0 ? '' : `, ${left} not put back`;
  return `${started.kind} ${started.name} on ${started.environment}, ${started.at.slice(0, 16)}Z, ${ended}${rest}`;
};

/** Every run of the reports folder, newest first. */
export const listRuns = async (): Promise<readonly ListedRun[]> => {
  const reports = reportsFolder();
  const entries = await readdir(reports, { withFileTypes: true }).catch((error: unknown) => {
    if (isFileMissing(error)) return [];
    throw error;
  });
  const names = entries
    .flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
    .sort()
    .reverse();
  const runs: ListedRun[] = [];
  for (const runId of names) {
    const folder = path.join(reports, runId);
    try {
      const events = await readJournal(journalFile(folder));
      runs.push({ runId, folder, text: describeRun(events), outstanding: outstanding(events).length });
    } catch (error) {
      if (isFileMissing(error)) continue;
      if (!isBlackstartError(error)) throw error;
      runs.push({ runId, folder, text: messageOf(error), outstanding: 0 });
    }
  }
  return runs;
};

/** A run by its id, a unique beginning of it, its folder, or `last`. Throws USAGE. */
export const findRun = async (wanted: string): Promise<ListedRun> => {
  const runs = await listRuns();
  const asFolder = path.resolve(wanted);
  const exact = wanted === 'last' ? runs[0] : runs.find((run) => run.runId === wanted || run.folder === asFolder);
  if (exact !== undefined) return exact;
  const beginning = runs.filter((run) => run.runId.startsWith(wanted));
  const [only] = beginning;
  if (only !== undefined && beginning.length === 1) return only;
  if (wanted.includes('/')) {
    const folder = path.resolve(wanted);
    const events = await readJournal(journalFile(folder)).catch((error: unknown) => {
      if (isFileMissing(error)) return undefined;
      throw error;
    });
    if (events !== undefined) {
      const left = outstanding(events).length;
      return {
        runId: startOf(events)?.runId ?? path.basename(folder),
        folder,
        text: describeRun(events),
        outstanding: left,
      };
    }
  }
  const ids = runs.map((run) => run.runId);
  const near = nearestName(wanted, ids);
  throw new BlackstartError(
    'USAGE',
    beginning.length > 1
      ? `"${wanted}" is the beginning of ${beginning.length} runs`
      : `there is no run "${wanted}" in ${reportsFolder()}${near === undefined ? '' : `; did you mean "${near}"?`}`,
    ids.length === 0 ? 'No run has been made here yet.' : `The newest is ${ids[0]}; "blackstart list runs" shows all.`,
  );
};

/** The environment as it was when a run began: its file may have changed, or be gone, since. */
export const environmentOfRun = async (folder: string): Promise<Environment> => {
  const started = startOf(await readJournal(journalFile(folder)));
  if (started === undefined) {
    throw new BlackstartError(
      'CORRUPT',
      `${journalFile(folder)} does not say which environment it was`,
      'Use "blackstart recover --discover --env <environment>": it finds what is left by its tags.',
    );
  }
  // Written by us from a checked environment, its durations already in milliseconds.
  return started.documents.environment as unknown as Environment;
};
