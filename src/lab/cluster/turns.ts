import type { Clock } from '../../core/clock.ts';

/** Waits for a turn; what it resolves with ends the turn, which also ends by itself. Rejects when the signal aborts. */
export type TakeTurn = (signal: AbortSignal) => Promise<() => void>;

/** At most `atOnceMax` turns at the same time, in the order they were asked for, each at most `turnMaxMs` long. */
export const createTurns = (atOnceMax: number, turnMaxMs: number, clock: Clock): TakeTurn => {
  const waiting: (() => void)[] = [];
  let taken = 0;

  const begin = (): (() => void) => {
    taken += 1;
    const over = new AbortController();
    const end = (): void => {
      if (over.signal.aborted) return;
      over.abort(new Error('the turn is over'));
      taken -= 1;
      waiting.shift()?.();
    };
    clock.sleep(turnMaxMs, over.signal).then(end, () => undefined);
    return end;
  };

  return async (signal) => {
    signal.throwIfAborted();
    if (taken < atOnceMax) return begin();
    await new Promise<void>((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        waiting.splice(waiting.indexOf(go), 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', leave, { once: true });
      waiting.push(go);
    });
    return begin();
  };
};
