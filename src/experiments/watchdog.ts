import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Clock, deadline, poll } from '../core/clock.ts';
import { BlackstartError } from '../core/errors.ts';
import { type Armed, type Journal, outstanding, readJournal } from '../core/journal.ts';
import { readHolder, tryLock } from '../core/lock.ts';
import type { RevertOutcome } from '../core/undo.ts';
import { journalFile, recoverRun } from './recover.ts';
import type { Session } from './reverter.ts';

const lookEveryMs = 250;
const readyWithinMs = 15_000;
/** A run that has not reverted this long after its faults' expiry is stuck. */
const stuckAfterMs = 15_000;

const readyFile = (folder: string): string => path.join(folder, 'watchdog.pid');

/**
 * Starts the watchdog of a run: a process of its own session that outlives the run, waits for the environment's lock to
 * fall free and puts back what the journal says is outstanding. Resolves with its pid once it watches.
 */
export const startWatchdog = async (
  clock: Clock,
  folder: string,
  launcher: string,
  signal: AbortSignal,
): Promise<number> => {
  const log = openSync(path.join(folder, 'watchdog.log'), 'a', 0o600);
  const child = spawn(process.execPath, [launcher, 'watchdog', folder], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.unref();
  const reason = new BlackstartError(
    'INJECT_FAILED',
    'the watchdog did not start, so nothing was injected',
    `See ${path.join(folder, 'watchdog.log')}.`,
  );
  const limit = deadline(clock, readyWithinMs, reason, signal);
  try {
    return await poll(clock, 50, limit.signal, async () => {
      const text = await readFile(readyFile(folder), 'utf8').catch(() => '');
      return text === '' ? undefined : Number(text);
    });
  } finally {
    limit.dispose();
  }
};

/** The watchdog's own loop. Returns what it had to put back, or `undefined` when the run had done it all itself. */
export const watch = async (
  session: Session,
  folder: string,
  runId: string,
  log: (line: string) => void,
  afterwards?: (journal: Journal) => Promise<void>,
): Promise<RevertOutcome | undefined> => {
  const { clock, identity } = session;
  await writeFile(readyFile(folder), String(process.pid), { mode: 0o600 });
  // Bounded by the run: its lock falls free when it ends, and past the expiry this process ends a run that hangs.
  const forever = new AbortController().signal;
  const lock = await poll(clock, lookEveryMs, forever, async () => {
    const taken = tryLock(identity, {
      role: 'watchdog',
      pid: process.pid,
      runId,
      folder,
      since: new Date(clock.nowMs()).toISOString(),
    });
    if (taken !== undefined) return taken;
    if (await hasEndedClean(folder)) return null;
    await stopStuckRun(session, folder, runId, log);
    return undefined;
  });
  if (lock === null) return undefined;
  if (await hasEndedClean(folder)) {
    lock.release();
    return undefined;
  }
  log(`run ${runId} is gone before its end: putting back what it left`);
  return await recoverRun(session, {
    folder,
    runId,
    role: 'watchdog',
    waitMs: 0,
    signal: forever,
    lock,
    onProgress: ({ target, state }) => log(`${target}: ${state}`),
    ...(afterwards === undefined ? {} : { afterwards }),
  });
};

/** The run is over and put everything back itself; the lock may already be the next run's. */
const hasEndedClean = async (folder: string): Promise<boolean> => {
  const events = await readJournal(journalFile(folder));
  return events.some((event) => event.type === 'run.ended') && outstanding(events).length === 0;
};

/**
 * When what is armed must be back: at its expiry, and where the platform then takes its time to heal, after that. Real.
 */
export const dueBackMs = (
  { faults, timeScale }: Pick<Session, 'faults' | 'timeScale'>,
  left: readonly Pick<Armed, 'fault' | 'expiresAtMs'>[],
): number =>
  Math.max(
    ...left.map(({ fault, expiresAtMs }) => {
      const { wayBackMs = 0 } = faults.find(({ name }) => name === fault) ?? {};
      return expiresAtMs + wayBackMs / timeScale;
    }),
  );

/** Past the time at which all it armed must be back, a run that still holds the lock is stuck: it is ended. */
const stopStuckRun = async (
  session: Session,
  folder: string,
  runId: string,
  log: (line: string) => void,
): Promise<void> => {
  const { clock, identity } = session;
  const holder = readHolder(identity);
  if (holder?.role !== 'run' || holder.runId !== runId) return;
  const left = outstanding(await readJournal(journalFile(folder)));
  if (left.length === 0) return;
  if (clock.monotonicMs() < dueBackMs(session, left) + stuckAfterMs) return;
  log(`run ${runId} (pid ${holder.pid}) is stuck past its expiry: ending it`);
  process.kill(holder.pid, 'SIGKILL');
};
