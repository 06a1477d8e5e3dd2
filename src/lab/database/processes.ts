import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { systemClock } from '../../core/clock.ts';

const run = promisify(execFile);

/** Sends a signal; false when there is no such process any more. */
export const signalProcess = (pid: number, signal: NodeJS.Signals | 0): boolean => {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
};

const childrenFromTable = async (pid: number): Promise<readonly number[]> => {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid='], { timeout: 5000, maxBuffer: 16 * 1024 * 1024 });
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child ?? 0);
};

/** Process ids of the direct children. */
export const childrenOf = async (pid: number): Promise<readonly number[]> => {
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  } catch {
    // Not every system keeps this file; the process table says the same, more slowly.
    return await childrenFromTable(pid);
  }
  return text.split(' ').filter(Boolean).map(Number);
};

/** A process that is dead but not yet collected by its new parent runs nothing any more. */
const isRunning = async (pid: number): Promise<boolean> => {
  if (!signalProcess(pid, 0)) return false;
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    return !['Z', 'X'].includes(stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3));
  } catch {
    // No such file here, or gone between the two looks: the signal's answer decides.
    return signalProcess(pid, 0);
  }
};

const goneWithinMs = 2000;

/**
 * Kills a PostgreSQL server so that nothing of it can acknowledge anything any more. Every backend leads a process
 * group of its own, so a signal to the group reaches the postmaster alone, and a backend outlives its postmaster until
 * it next waits. Hence: stop the postmaster (it starts nobody new), kill its children, kill it, and see that they are
 * gone. Returns the instant from which on nothing ran.
 */
export const killServer = async (postmaster: number): Promise<number> => {
  signalProcess(postmaster, 'SIGSTOP');
  const children = await childrenOf(postmaster);
  for (const child of children) signalProcess(child, 'SIGKILL');
  signalProcess(postmaster, 'SIGKILL');
  const untilMs = systemClock.monotonicMs() + goneWithinMs;
  for (const pid of [...children, postmaster]) {
    while (await isRunning(pid)) {
      if (systemClock.monotonicMs() > untilMs) throw new Error(`process ${pid} is still there after SIGKILL`);
      await systemClock.sleep(1);
    }
  }
  return systemClock.monotonicMs();
};
