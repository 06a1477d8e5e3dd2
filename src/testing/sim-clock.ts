import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';

/**
 * A clock for tests: it stands still until `runUntil`, which jumps from sleeper to sleeper. Works as long as everything
 * that happens between two sleeps is microtasks.
 */
export interface SimClock extends Clock {
  /** Lets time pass up to an instant. */
  runUntil(untilMs: number): Promise<void>;
  /** While an instant inside a stall is due, nothing runs: whoever sleeps into it wakes at its end. */
  stall(fromMs: number, toMs: number): void;
}

interface Sleeper {
  readonly dueMs: number;
  readonly order: number;
  wake(): void;
}

export const createSimClock = (startMs = 0): SimClock => {
  let nowMs = startMs;
  let order = 0;
  const sleepers = new Set<Sleeper>();
  const stalls: { fromMs: number; toMs: number }[] = [];

  const awake = (dueMs: number): number => {
    const stall = stalls.find((one) => dueMs > one.fromMs && dueMs < one.toMs);
    return stall?.toMs ?? dueMs;
  };

  const next = (): Sleeper | undefined =>
    [...sleepers].sort((one, other) => one.dueMs - other.dueMs || one.order - other.order)[0];

  return {
    nowMs: () => 1_700_000_000_000 + nowMs,
    monotonicMs: () => nowMs,
    sleep: (durationMs, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const onAbort = (): void => {
          sleepers.delete(sleeper);
          reject(signal?.reason);
        };
        order += 1;
        const sleeper: Sleeper = {
          dueMs: nowMs + Math.max(0, durationMs),
          order,
          wake() {
            sleepers.delete(sleeper);
            signal?.removeEventListener('abort', onAbort);
            resolve();
          },
        };
        sleepers.add(sleeper);
        signal?.addEventListener('abort', onAbort, { once: true });
      }),
    async runUntil(untilMs) {
      await setImmediate();
      for (let sleeper = next(); sleeper !== undefined && awake(sleeper.dueMs) <= untilMs; sleeper = next()) {
        nowMs = Math.max(nowMs, awake(sleeper.dueMs));
        sleeper.wake();
        await setImmediate();
      }
      nowMs = Math.max(nowMs, untilMs);
    },
    stall(fromMs, toMs) {
      stalls.push({ fromMs, toMs });
    },
  };
};
