import { closeSync, existsSync, openSync, statSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { systemClock } from '../core/clock.ts';

const usedFile = (stateDir: string): string => path.join(stateDir, 'used');
const markEveryMs = 5000;
const lastMarkMs = new Map<string, number>();

/** Notes that somebody uses the lab, which puts off its expiry. Cheap enough for every call: it writes every 5 s. */
export const markUsed = (stateDir: string): void => {
  const nowMs = systemClock.monotonicMs();
  if (nowMs - (lastMarkMs.get(stateDir) ?? Number.NEGATIVE_INFINITY) < markEveryMs) return;
  if (!existsSync(stateDir)) return;
  lastMarkMs.set(stateDir, nowMs);
  const file = usedFile(stateDir);
  closeSync(openSync(file, 'a', 0o600));
  const stamp = systemClock.nowMs() / 1000;
  utimesSync(file, stamp, stamp);
};

/** A value that changes with every mark; the wall clock in it is compared for equality only. */
export const usedMark = (stateDir: string): number =>
  statSync(usedFile(stateDir), { throwIfNoEntry: false })?.mtimeMs ?? 0;
