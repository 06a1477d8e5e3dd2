/**
 * Time as an argument. Everything that waits or subtracts instants takes a `Clock`; only this file and the lab's own
 * process starters touch the platform's timers and dates directly.
 */
export interface Clock {
  /** Wall-clock epoch milliseconds: a label for people. It may jump, so it is never subtracted. */
  nowMs(): number;
  /**
   * Monotonic milliseconds with a sub-millisecond fraction. On one machine every process reads the same origin (the
   * kernel's monotonic clock), so instants of different processes may be compared and subtracted.
   */
  monotonicMs(): number;
  /** Resolves after `durationMs`; rejects with `signal.reason` as soon as the signal aborts. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

const timerMaxMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => Number(process.hrtime.bigint()) / 1e6,
  sleep: (durationMs, signal) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        Math.min(Math.max(0, durationMs), timerMaxMs),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
};

/** A signal that aborts with `reason` after `durationMs`, or with the parent's reason when the parent aborts first. */
export const deadline = (
  clock: Clock,
  durationMs: number,
  reason: Error,
  parent?: AbortSignal,
): { readonly signal: AbortSignal; dispose(): void } => {
  const controller = new AbortController();
  const stop = new AbortController();
  const onParent = (): void => controller.abort(parent?.reason);
  if (parent?.aborted) onParent();
  else parent?.addEventListener('abort', onParent, { once: true });
  clock.sleep(durationMs, stop.signal).then(
    () => controller.abort(reason),
    () => undefined,
  );
  return {
    signal: controller.signal,
    dispose() {
      parent?.removeEventListener('abort', onParent);
      stop.abort();
    },
  };
};

/** Repeats `look` every `everyMs` until it returns a value other than `undefined`; bounded by the signal alone. */
export const poll = async <T>(
  clock: Clock,
  everyMs: number,
  signal: AbortSignal,
  look: () => Promise<T | undefined>,
): Promise<T> => {
  for (;;) {
    signal.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    await clock.sleep(everyMs, signal);
  }
};
