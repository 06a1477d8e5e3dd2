import type { Agent } from 'node:http';
import net from 'node:net';
import { systemClock } from '../../core/clock.ts';
import type { ComponentContext } from '../component.ts';
import type { LabLayout } from '../layout.ts';
import { forwardPort, scaled, zonePlace } from '../layout.ts';
import { createDatabaseClient } from './database-client.ts';
import type { Discovery } from './discovery.ts';
import { createEjection } from './ejection.ts';
import { alarm, fetchText, linkAgent, podHost } from './http.ts';

/**
 * The region's health as the platform documents it: four dependencies, each with a budget in real milliseconds. One
 * that is slower than its budget is unhealthy, and one unhealthy dependency makes the region unhealthy.
 */
export interface HealthAnswer {
  readonly status: 200 | 503;
  readonly body: {
    readonly status: 'healthy' | 'unhealthy';
    /** By the documented names; `redis` is left out where the region has no cache. */
    readonly checks: Readonly<Record<string, boolean>>;
  };
}

type Check = () => Promise<boolean>;

/** Documented time. */
const ejectionFirstMs = 10_000;
const ejectionLongestMs = 60_000;

/** False when the check says so, fails, or is still out when its budget is spent. */
const within = async (budgetMs: number, check: Check): Promise<boolean> => {
  const late = Promise.withResolvers<boolean>();
  const timer = alarm(budgetMs, () => late.resolve(false));
  try {
    return await Promise.race([check().catch(() => false), late.promise]);
  } finally {
    timer.clear();
  }
};

/** A connection to the region's own database instance. */
const checkDatabase = (context: ComponentContext, zone: string, region: string, budgetMs: number): Check => {
  const { environment } = context.layout;
  const instance = environment.regions.find((candidate) => candidate.name === region)?.database.instance;
  const client = createDatabaseClient(context, {
    place: zonePlace(zone),
    host: `${instance}.${environment.service.databaseDomain}`,
    name: `health-${zone}`,
    connectionsMax: 1,
    // Longer than the budget: a connection that comes too late for this check serves the next one.
    connectMs: 5 * budgetMs,
    limitMs: budgetMs,
  });
  client.warm(1);
  context.signal.addEventListener('abort', () => client.close(), { once: true });
  return async () => {
    await client.query({ name: 'health', text: 'SELECT 1', values: [] });
    return true;
  };
};

/** One ready model pod that says so itself; a second one is asked when the first is silent for half the budget. */
const checkLlm = (layout: LabLayout, discovery: Discovery, agent: Agent, budgetMs: number): Check => {
  const nowMs = systemClock.monotonicMs;
  const ejection = createEjection(nowMs, scaled(layout, ejectionFirstMs), scaled(layout, ejectionLongestMs));
  let turn = 0;
  const askOne = async (): Promise<boolean> => {
    const pods = ejection.offer(discovery.ready('llm'));
    turn += 1;
    const pod = pods[turn % pods.length];
    if (pod === undefined) return false;
    try {
      const target = { agent, host: podHost(pod.zone), port: pod.port, headMs: budgetMs / 2 };
      const { status } = await fetchText({ ...target, method: 'GET', path: '/readyz' });
      if (status === 200) ejection.succeeded(pod.key);
      return status === 200;
    } catch {
      // Whatever the reason, this pod is not to be asked again soon; the other one decides.
      ejection.failed(pod.key);
      return false;
    }
  };
  return async () => (await askOne()) || (await askOne());
};

const checkVector = (layout: LabLayout, zone: string, region: string, budgetMs: number): Check => {
  const port = forwardPort(layout, zonePlace(zone), `vector/${region}`);
  const agent = linkAgent();
  return async () => {
    const target = { agent, host: '127.0.0.1', port, headMs: budgetMs };
    return (await fetchText({ ...target, method: 'GET', path: '/count' })).status === 200;
  };
};

/** One PING over a connection of its own. */
const ping = (port: number, limitMs: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    const settle = (answered: boolean): void => {
      late.clear();
      socket.destroy();
      resolve(answered);
    };
    const late = alarm(limitMs, () => settle(false));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
    socket.once('data', (answer) => settle(answer.toString('latin1').startsWith('+PONG')));
    socket.write('PING\r\n');
  });

/** Whether any cache node of the region answers. */
const checkCache = (layout: LabLayout, zone: string, region: string, budgetMs: number): Check | undefined => {
  const zones = layout.environment.regions.find(({ name }) => name === region)?.zones ?? [];
  const places = zones.map(({ name }) => zonePlace(name));
  const nodes = layout.endpoints.filter(({ id, place }) => id.startsWith('cache/') && places.includes(place));
  if (nodes.length === 0) return undefined;
  const ports = nodes.map((node) => forwardPort(layout, zonePlace(zone), node.id));
  return async () => {
    const answered = ports.map(async (port) => {
      if (!(await ping(port, budgetMs))) throw new Error('no PONG');
      return true;
    });
    return await Promise.any(answered);
  };
};

export const createHealth = (parts: {
  readonly context: ComponentContext;
  readonly zone: string;
  readonly region: string;
  readonly discovery: Discovery;
  readonly agent: Agent;
}): (() => Promise<HealthAnswer>) => {
  const { context, zone, region, discovery, agent } = parts;
  const { layout } = context;
  const { budgets } = layout.settings.health;
  const cache = checkCache(layout, zone, region, budgets.cache);
  const checks: readonly (readonly [string, number, Check])[] = [
    ['database', budgets.database, checkDatabase(context, zone, region, budgets.database)],
    ...(cache === undefined ? [] : [['redis', budgets.cache, cache] as const]),
    ['llm', budgets.llm, checkLlm(layout, discovery, agent, budgets.llm)],
    ['vector_db', budgets.vector, checkVector(layout, zone, region, budgets.vector)],
  ];
  return async () => {
    const results = await Promise.all(
      checks.map(async ([name, budgetMs, check]) => [name, await within(budgetMs, check)] as const),
    );
    const healthy = results.every(([, passed]) => passed);
    return {
      status: healthy ? 200 : 503,
      body: { status: healthy ? 'healthy' : 'unhealthy', checks: Object.fromEntries(results) },
    };
  };
};
