import { performance } from 'node:perf_hooks';
import type { Clock } from '../core/clock.ts';
import type { EngineMeter } from './engine.ts';
import type { InstrumentRecord } from './sample.ts';

/** Writes down, about once a second, how well the sender itself is doing. */
export const createSelfCheck = (
  sender: string,
  meter: EngineMeter,
  clock: Clock,
): { readonly look: () => InstrumentRecord } => {
  let before = reading(clock);
  return {
    look() {
      const now = reading(clock);
      const elapsedMs = now.monotonicMs - before.monotonicMs;
      const loop = performance.eventLoopUtilization(now.loop, before.loop);
      const taken = meter.take();
      const lags = [...taken.sendLagsMs].sort((one, other) => one - other);
      const record: InstrumentRecord = {
        sender,
        atMs: now.monotonicMs,
        sendLagP99Ms: quantile(lags, 0.99),
        sendLagMaxMs: lags.at(-1) ?? 0,
        eventLoopDelayMaxMs: Math.max(0, taken.stallMaxMs),
        eventLoopUtilization: loop.utilization,
        cpuCores: (now.cpuMs - before.cpuMs) / elapsedMs,
        dropped: taken.dropped,
        inFlightMax: taken.inFlightMax,
        clockStepMs: Math.abs(now.wallMs - before.wallMs - elapsedMs),
        controlSent: taken.controlSent,
        controlBad: taken.controlBad,
      };
      before = now;
      return record;
    },
  };
};

const reading = (clock: Clock) => {
  const { user, system } = process.cpuUsage();
  return {
    monotonicMs: clock.monotonicMs(),
    wallMs: clock.nowMs(),
    cpuMs: (user + system) / 1000,
    loop: performance.eventLoopUtilization(),
  };
};

/** Nearest rank of an ascending list; 0 of an empty one. */
const quantile = (ascending: readonly number[], share: number): number =>
  ascending[Math.max(0, Math.ceil(ascending.length * share) - 1)] ?? 0;
