import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { ComponentContext } from '../component.ts';
import { forwardPort, scaled, scaledTimeout } from '../layout.ts';
import { http } from '../node-http.ts';
import { patientTimer } from '../patience.ts';

export interface Outcome {
  readonly ok: boolean;
  readonly reason: string;
}

/** What is known of one watched target. Like Route 53, it starts as healthy until checks say otherwise. */
export interface TargetHealth {
  readonly healthy: boolean;
  /** Consecutive failures, or successes, up to the last check. */
  readonly failures: number;
  readonly successes: number;
  readonly sinceMs: number;
  readonly lastReason: string;
  /** Wall clock, as health checkers report it: when the last check was answered or given up. Null before the first. */
  readonly checkedAtMs: number | null;
}

export const newTargetHealth = (nowMs: number): TargetHealth => ({
  healthy: true,
  failures: 0,
  successes: 0,
  sinceMs: nowMs,
  lastReason: 'not checked yet',
  checkedAtMs: null,
});

/** One more outcome: `failures` in a row make a target unhealthy, `successes` in a row healthy again. Pure. */
export const afterOutcome = (
  before: TargetHealth,
  outcome: Outcome,
  thresholds: { readonly failures: number; readonly successes: number },
  nowMs: number,
  checkedAtMs: number | null = null,
): TargetHealth => {
  const failures = outcome.ok ? 0 : before.failures + 1;
  const successes = outcome.ok ? before.successes + 1 : 0;
  const healthy = before.healthy ? failures < thresholds.failures : successes >= thresholds.successes;
  const sinceMs = healthy === before.healthy ? before.sinceMs : nowMs;
  return { healthy, failures, successes, sinceMs, lastReason: outcome.reason, checkedAtMs };
};

const bodyBytesMax = 5120;

/** The dependencies that a /health answer says have failed, for the reason that is shown. */
const failedChecks = (body: string): string => {
  try {
    const checks: unknown = JSON.parse(body)?.checks;
    if (typeof checks !== 'object' || checks === null) return '';
    const failed = Object.entries(checks).filter(([, value]) => value === false);
    return failed.length === 0 ? '' : `: ${failed.map(([name]) => name).join(', ')}`;
  } catch {
    // Any body will do for a health check; this one merely explains nothing.
    return '';
  }
};

/** One GET on a fresh connection, as Route 53 does it. Never rejects: that it could not be asked is the finding. */
export const checkOnce = (options: {
  readonly port: number;
  readonly host: string;
  readonly timeoutMs: number;
}): Promise<Outcome> =>
  new Promise((resolve) => {
    const { port, host, timeoutMs } = options;
    const request = http.get({ host: '127.0.0.1', port, path: '/health', agent: false, headers: { host } });
    const settle = (outcome: Outcome): void => {
      timer.cancel();
      request.destroy();
      resolve(outcome);
    };
    const timer = patientTimer(timeoutMs, () =>
      settle({ ok: false, reason: `no answer within ${Math.round(timeoutMs)} ms` }),
    );
    request.on('error', (error) => settle({ ok: false, reason: messageOf(error) }));
    request.on('response', (response) => {
      const status = response.statusCode ?? 0;
      const ok = status >= 200 && status < 400;
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        if (body.length < bodyBytesMax) body += chunk;
      });
      response.on('end', () => settle({ ok, reason: `HTTP ${status}${ok ? '' : failedChecks(body)}` }));
      response.on('error', (error) => settle({ ok: false, reason: messageOf(error) }));
    });
  });

export interface WatchedZone {
  readonly zone: string;
  readonly region: string;
  /** Name under which the region is asked. */
  readonly host: string;
}

/**
 * Checks one zone's balancer from the edge until the signal aborts. The period runs from an answer to the next
 * question, as Route 53's does, so a slow answer costs its time on top; the phase is random.
 */
export const watchZone = async (
  { layout, signal }: Pick<ComponentContext, 'layout' | 'signal'>,
  { zone, host }: WatchedZone,
  see: (outcome: Outcome) => void,
): Promise<void> => {
  const { health } = layout.settings;
  const port = forwardPort(layout, 'edge', `balancer/${zone}`);
  const periodMs = scaled(layout, health.period);
  const timeoutMs = scaledTimeout(layout, health.timeout);
  await systemClock.sleep(Math.random() * periodMs, signal);
  while (!signal.aborted) {
    see(await checkOnce({ port, host, timeoutMs }));
    await systemClock.sleep(periodMs, signal);
  }
};
