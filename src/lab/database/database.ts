import { rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { poll, systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Component, ComponentContext } from '../component.ts';
import { ControlError, type ControlRoute, serveControl } from '../control.ts';
import { guardServers } from '../guard.ts';
import { type DatabaseNode, databaseNodes, scaled, scaledTimeout } from '../layout.ts';
import { databaseFolders, type Installation, prepareInstallation } from './binaries.ts';
import {
  createInstances,
  createSessions,
  describe,
  type Instance,
  instanceOf,
  observerOf,
  type Service,
  setStatus,
  standbyOf,
} from './instance.ts';
import {
  keepFollowing,
  keepSynchronous,
  lookAt,
  type MonitorState,
  newMonitorState,
  publish,
  zoneAnswers,
} from './monitor.ts';
import { coldCopy, createNode, initialise, type PostgresNode } from './node.ts';
import { failOver, promote, rebuildNode, replicaOf, startStopped } from './operations.ts';

const sourceBody = z.strictObject({ source: z.string().min(1) });

const routesOf = (service: Service): readonly ControlRoute[] => [
  {
    route: 'GET /instances',
    answer: () => service.instances.map((instance) => describe(service, instance)),
  },
  {
    route: 'POST /instances/:id/failover',
    answer: ({ params }) => failOver(service, instanceOf(service, params['id'] ?? ''), 'manual'),
  },
  {
    route: 'POST /instances/:id/start',
    answer: ({ params }) => startStopped(service, instanceOf(service, params['id'] ?? '')),
  },
  {
    route: 'POST /instances/:id/promote',
    answer: ({ params }) => promote(service, instanceOf(service, params['id'] ?? '')),
  },
  {
    route: 'POST /instances/:id/replica-of',
    answer: ({ params, body }) => {
      const parsed = sourceBody.safeParse(body);
      if (!parsed.success) throw new ControlError(400, 'InvalidParameterValue', 'the body is {"source": "<instance>"}');
      return replicaOf(service, instanceOf(service, params['id'] ?? ''), parsed.data.source);
    },
  },
];

/** Work of its own pace that no check waits for; an operation does. One at a time per instance. */
const startUpkeep = (service: Service, instance: Instance, what: string, work: () => Promise<void>): void => {
  if (instance.upkeep !== undefined) return;
  instance.upkeep = work()
    .catch((error: unknown) => service.context.log(`${instance.id}: ${what}: ${messageOf(error)}`))
    .finally(() => {
      instance.upkeep = undefined;
    });
};

const restart = (service: Service, instance: Instance, node: PostgresNode): void =>
  startUpkeep(service, instance, `restart of ${node.id}`, async () => {
    if (!(await zoneAnswers(service, instance, node))) return;
    // Fenced while this looked: whoever was promoted relies on it staying down.
    if (instance.status === 'stopped') return;
    await node.start(service.context.signal);
  });

/** Brings the node in the other zone back: in place after a crash, by a rebuild after it was a primary. */
const keepStandby = (service: Service, instance: Instance): void => {
  const standby = standbyOf(instance);
  if (standby === undefined || (standby.pid() !== undefined && !instance.standbyStale)) return;
  if (!instance.standbyStale) {
    restart(service, instance, standby);
    return;
  }
  startUpkeep(service, instance, `rebuild of ${standby.id}`, async () => {
    if (!(await zoneAnswers(service, instance, standby)) || instance.status === 'stopped') return;
    await rebuildNode(service, instance, standby, instance.writer.zone, service.context.signal);
    instance.standbyStale = false;
  });
};

/** The writer has failed its checks: its standby takes over if it can; a server that is down is started again. */
const onWriterLost = async (service: Service, instance: Instance): Promise<void> => {
  const standby = standbyOf(instance);
  const timeoutMs = scaledTimeout(service.context.layout, service.context.layout.settings.database.checkTimeout);
  if (standby !== undefined && instance.synchronised && instance.source === undefined) {
    const session = service.session(observerOf(instance), standby);
    const [row] = await session.query('SELECT pg_is_in_recovery() AS recovery', timeoutMs);
    if (row?.['recovery'] === true) {
      failOver(service, instance, 'automatic');
      return;
    }
  }
  if (instance.writer.pid() === undefined) restart(service, instance, instance.writer);
};

export const check = async (service: Service, instance: Instance, state: MonitorState): Promise<void> => {
  const { layout, log } = service.context;
  const { checkTimeout, checkFailures } = layout.settings.database;
  if (!instance.published) await publish(service, instance);
  const writer = instance.writer;
  try {
    const look = await lookAt(service, instance, scaledTimeout(layout, checkTimeout));
    if (instance.operation !== undefined || instance.writer !== writer) return;
    state.failures = 0;
    if (instance.source === undefined) await keepSynchronous(service, instance, state, look);
    else if ((await keepFollowing(service, instance, state, look)) === 'rebuild') {
      const upstream = instanceOf(service, instance.source).writer.zone;
      startUpkeep(service, instance, `rebuild of ${writer.id}`, () =>
        rebuildNode(service, instance, writer, upstream, service.context.signal),
      );
    }
    keepStandby(service, instance);
  } catch (error) {
    state.failures += 1;
    state.previous = undefined;
    log(`${instance.id}: check ${state.failures} of its writer in ${writer.zone} failed: ${messageOf(error)}`);
    if (state.failures >= checkFailures && instance.operation === undefined) await onWriterLost(service, instance);
  }
};

/** Checks one instance on a fixed grid, except while a change is under way or after it was fenced. */
const monitor = async (service: Service, instance: Instance): Promise<void> => {
  const { layout, signal, log } = service.context;
  const periodMs = Math.max(20, scaled(layout, layout.settings.database.checkPeriod));
  let state = newMonitorState();
  let dueMs = systemClock.monotonicMs() + Math.random() * periodMs;
  while (!signal.aborted) {
    await systemClock.sleep(dueMs - systemClock.monotonicMs(), signal);
    dueMs = Math.max(dueMs + periodMs, systemClock.monotonicMs());
    if (instance.operation !== undefined || instance.status !== 'available') {
      state = newMonitorState();
      continue;
    }
    try {
      await check(service, instance, state);
    } catch (error) {
      log(`${instance.id}: ${messageOf(error)}`);
    }
  }
};

const bringUp = async (
  context: ComponentContext,
  installation: Installation,
  specs: readonly DatabaseNode[],
  nodes: readonly PostgresNode[],
): Promise<void> => {
  const primary = specs.find((spec) => spec.role === 'primary');
  const standby = specs.find((spec) => spec.role === 'standby');
  const first = nodes.find((node) => node.id === primary?.id);
  if (primary === undefined || first === undefined) throw new Error('the environment has no primary region');
  await initialise(context.layout, installation, first.dataDir);
  await Promise.all(
    nodes.map(async (node) => {
      if (node !== first) await coldCopy(installation, first.dataDir, node.dataDir);
      const upstream = node === first ? undefined : primary.zone;
      await node.configure({ upstream, synchronous: node === first ? standby?.zone : undefined });
    }),
  );
  await Promise.all(nodes.map((node) => node.start(context.signal)));
};

const readyWithinMs = 30_000;
const readyEveryMs = 20;

/** The lab is up when every instance answers and every commit is on the standby before it is acknowledged. */
const untilServing = async (service: Service, states: ReadonlyMap<Instance, MonitorState>): Promise<void> => {
  const signal = AbortSignal.any([service.context.signal, AbortSignal.timeout(readyWithinMs)]);
  await Promise.all(
    service.instances.map((instance) =>
      poll(systemClock, readyEveryMs, signal, async () => {
        try {
          const look = await lookAt(service, instance, 1000);
          if (instance.source === undefined) {
            await keepSynchronous(service, instance, states.get(instance) ?? newMonitorState(), look);
            if (standbyOf(instance) !== undefined && !instance.synchronised) return undefined;
          }
          setStatus(service, instance, 'available');
          return true;
        } catch (error) {
          service.context.log(`${instance.id}: not ready: ${messageOf(error)}`);
          return undefined;
        }
      }),
    ),
  );
};

const removeOutside = async (context: ComponentContext): Promise<void> => {
  const [, outside] = databaseFolders(context.layout.stateDir);
  if (outside !== undefined) await rm(outside, { recursive: true, force: true });
};

/**
 * The platform's PostgreSQL servers and the service that runs them as RDS would: it watches, fails over, promotes and
 * rebuilds, and tells the DNS control where each instance's writer is.
 */
export const component: Component = {
  kind: 'database',
  async start(context) {
    const { layout, signal } = context;
    const installation = await prepareInstallation(layout.stateDir);
    const specs = databaseNodes(layout.environment);
    const nodes = specs.map((spec) => createNode(context, installation, spec));
    const guard = guardServers(
      nodes.map((node) => path.join(node.dataDir, 'postmaster.pid')),
      'QUIT',
    );
    context.onStop?.(async () => {
      await Promise.all(nodes.map((node) => node.stop()));
      guard.dismiss();
      await removeOutside(context);
    });
    await bringUp(context, installation, specs, nodes);
    const service: Service = {
      context,
      instances: createInstances(specs, nodes),
      session: createSessions(layout),
    };
    await untilServing(service, new Map(service.instances.map((instance) => [instance, newMonitorState()])));
    await serveControl(layout, 'database', routesOf(service), signal);
    for (const instance of service.instances) {
      monitor(service, instance).catch((error: unknown) => {
        if (!signal.aborted) context.log(`${instance.id}: the monitor ended: ${messageOf(error)}`);
      });
    }
    return { servers: nodes.length };
  },
};
