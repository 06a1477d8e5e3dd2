import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { ComponentContext } from '../component.ts';
import { callControl } from '../control.ts';
import { scaled, scaledTimeout } from '../layout.ts';
import { createDatabaseClient, type DatabaseClient } from '../platform/database-client.ts';
import { startDiscovery } from '../platform/discovery.ts';
import { egressAgent, fetchText, podHost } from '../platform/http.ts';
import { parseMetrics } from './exposition.ts';
import type { Heartbeats } from './heartbeats.ts';
import type { Increases } from './increases.ts';
import type { Reading } from './rules.ts';

/** Where monitoring stands: beside the operators, reaching every region over its own links. */
const place = 'operator';

/** Documented time. */
const databaseTimeoutMs = 5000;
const scrapeTimeoutMs = 10_000;
/** Real: a control that answers at all answers in milliseconds. */
const controlTimeoutMs = 1000;

/** One thing that is asked at each scrape. It never rejects: whether it was up is part of what it found. */
export interface ScrapeTarget {
  readonly job: string;
  readonly instance: string;
  scrape(): Promise<void>;
}

/** What is known of one target since its last scrape. */
export interface TargetState {
  readonly job: string;
  readonly instance: string;
  readonly up: boolean;
  readonly readings: readonly Reading[];
}

export interface Targets {
  /** Those there are now: gateways come and go. */
  list(): readonly ScrapeTarget[];
  states(): readonly TargetState[];
  close(): void;
}

interface RegionHealth {
  readonly region: string;
  readonly failures: number;
}

const regionsIn = (value: unknown): readonly RegionHealth[] => {
  const regions = (value as { readonly regions?: unknown } | null)?.regions;
  if (!Array.isArray(regions)) throw new Error('GeoDNS did not list its health checks');
  return regions.map(({ region, failures }) => ({ region: String(region), failures: Number(failures) }));
};

const replicaSql = `SELECT pg_is_in_recovery() AS replica,
    (SELECT sequence::text FROM replication_heartbeat WHERE id = 1) AS shown`;

/** Everything that monitoring looks at, and what the last look at each of them brought. */
export const createTargets = (context: ComponentContext, requests: Increases, heartbeats: Heartbeats): Targets => {
  const { layout, log } = context;
  const { environment } = layout;
  const states = new Map<string, TargetState>();
  const headMs = Math.min(scaledTimeout(layout, scrapeTimeoutMs), scrapeTimeoutMs);
  const agent = egressAgent(layout, place, headMs);

  const target = (job: string, instance: string, read: () => Promise<readonly Reading[]>): ScrapeTarget => ({
    job,
    instance,
    async scrape() {
      const key = `${job} ${instance}`;
      try {
        states.set(key, { job, instance, up: true, readings: await read() });
      } catch (error) {
        if (states.get(key)?.up !== false) log(`${job} ${instance}: ${messageOf(error)}`);
        states.set(key, { job, instance, up: false, readings: [] });
      }
    },
  });

  const discoveries = environment.regions.map(({ name }) =>
    startDiscovery(context, { place, region: name }, ['gateway']),
  );
  const gateways = (): readonly ScrapeTarget[] =>
    discoveries
      .flatMap((discovery) => discovery.ready('gateway'))
      .map((pod) =>
        target('gateway', pod.name, async () => {
          const call = { agent, host: podHost(pod.zone), port: pod.port, method: 'GET', path: '/metrics', headMs };
          const { status, text } = await fetchText(call);
          if (status !== 200) throw new Error(`/metrics answered ${status}`);
          // By container: a restarted one begins its counting anew.
          requests.add(systemClock.monotonicMs(), pod.key, parseMetrics(text));
          return [];
        }),
      );

  const geoDns = target('geodns', 'edge', async () => {
    const answer = await callControl(layout, 'dns', 'GET', '/health', { timeoutMs: controlTimeoutMs });
    return regionsIn(answer).map(({ region, failures }) => ({
      metric: 'health_check_failures' as const,
      labels: { region },
      value: failures,
    }));
  });

  const limitMs = scaledTimeout(layout, databaseTimeoutMs);
  const clients: DatabaseClient[] = [];
  const databases = environment.regions.map(({ name: region, database: { instance } }) => {
    const client = createDatabaseClient(context, {
      place,
      host: `${instance}.${environment.service.databaseDomain}`,
      name: 'monitoring',
      connectionsMax: 1,
      connectMs: limitMs,
      limitMs,
    });
    clients.push(client);
    return target('postgres', instance, async () => {
      const askedMs = systemClock.monotonicMs();
      const { rows } = await client.query({ name: 'lag', text: replicaSql, values: [] });
      const shown = rows[0]?.['shown'];
      const isReplica = rows[0]?.['replica'] === true;
      const lagMs = heartbeats.lagMs(typeof shown === 'string' ? Number(shown) : null, askedMs);
      if (isReplica && lagMs === undefined) return [];
      const value = isReplica && lagMs !== undefined ? (lagMs * layout.timeScale) / 1000 : null;
      return [{ metric: 'replication_lag_seconds' as const, labels: { instance, region }, value }];
    });
  });

  return {
    list: () => {
      const list = [...gateways(), geoDns, ...databases];
      const present = new Set(list.map(({ job, instance }) => `${job} ${instance}`));
      for (const key of states.keys()) if (!present.has(key)) states.delete(key);
      return list;
    },
    states: () => [...states.values()],
    close: () => {
      for (const client of clients) client.close();
    },
  };
};

const heartbeatSql = `INSERT INTO replication_heartbeat (id, sequence) VALUES (1, $1)
    ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence
    WHERE replication_heartbeat.sequence < excluded.sequence`;

/** Writes heartbeats to whatever the database's name leads to, until the signal aborts. */
export const beat = async (context: ComponentContext, heartbeats: Heartbeats): Promise<void> => {
  const { layout, signal, log } = context;
  const limitMs = scaledTimeout(layout, databaseTimeoutMs);
  const client = createDatabaseClient(context, {
    place,
    host: layout.environment.service.databaseHost,
    name: 'monitoring-heartbeat',
    connectionsMax: 1,
    connectMs: limitMs,
    limitMs,
  });
  const { heartbeatPeriod, heartbeatFloor } = layout.settings.monitoring;
  const everyMs = Math.max(scaled(layout, heartbeatPeriod), heartbeatFloor);
  let isFailing = false;
  // Above whatever an earlier process of this kind wrote.
  for (let sequence = Math.floor(systemClock.nowMs()); !signal.aborted; sequence += 1) {
    try {
      await client.query({ name: 'heartbeat', text: heartbeatSql, values: [String(sequence)] });
      heartbeats.acknowledged(sequence, systemClock.monotonicMs());
      isFailing = false;
    } catch (error) {
      if (!isFailing && !signal.aborted) log(`heartbeat: ${messageOf(error)}`);
      isFailing = true;
    }
    await systemClock.sleep(everyMs, signal).catch(() => undefined);
  }
  client.close();
};
