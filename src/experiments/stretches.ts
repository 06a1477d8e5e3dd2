import { z } from 'zod';
import type { RunRecord, Stretch } from '../analysis/record.ts';

/** The time-outs of a lab as its environment file has them, in documented milliseconds; the floor is real. */
const labSchema = z.object({
  lab: z.object({
    timeoutFloor: z.number(),
    health: z.object({ timeout: z.number(), failures: z.number() }),
    orchestrator: z.object({ firstTokenTimeout: z.number(), retries: z.number() }),
    llm: z.object({ liveness: z.object({ timeout: z.number(), failures: z.number() }) }),
    database: z.object({ checkTimeout: z.number(), checkFailures: z.number() }),
    monitoring: z
      .object({
        scrapePeriod: z.number(),
        heartbeatPeriod: z.number(),
        scrapeFloor: z.number(),
        heartbeatFloor: z.number(),
      })
      // A run of an earlier version had none.
      .optional(),
  }),
});

/**
 * By how much time-outs that the lab does not scale below its floor may lengthen what waits for `count` of them. One
 * more is allowed for: the check that was under way when the fault took hold.
 */
const stretchOf = (timeoutMs: number, count: number, floorMs: number, timeScale: number): Stretch => ({
  maxMs: (count + 1) * Math.max(0, floorMs - timeoutMs / timeScale),
  scale: Math.max(1, Math.floor((timeoutMs / floorMs) * 10) / 10),
});

interface Periods {
  readonly scrapePeriod: number;
  readonly heartbeatPeriod: number;
  readonly scrapeFloor: number;
  readonly heartbeatFloor: number;
}

/** Monitoring looks no more often than its floors allow: once more to scrape, once more to evaluate. */
const alertingStretch = (periods: Periods, timeScale: number): Stretch => {
  const { scrapePeriod, heartbeatPeriod, scrapeFloor, heartbeatFloor } = periods;
  const scrapeMs = Math.max(0, scrapeFloor - scrapePeriod / timeScale);
  const heartbeatMs = Math.max(0, heartbeatFloor - heartbeatPeriod / timeScale);
  const scale = Math.min(scrapePeriod / scrapeFloor, heartbeatPeriod / heartbeatFloor);
  return { maxMs: 2 * scrapeMs + heartbeatMs, scale: Math.max(1, Math.floor(scale * 10) / 10) };
};

/** What the time scale of a run adds to its figures, from the environment it was run on. Pure. */
export const stretchesOf = (environment: unknown, timeScale: number): Pick<RunRecord, 'stretches'> => {
  const parsed = labSchema.safeParse(environment);
  if (!parsed.success || timeScale === 1) return {};
  const { timeoutFloor, health, orchestrator, llm, database, monitoring } = parsed.data.lab;
  const of = (timeoutMs: number, count: number): Stretch => stretchOf(timeoutMs, count, timeoutFloor, timeScale);
  return {
    stretches: {
      'health-checks': of(health.timeout, health.failures),
      liveness: of(llm.liveness.timeout, llm.liveness.failures),
      'database-checks': of(database.checkTimeout, database.checkFailures),
      'first-token': of(orchestrator.firstTokenTimeout, orchestrator.retries),
      ...(monitoring === undefined ? {} : { alerting: alertingStretch(monitoring, timeScale) }),
    },
  };
};
