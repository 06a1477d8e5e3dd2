import type { Agent } from 'node:http';
import type { Clock } from '../../core/clock.ts';
import { http } from '../node-http.ts';

export interface ProberOptions {
  readonly port: number;
  readonly path: string;
  readonly periodMs: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told after every check; what is wrong, or `undefined` when all is well. */
  onResult(problem: string | undefined): void;
}

/** A connection is kept between checks only when they come quickly: servers close idle ones after some seconds. */
const keepBelowMs = 2000;

const check = (agent: Agent | undefined, { port, path, timeoutMs }: ProberOptions): Promise<string | undefined> =>
  new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path, agent: agent ?? false }, (response) => {
      const status = response.statusCode ?? 0;
      response.resume();
      response.on('error', () => undefined);
      clearTimeout(limit);
      resolve(status >= 200 && status < 400 ? undefined : `HTTP probe failed with statuscode: ${status}`);
    });
    const limit = setTimeout(() => {
      // Answers that came while this process itself was held up are read before the verdict.
      setImmediate(() => {
        request.destroy(new Error('context deadline exceeded'));
      });
    }, timeoutMs);
    request.setNoDelay(true);
    request.on('error', (error) => {
      clearTimeout(limit);
      resolve(`Get "http://127.0.0.1:${port}${path}": ${error.message}`);
    });
  });

/** Checks on a fixed period, one at a time, until the signal aborts: a check that takes longer delays the next one. */
export const runProber = async (options: ProberOptions): Promise<void> => {
  const { clock, signal, periodMs } = options;
  const agent = periodMs < keepBelowMs ? new http.Agent({ keepAlive: true, maxSockets: 1 }) : undefined;
  try {
    for (let dueMs = clock.monotonicMs(); ; ) {
      const problem = await check(agent, options);
      if (signal.aborted) return;
      options.onResult(problem);
      const nowMs = clock.monotonicMs();
      while (dueMs <= nowMs) dueMs += periodMs;
      await clock.sleep(dueMs - nowMs, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    agent?.destroy();
  }
};
