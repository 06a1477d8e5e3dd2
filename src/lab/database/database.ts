import { rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { poll, systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Component, ComponentContext } from '../component.ts';
import { ControlError, type ControlRoute, serveControl } from '../control.ts';
import { guardServers } from '../guard.ts';
import { clusterOf, type DatabaseNode, databaseNodes, scaled, scaledTimeout } from '../layout.ts';
import { databaseFolders, type Installation, prepareInstallation } from './binaries.ts';
import {
  createInstances,
  createSessions,
  describe,
  type Instance,
  instanceOf,
  type Service,
  setStatus,
  spansRegions,
  standbyOf,
} from './instance.ts';
import {
  keepFollowing,
  keepSynchronous,
  type Look,
  lookAt,
  type MonitorState,
  newMonitorState,
  publish,
  zoneAnswers,
} from './monitor.ts';
import { coldCopy, createNode, initialise, type PostgresNode, writePasswordFile } from './node.ts';
import { failOver, promote, rebuildNode, replicaOf, startStopped } from './operations.ts';
import { type Election, elect, isMajority, type Votes, votesOn } from './quorum.ts';

const switchesBody = z.strictObject({ fencing: z.boolean() });
const sourceBody = z.strictObject({ source: z.string().min(1) });

const routesOf = (service: Service): readonly ControlRoute[] => [
  {
    route: 'GET /instances',
    answer: () => service.instances.map((instance) => describe(service, instance)),
  },
  { route: 'GET /switches', answer: () => service.switches },
  {
    route: 'PUT /switches',
    answer: ({ body }) => {
      const parsed = switchesBody.safeParse(body);
      if (!parsed.success) throw new ControlError(400, 'InvalidParameterValue', 'the body is {"fencing": true|false}');
      Object.assign(service.switches, parsed.data);
      service.context.truth('database.fencing-switched', 'database', parsed.data);
      return service.switches;
    },
  },
  { route: 'POST /servers/:server/kill', answer: ({ params }) => killServerOf(service, params['server']) },
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

/** Every process of a server dies at once, as by kill -9 on its host; what follows is the control's business. */
const killServerOf = async (service: Service, name = ''): Promise<unknown> => {
  const node = service.instances.flatMap(({ nodes }) => nodes).find(({ server }) => server === name);
  if (node === undefined) throw new ControlError(404, 'NotFound', `there is no PostgreSQL server ${name}`);
  const pid = node.pid();
  if (pid === undefined) throw new ControlError(409, 'NotRunning', `PostgreSQL server ${name} does not run`);
  return { server: name, pid, atMs: await node.kill('killed on its host') };
};

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
    await rebuildNode(service, instance, standby, instance.writer.server, service.context.signal);
    instance.standbyStale = false;
  });
};

/** Acts on what an election found; true when the standby takes over. */
const takesOver = (service: Service, instance: Instance, standby: PostgresNode, result: Election): boolean => {
  const { truth, log } = service.context;
  if (result.kind === 'elected') {
    truth('database.elected', instance.id, { zone: standby.zone, why: result.why, seenBy: result.seenBy });
    instance.refusedWhy = undefined;
    if (instance.operation !== undefined || instance.status !== 'available' || !instance.synchronised) return false;
    failOver(service, instance, 'automatic');
    return true;
  }
  if (result.kind === 'refused' && instance.refusedWhy !== result.why) {
    truth('database.election-refused', instance.id, { why: result.why, seenBy: result.seenBy });
    log(`${instance.id}: no election: ${result.why}`);
    instance.refusedWhy = result.why;
  }
  return false;
};

/** The writer has failed its checks: its standby takes over if it can; a server that is down is started again. */
const onWriterLost = (service: Service, instance: Instance, election: Election | undefined): void => {
  const standby = standbyOf(instance);
  if (standby !== undefined && election !== undefined && takesOver(service, instance, standby, election)) return;
  if (instance.writer.pid() === undefined) restart(service, instance, instance.writer);
};

/** A look that counts: a writer that only the control plane beside it sees may be the one that is cut off. */
const lookWithMajority = async (service: Service, instance: Instance, voting?: Promise<Votes>): Promise<Look> => {
  const { layout } = service.context;
  const [look, votes] = await Promise.all([
    lookAt(service, instance, scaledTimeout(layout, layout.settings.database.checkTimeout)),
    voting,
  ]);
  if (votes === undefined || isMajority(votes.seenBy.length, votes)) return look;
  throw new Error(`only ${votes.seenBy.length} of ${votes.observers} observers see it`);
};

export const check = async (service: Service, instance: Instance, state: MonitorState): Promise<void> => {
  const { layout, log } = service.context;
  const { checkFailures } = layout.settings.database;
  if (!instance.published) await publish(service, instance);
  const writer = instance.writer;
  const standby = standbyOf(instance);
  const canTakeOver = standby !== undefined && instance.synchronised && instance.source === undefined;
  // The last look before a decision and the votes that it needs wait for the same time-out.
  const isLast = canTakeOver && state.failures + 1 >= checkFailures;
  const spans = spansRegions(instance);
  const voting = isLast || spans ? votesOn(service, writer) : undefined;
  const election = isLast && voting !== undefined ? elect(service, voting, standby) : undefined;
  try {
    const look = await lookWithMajority(service, instance, spans ? voting : undefined);
    if (instance.operation !== undefined || instance.writer !== writer) return;
    state.failures = 0;
    instance.refusedWhy = undefined;
    if (instance.source === undefined) await keepSynchronous(service, instance, state, look);
    else if ((await keepFollowing(service, instance, state, look)) === 'rebuild') {
      const upstream = instanceOf(service, instance.source).writer.server;
      startUpkeep(service, instance, `rebuild of ${writer.id}`, () =>
        rebuildNode(service, instance, writer, upstream, service.context.signal),
      );
    }
    keepStandby(service, instance);
  } catch (error) {
    state.failures += 1;
    state.previous = undefined;
    log(`${instance.id}: check ${state.failures} of its writer in ${writer.zone} failed: ${messageOf(error)}`);
    if (state.failures < checkFailures || instance.operation !== undefined) return;
    onWriterLost(service, instance, await election);
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

/** Makes one database of its own: its first server, and copies of that one for the others. */
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
  await initialise(context.layout, installation, first.dataDir, primary.databaseName);
  const own = nodes.filter(({ id }) => specs.some((spec) => spec.id === id));
  await Promise.all(
    own.map(async (node) => {
      if (node !== first) await coldCopy(installation, first.dataDir, node.dataDir);
      const upstream = node === first ? undefined : primary.server;
      await node.configure({ upstream, synchronous: node === first ? standby?.server : undefined });
    }),
  );
  await Promise.all(own.map((node) => node.start(context.signal)));
};

const bringUpAll = async (
  context: ComponentContext,
  installation: Installation,
  specs: readonly DatabaseNode[],
  nodes: readonly PostgresNode[],
): Promise<void> => {
  await writePasswordFile(context.layout, installation);
  const clusters = Map.groupBy(specs, clusterOf);
  await Promise.all([...clusters.values()].map((own) => bringUp(context, installation, own, nodes)));
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
    await bringUpAll(context, installation, specs, nodes);
    const service: Service = {
      context,
      instances: createInstances(specs, nodes),
      switches: { fencing: layout.settings.database.fencing },
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
