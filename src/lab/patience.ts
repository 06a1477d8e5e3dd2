import { systemClock } from '../core/clock.ts';

const latenessMs = 20;

/**
 * A time-out that does not blame the other side for our own stall: when it fires late, this process did not run, and
 * an answer may be waiting to be read. Then it gives as much time again as it was late, once.
 */
export const patientTimer = (timeoutMs: number, expire: () => void): { cancel(): void } => {
  const dueMs = systemClock.monotonicMs() + timeoutMs;
  let timer = setTimeout(() => {
    const lateMs = systemClock.monotonicMs() - dueMs;
    timer = setTimeout(expire, lateMs > latenessMs ? lateMs : 0);
  }, timeoutMs);
  return { cancel: () => clearTimeout(timer) };
};
