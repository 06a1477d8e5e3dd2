import { mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { isFileMissing, messageOf } from '../core/errors.ts';
import { type Journal, type JournalEvent, openJournal, outstanding, readJournal } from '../core/journal.ts';
import { acquireLock, type Lock } from '../core/lock.ts';
import { type RevertOutcome, revertAll, type UndoDependencies } from '../core/undo.ts';
import { faultContext, type Session, undoDependencies } from './reverter.ts';

export const journalFile = (folder: string): string => path.join(folder, 'journal.jsonl');

export interface UnfinishedRun {
  readonly folder: string;
  readonly runId: string;
  readonly outstanding: number;
  readonly started: Extract<JournalEvent, { type: 'run.started' }>;
}

/** The first event of a journal, which says what the run is; `undefined` when a crash left not even that. */
export const startOf = (
  events: readonly JournalEvent[],
): Extract<JournalEvent, { type: 'run.started' }> | undefined => {
  const [first] = events;
  return first?.type === 'run.started' ? first : undefined;
};

/** Runs in `reportsFolder` that still have something to put back, newest first. */
export const unfinishedRuns = async (reportsFolder: string): Promise<readonly UnfinishedRun[]> => {
  const names = await readdir(reportsFolder).catch((error: unknown) => {
    if (isFileMissing(error)) return [];
    throw error;
  });
  const runs: UnfinishedRun[] = [];
  for (const name of names.sort().reverse()) {
    const folder = path.join(reportsFolder, name);
    const hasJournal = await stat(journalFile(folder)).then(
      () => true,
      () => false,
    );
    if (!hasJournal) continue;
    const events = await readJournal(journalFile(folder));
    const started = startOf(events);
    const count = outstanding(events).length;
    if (started !== undefined && count > 0) runs.push({ folder, runId: started.runId, outstanding: count, started });
  }
  return runs;
};

interface RecoverOptions {
  readonly folder: string;
  readonly runId: string;
  readonly role: 'recover' | 'watchdog';
  /** How long to wait while somebody else (a watchdog) is mending the same environment. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: UndoDependencies['onProgress'];
  /** Already held by the caller; otherwise taken and released here. */
  readonly lock?: Lock;
  /** What the run had still to do when everything is back; it must not fail for what is no longer there. */
  readonly afterwards?: (journal: Journal) => Promise<void>;
}

const withLock = async <T>(session: Session, options: RecoverOptions, body: () => Promise<T>): Promise<T> => {
  const lock =
    options.lock ??
    (await acquireLock(
      session.clock,
      session.identity,
      {
        role: options.role,
        pid: process.pid,
        runId: options.runId,
        folder: options.folder,
        since: new Date(session.clock.nowMs()).toISOString(),
      },
      options.waitMs,
      options.signal,
    ));
  try {
    return await body();
  } finally {
    lock.release();
  }
};

/** Puts back what a run left, from its journal alone. Idempotent. Throws LOCKED while the run itself is alive. */
export const recoverRun = async (session: Session, options: RecoverOptions): Promise<RevertOutcome> =>
  await withLock(session, options, async () => {
    const journal = await openJournal(journalFile(options.folder), session.clock);
    try {
      const left = outstanding(await readJournal(journal.file));
      await journal.append({ type: 'process.opened', role: options.role, pid: process.pid });
      const outcome = await revertAll(undoDependencies(session, options.runId, journal, options.onProgress), left);
      await options.afterwards?.(journal);
      return outcome;
    } finally {
      await journal.close();
    }
  });

/** What was found without a journal and put back, and what could not even be looked for. */
export interface Discovered {
  readonly outcome: RevertOutcome;
  /** Fault and reason, for each whose remains nobody could look for. */
  readonly unseen: readonly string[];
}

/**
 * Puts back what runs left whose journal is gone, found by the run-id tags and labels on the resources themselves. What
 * it finds is first written to a journal of its own. A part of the platform that does not answer keeps no other part
 * from being mended.
 */
export const recoverByDiscovery = async (
  session: Session,
  options: Omit<RecoverOptions, 'runId' | 'afterwards'> & {
    readonly runId: string;
    readonly ofRun: string | undefined;
  },
): Promise<Discovered> =>
  await withLock(session, options, async () => {
    await mkdir(options.folder, { recursive: true });
    const journal = await openJournal(journalFile(options.folder), session.clock);
    const unseen: string[] = [];
    try {
      await journal.append({ type: 'process.opened', role: options.role, pid: process.pid });
      for (const fault of session.faults) {
        try {
          const found = await fault.discover(options.ofRun, faultContext(session, options.runId, options.signal));
          for (const [index, undo] of found.entries()) await armFound(journal, fault.name, index, undo);
        } catch (error) {
          if (options.signal.aborted) throw error;
          unseen.push(`${fault.name}: ${messageOf(error)}`);
        }
      }
      const left = outstanding(await readJournal(journal.file));
      const outcome = await revertAll(undoDependencies(session, options.runId, journal, options.onProgress), left);
      return { outcome, unseen };
    } finally {
      await journal.close();
    }
  });

const armFound = async (journal: Journal, fault: string, index: number, undo: unknown): Promise<void> => {
  await journal.append({
    type: 'undo.armed',
    undoId: `${fault}-discovered-${index}`,
    fault,
    target: `${fault} found by its tags`,
    undo: JSON.parse(JSON.stringify(undo)),
    expiresAtMs: 0,
  });
};
