import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';

/** How a target is broken: `kill` and start again, `hang`, `freeze` (SIGSTOP), or answer 503. */
export const waysToBreak = ['kill', 'hang', 'freeze', 'fail'] as const;
export type WayToBreak = (typeof waysToBreak)[number];

/** What physically happened, on the machine's monotonic clock. */
export interface PhysicalOutage {
  readonly way: WayToBreak;
  readonly downMs: number;
  readonly upMs: number;
}

/** A server in a process of its own that can be broken for a known time. */
export interface Breakable {
  readonly url: string;
  breakFor(way: WayToBreak, durationMs: number): Promise<PhysicalOutage>;
  close(): Promise<void>;
}

interface Report {
  readonly state: string;
  readonly atMs: number;
  readonly port?: number;
}

const start = async (port: number): Promise<{ child: ChildProcess; report: Report }> => {
  const child = fork(path.join(import.meta.dirname, 'breakable-server.ts'), [String(port)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  return { child, report: await nextReport(child) };
};

const nextReport = async (child: ChildProcess): Promise<Report> => {
  const [message] = await once(child, 'message');
  return message as Report;
};

export const startBreakable = async (clock: Clock): Promise<Breakable> => {
  let { child, report } = await start(0);
  const port = report.port ?? 0;

  const tell = async (mode: string): Promise<number> => {
    child.send(mode);
    return (await nextReport(child)).atMs;
  };

  return {
    url: `http://127.0.0.1:${port}/`,
    async breakFor(way, durationMs) {
      if (way === 'kill') {
        const downMs = clock.monotonicMs();
        child.kill('SIGKILL');
        await once(child, 'exit');
        await clock.sleep(durationMs);
        ({ child, report } = await start(port));
        return { way, downMs, upMs: report.atMs };
      }
      if (way === 'freeze') {
        const downMs = clock.monotonicMs();
        child.kill('SIGSTOP');
        await clock.sleep(durationMs);
        const upMs = clock.monotonicMs();
        child.kill('SIGCONT');
        return { way, downMs, upMs };
      }
      const downMs = await tell(way);
      await clock.sleep(durationMs);
      return { way, downMs, upMs: await tell('serve') };
    },
    async close() {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
};
