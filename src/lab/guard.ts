import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

/** POSIX shell, nothing else: it must work wherever the lab does. */
const script = (signal: string): string =>
  `cat >/dev/null; for file; do kill -${signal} "$(head -n 1 "$file")"; done 2>/dev/null`;

/**
 * Takes servers of somebody else's down when this process is gone, however that came about: a small shell waits for the
 * end of a pipe that this process holds, then signals the process ids that stand in the first lines of the files.
 */
export const guardServers = (pidFiles: readonly string[], signal: 'QUIT' | 'TERM' | 'KILL'): { dismiss(): void } => {
  if (!existsSync('/bin/sh')) throw new Error('there is no /bin/sh to guard the servers with');
  const guard = spawn('/bin/sh', ['-c', script(signal), 'guard', ...pidFiles], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { PATH: process.env['PATH'] },
  });
  guard.stdin.on('error', () => {
    // The guard went first: then there is nobody left to tell.
  });
  guard.unref();
  return { dismiss: () => guard.kill('SIGKILL') };
};
