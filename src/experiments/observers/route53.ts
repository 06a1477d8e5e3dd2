import type { HealthCheckStatus } from '../../adapters/ports.ts';
import type { Clock } from '../../core/clock.ts';
import type { Observation } from '../../core/observation.ts';
import { compareLooks, type Observer } from './observer.ts';

/** Finer than half of a scaled health check's period at the usual scales, so that no check goes unseen. */
const finestMs = 200;
/** Checks are told in batches: one line of the journal for each would be most of the journal. */
const batchLooks = 20;

type Checks = ReadonlyMap<string, HealthCheckStatus>;

/**
 * Notes every check that a checker reports once, by the instant it names itself. Its clock is its own; put on ours it
 * is as wrong as the two wall clocks differ, while the time between two checks of one checker is not.
 */
export const createCheckLog = (clock: Clock) => {
  const last = new Map<string, number>();
  const noted = new Map<string, Map<string, string[]>>();
  let configured = new Map<string, string>();
  let first: { readonly startMs: number } | undefined;
  let latest = { startMs: 0, endMs: 0 };
  let looks = 0;
  return {
    look(checks: Checks, startMs: number): void {
      const endMs = clock.monotonicMs();
      const offsetMs = endMs - clock.nowMs();
      first ??= { startMs };
      latest = { startMs, endMs };
      looks += 1;
      configured = new Map([...checks.values()].map((check) => [check.region, check.configured]));
      for (const { region, reports } of checks.values()) {
        for (const { checker, healthy, checkedAtMs } of reports) {
          const key = `${region} ${checker}`;
          const before = last.get(key);
          if (before === checkedAtMs) continue;
          last.set(key, checkedAtMs);
          // The first report seen may be old; how many came before it is unknown.
          if (before === undefined) continue;
          const checkers = noted.get(region) ?? new Map<string, string[]>();
          const list = checkers.get(checker) ?? [];
          list.push(`${(checkedAtMs + offsetMs).toFixed(1)}${healthy ? '+' : '-'}`);
          noted.set(region, checkers.set(checker, list));
        }
      }
    },
    get isFull(): boolean {
      return looks >= batchLooks;
    },
    /** One observation per region that was checked since the last call. */
    take(): readonly Observation[] {
      const minMs = first?.startMs ?? latest.startMs;
      const looksEveryMs = looks > 1 ? (latest.startMs - minMs) / (looks - 1) : 0;
      const batch = [...noted].map(([region, checkers]): Observation => {
        const checks = Object.fromEntries([...checkers].map(([checker, list]) => [checker, list.join(' ')]));
        const data = { configured: configured.get(region) ?? '', looksEveryMs, ...checks };
        return { name: 'health.checked', subject: region, minMs, maxMs: latest.endMs, source: 'route53', data };
      });
      noted.clear();
      first = undefined;
      looks = 0;
      return batch;
    },
  };
};

/**
 * Follows the health checks that steer DNS: the moment one turns is the moment the platform detected something, and how
 * often they look is a promise of its own.
 */
export const route53Observer: Observer = {
  name: 'route53',
  async watch(session, signal, see, lost) {
    const { clock } = session;
    const port = session.ports.route53();
    const log = createCheckLog(clock);
    const tell = (): void => {
      for (const observation of log.take()) see(observation);
    };
    const look = async (callSignal: AbortSignal): Promise<Checks> => {
      const startMs = clock.monotonicMs();
      const checks = new Map((await port.healthChecks(callSignal)).map((check) => [check.region, check]));
      log.look(checks, startMs);
      if (log.isFull) tell();
      return checks;
    };
    await compareLooks(session, 'route53', signal, lost, finestMs, look, (before, now, bracket) => {
      for (const [region, { healthy }] of now) {
        if (before.get(region)?.healthy === healthy || !before.has(region)) continue;
        const name = healthy ? 'health.restored' : 'health.failed';
        see({ name, subject: region, ...bracket, source: 'route53', data: {} });
      }
    });
    tell();
  },
};
