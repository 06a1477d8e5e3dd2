import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import type { Clock } from './clock.ts';
import { BlackstartError } from './errors.ts';

const holderSchema = z.strictObject({
  role: z.enum(['run', 'watchdog', 'recover']),
  pid: z.int(),
  runId: z.string(),
  /** Folder of the run. */
  folder: z.string(),
  since: z.string(),
});
export type Holder = z.output<typeof holderSchema>;

export interface Lock {
  release(): void;
}

const stateFolder = (): string =>
  path.join(process.env['XDG_STATE_HOME'] ?? path.join(homedir(), '.local', 'state'), 'blackstart', 'locks');

const lockPath = (identity: string): string => {
  const digest = createHash('sha256').update(identity).digest('hex').slice(0, 16);
  return path.join(stateFolder(), digest);
};

/** A reader's glance at the lock must not look like a holder. */
const busyWaitMs = 200;

const isBusy = (error: unknown): boolean => error instanceof Error && /locked|busy/i.test(error.message);

/** Who holds the lock now, or who held it last; `undefined` when nobody ever did. */
export const readHolder = (identity: string): Holder | undefined => {
  try {
    return holderSchema.parse(JSON.parse(readFileSync(`${lockPath(identity)}.json`, 'utf8')));
  } catch {
    // Absent, half written or of an older version: the lock itself, not this note about it, decides who may work.
    return undefined;
  }
};

/**
 * Takes the exclusive lock of an environment, or returns `undefined` when another process has it. The lock is an
 * SQLite exclusive transaction, that is a file lock of the kernel: it ends with the process, `kill -9` included, so
 * there is no stale lock to judge.
 */
export const tryLock = (identity: string, holder: Holder): Lock | undefined => {
  const file = lockPath(identity);
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(`${file}.lock`, { timeout: busyWaitMs });
  try {
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (isBusy(error)) return undefined;
    throw error;
  }
  writeFileSync(`${file}.json`, JSON.stringify(holder), { mode: 0o600 });
  return { release: () => database.close() };
};

const lockedError = (identity: string): BlackstartError => {
  const holder = readHolder(identity);
  const who = holder === undefined ? 'another process' : `${holder.role} ${holder.runId} (pid ${holder.pid})`;
  return new BlackstartError(
    'LOCKED',
    `${who} is at work on this environment${holder === undefined ? '' : ` since ${holder.since}`}`,
    holder?.role === 'run'
      ? `Wait for it, or stop it with "blackstart abort ${holder.runId}".`
      : 'Wait for it to finish; "blackstart status" shows what it does.',
  );
};

/**
 * Takes the lock, waiting up to `waitMs` while something other than a run (a watchdog or another `recover`) holds it.
 * Throws LOCKED, naming the holder.
 */
export const acquireLock = async (
  clock: Clock,
  identity: string,
  holder: Holder,
  waitMs: number,
  signal: AbortSignal,
): Promise<Lock> => {
  const until = clock.monotonicMs() + waitMs;
  for (;;) {
    const lock = tryLock(identity, holder);
    if (lock !== undefined) return lock;
    if (readHolder(identity)?.role === 'run' || clock.monotonicMs() >= until) throw lockedError(identity);
    await clock.sleep(100, signal);
  }
};

/** The holder, if somebody holds the lock at this moment. */
export const currentHolder = (identity: string): Holder | undefined => {
  const file = lockPath(identity);
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(`${file}.lock`, { readOnly: true, timeout: 0 });
  } catch {
    // No lock file: nobody ever worked on this environment.
    return undefined;
  }
  try {
    database.prepare('SELECT count(*) FROM sqlite_master').get();
    return undefined;
  } catch (error) {
    if (isBusy(error)) return readHolder(identity);
    throw error;
  } finally {
    database.close();
  }
};
