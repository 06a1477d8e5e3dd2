import { connect, type Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';

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
/** A check that ended this much after its time-out says that this process was held up, not that the other one was. */
const heldUpMs = 50;

type Outcome = { readonly problem: string | undefined; readonly heldUp: boolean };

/**
 * Checks over one connection, written out by hand: a node makes more than a hundred a second, and an HTTP client would
 * cost more than all that it watches. An answer is its status line; what follows is not looked at.
 */
const createChecker = ({ port, path, timeoutMs, periodMs, clock }: ProberOptions) => {
  const keep = periodMs < keepBelowMs;
  const request = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: ${keep ? 'keep-alive' : 'close'}\r\n\r\n`;
  const url = `http://127.0.0.1:${port}${path}`;
  let socket: Socket | undefined;
  let answer: ((problem: string | undefined) => void) | undefined;

  const drop = (): void => {
    socket?.destroy();
    socket = undefined;
  };
  const open = (): Socket => {
    const fresh = connect({ host: '127.0.0.1', port, noDelay: true });
    const lost = (why: string): void => {
      if (socket !== fresh) return;
      drop();
      answer?.(`Get "${url}": ${why}`);
    };
    fresh.on('data', (bytes) => {
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(bytes.toString('latin1', 0, 12))?.[1];
      if (status === undefined || socket !== fresh) return;
      const good = status >= '200' && status < '400';
      answer?.(good ? undefined : `HTTP probe failed with statuscode: ${status}`);
    });
    fresh.on('error', (error) => lost(error.message));
    fresh.on('close', () => lost('EOF'));
    return fresh;
  };

  return {
    check: (): Promise<Outcome> =>
      new Promise((resolve) => {
        const startedMs = clock.monotonicMs();
        const finish = (problem: string | undefined, timedOut = false): void => {
          if (answer === undefined) return;
          answer = undefined;
          clearTimeout(limit);
          if (!keep || problem !== undefined) drop();
          const heldUp = timedOut && clock.monotonicMs() - startedMs > timeoutMs + heldUpMs;
          resolve({ problem, heldUp });
        };
        // Answers that came while this process itself was held up are read before the verdict.
        const limit = setTimeout(() => {
          setImmediate(() => finish(`Get "${url}": context deadline exceeded`, true));
        }, timeoutMs);
        answer = finish;
        socket ??= open();
        socket.write(request);
      }),
    close: drop,
  };
};

/** Checks on a fixed period, one at a time, until the signal aborts: a check that takes longer delays the next one. */
export const runProber = async (options: ProberOptions): Promise<void> => {
  const { clock, signal, periodMs } = options;
  const checker = createChecker(options);
  try {
    for (let dueMs = clock.monotonicMs(); ; ) {
      const { problem, heldUp } = await checker.check();
      if (signal.aborted) return;
      if (!heldUp) options.onResult(problem);
      const nowMs = clock.monotonicMs();
      while (dueMs <= nowMs) dueMs += periodMs;
      await clock.sleep(dueMs - nowMs, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    checker.close();
  }
};
