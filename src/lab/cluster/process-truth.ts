import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** Real time between two looks: the error of the recorded instant. */
const lookEveryMs = 5;
const lookEverySlowMs = 200;
const linux = existsSync('/proc/self/stat');

/** Whether a process is stopped (as by SIGSTOP); undefined when there is none. */
export const isStopped = (pid: number): boolean | undefined => {
  if (linux) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      return stat[stat.lastIndexOf(')') + 2] === 'T';
    } catch (error) {
      // The process ended between two looks: nothing to see any more.
      if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH'))
        return undefined;
      throw error;
    }
  }
  const { status, stdout } = spawnSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8', timeout: 1000 });
  return status === 0 ? stdout.startsWith('T') : undefined;
};

/**
 * Looks at processes while somebody on the node may stop them, and tells when one was stopped or continued: who sends
 * the signal is outside the lab and logs nothing.
 */
export const watchProcessStates = (
  pids: () => readonly number[],
  onChange: (pid: number, stopped: boolean) => void,
): { stop(): void } => {
  const before = new Map<number, boolean>();
  const look = (): void => {
    for (const pid of pids()) {
      const stopped = isStopped(pid);
      if (stopped === undefined) before.delete(pid);
      else if (stopped !== (before.get(pid) ?? false)) {
        before.set(pid, stopped);
        onChange(pid, stopped);
      }
    }
  };
  const ticker = setInterval(look, linux ? lookEveryMs : lookEverySlowMs);
  return {
    stop() {
      clearInterval(ticker);
      look();
    },
  };
};
