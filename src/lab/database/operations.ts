import { deadline, systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { ControlError } from '../control.ts';
import { regionPlace, scaled, zonePlace } from '../layout.ts';
import {
  type Description,
  describe,
  type Instance,
  type InstanceStatus,
  instanceOf,
  observerOf,
  rootOf,
  type Service,
  setStatus,
  standbyOf,
} from './instance.ts';
import { publish, setSynchronous } from './monitor.ts';
import type { PostgresNode } from './node.ts';
import { isSeenByMajority } from './quorum.ts';

const invalidState = (instance: Instance, why: string): ControlError =>
  new ControlError(400, 'InvalidDBInstanceState', `Instance ${instance.id} is ${instance.status}: ${why}.`);

/** No change may take longer than this, real time on top of its documented share: then the instance has failed. */
const operationLimitMs = 10 * 60_000;
const promotionLookEveryMs = 50;
const promotionTimeoutMs = 15_000;

/**
 * Starts the one change an instance may be under, in the background as RDS does; the status says how it goes. The
 * change gets a signal that aborts when the lab stops, when the instance is fenced, or when it takes too long.
 */
const begin = (
  service: Service,
  instance: Instance,
  name: string,
  status: InstanceStatus,
  work: (signal: AbortSignal) => Promise<void>,
): Description => {
  const abort = new AbortController();
  const { context } = service;
  const limit = deadline(systemClock, operationLimitMs, new Error(`${name} took too long`), abort.signal);
  const stop = (): void => abort.abort(context.signal.reason);
  context.signal.addEventListener('abort', stop, { once: true });
  setStatus(service, instance, status);
  const carryOut = async (): Promise<void> => {
    try {
      await instance.upkeep;
      await work(limit.signal);
      if (!abort.signal.aborted) setStatus(service, instance, 'available');
    } catch (error) {
      context.log(`${instance.id}: ${name}: ${error instanceof Error ? error.stack : error}`);
      if (!abort.signal.aborted) setStatus(service, instance, 'failed');
    } finally {
      limit.dispose();
      context.signal.removeEventListener('abort', stop);
      instance.operation = undefined;
    }
  };
  const done = Promise.resolve().then(carryOut);
  instance.operation = { name, abort, done };
  return describe(service, instance);
};

/** Shuts every server of an instance for good: none starts again before it is resynchronised. */
const fenceInstance = async (service: Service, instance: Instance, why: string): Promise<void> => {
  instance.operation?.abort.abort(new Error(why));
  instance.synchronised = false;
  setStatus(service, instance, 'stopped');
  const killAll = async (): Promise<readonly number[]> =>
    await Promise.all(instance.nodes.map((node) => node.kill(why)));
  await killAll();
  // What was under way may have been about to start a server: let it end, then look again.
  await Promise.allSettled([instance.operation?.done, instance.upkeep]);
  const instants = await killAll();
  const atMs = Math.max(...instants);
  service.context.truth('database.fenced', instance.id, { atMs, zone: instance.writer.zone, why });
};

/**
 * Promotes a server and returns once it accepts writes. A server that cannot be reached is asked again until the
 * signal's deadline: RDS does not give up either.
 */
const promoteNode = async (
  service: Service,
  instance: Instance,
  node: PostgresNode,
  signal: AbortSignal,
): Promise<void> => {
  // From where the node is: it may be promoted because the place of the old writer is gone.
  const session = service.session(regionPlace(node.region), node);
  for (;;) {
    signal.throwIfAborted();
    try {
      const [row] = await session.query('SELECT pg_is_in_recovery() AS recovery', promotionTimeoutMs);
      signal.throwIfAborted();
      if (row?.['recovery'] === true) await session.query('SELECT pg_promote(true, 10)', promotionTimeoutMs);
      // Assigning a transaction id is what a server in recovery cannot do.
      await session.query('SELECT pg_current_xact_id()', promotionTimeoutMs);
      service.context.truth('database.promoted', node.id, { instance: instance.id, zone: node.zone });
      return;
    } catch (error) {
      service.context.log(`${node.id}: not promoted yet: ${messageOf(error)}`);
      await systemClock.sleep(promotionLookEveryMs, signal);
    }
  }
};

const publishUntilTaken = async (service: Service, instance: Instance, signal: AbortSignal): Promise<void> => {
  instance.published = false;
  const untilMs = systemClock.monotonicMs() + 10_000;
  // When it is not taken, the monitor goes on trying: the writer is there, only its name is late.
  while (!(await publish(service, instance)) && systemClock.monotonicMs() < untilMs) {
    await systemClock.sleep(100, signal);
  }
};

/**
 * What an old primary does that nobody fences: an agent beside it notices the loss of its standby, and lets commits go
 * on without one.
 */
const goOnAlone = async (
  service: Service,
  instance: Instance,
  old: PostgresNode,
  signal: AbortSignal,
): Promise<void> => {
  const { layout, truth, log } = service.context;
  truth('database.unfenced', instance.id, { zone: old.zone });
  if (old.pid() === undefined) return;
  await systemClock.sleep(scaled(layout, layout.settings.database.synchronousTimeout), signal);
  try {
    await setSynchronous(service, zonePlace(old.zone), old, undefined);
    truth('database.synchronous-dropped', instance.id, { zone: old.zone, why: 'it goes on alone' });
  } catch (error) {
    log(`${old.id} does not go on alone: ${messageOf(error)}`);
  }
};

/**
 * The standby takes over: fence first, so that nothing acknowledges on the old primary any more; then what RDS needs
 * (a constant of the environment); then the promotion; then the endpoint. Only for a standby that has every commit.
 * With fencing switched off the old primary goes on until its place is reached again and it is rebuilt.
 */
export const failOver = (service: Service, instance: Instance, how: 'automatic' | 'manual'): Description => {
  const standby = standbyOf(instance);
  if (standby === undefined) {
    const message = 'A forced failover needs a Multi-AZ instance.';
    throw new ControlError(400, 'InvalidParameterCombination', message);
  }
  if (instance.operation !== undefined || instance.status !== 'available')
    throw invalidState(instance, 'not available');
  if (instance.source !== undefined || !instance.synchronised) {
    throw invalidState(instance, 'its standby does not have every commit');
  }
  const old = instance.writer;
  const isFenced = service.switches.fencing;
  const status = how === 'automatic' ? 'failing-over' : 'rebooting';
  return begin(service, instance, `${how} failover`, status, async (signal) => {
    const { layout, truth } = service.context;
    if (isFenced) {
      const atMs = await old.kill('fenced before the standby is promoted');
      truth('database.fenced', instance.id, { atMs, zone: old.zone, why: `${how} failover` });
    }
    Object.assign(instance, { synchronised: false, standbyStreams: false, quorum: false });
    await Promise.all([
      systemClock.sleep(scaled(layout, layout.settings.database.failover), signal),
      isFenced ? undefined : goOnAlone(service, instance, old, signal),
    ]);
    await promoteNode(service, instance, standby, signal);
    instance.writer = standby;
    instance.standbyStale = true;
    await publishUntilTaken(service, instance, signal);
  });
};

/**
 * A replica becomes a primary of its own. Its former source is fenced before, unless a majority of the control planes
 * sees it: on its own side of a partition it would go on taking writes. One that a majority sees is left alone, as by
 * RDS: the promotion makes a database of its own then, not a new primary of this one.
 */
export const promote = (service: Service, instance: Instance): Description => {
  if (instance.operation !== undefined || instance.status !== 'available')
    throw invalidState(instance, 'not available');
  if (instance.source === undefined) throw invalidState(instance, 'it is not a read replica');
  const source = instanceOf(service, instance.source);
  return begin(service, instance, 'promotion', 'modifying', async (signal) => {
    const { layout } = service.context;
    if (!service.switches.fencing) service.context.truth('database.unfenced', source.id, { zone: source.writer.zone });
    const fenceIfSilent = async (): Promise<void> => {
      if (!service.switches.fencing) return;
      if (source.status === 'stopped' || (await isSeenByMajority(service, source.writer))) return;
      await fenceInstance(service, source, `${instance.id} is promoted`);
    };
    await Promise.all([fenceIfSilent(), systemClock.sleep(scaled(layout, layout.settings.database.promotion), signal)]);
    await fenceIfSilent();
    await promoteNode(service, instance, instance.writer, signal);
    Object.assign(instance, { source: undefined, upstream: undefined, quorum: false, synchronised: false });
    await publishUntilTaken(service, instance, signal);
  });
};

/**
 * A fenced instance takes up its work again with the data it has: whoever asks has seen to it that no other one has
 * newer writes. Its standby is started, and taken back into the quorum, by the monitor.
 */
export const startStopped = (service: Service, instance: Instance): Description => {
  if (instance.operation !== undefined || instance.status !== 'stopped') throw invalidState(instance, 'not stopped');
  return begin(service, instance, 'start', 'starting', async (signal) => {
    await instance.writer.start(signal);
  });
};

/** Rebuilds a server from the primary and lets it stream from `upstream`, which may be a replica itself. */
export const rebuildNode = async (
  service: Service,
  instance: Instance,
  node: PostgresNode,
  upstream: string,
  signal: AbortSignal,
): Promise<void> => {
  await node.kill('rebuilt');
  await node.rebuildFrom(rootOf(service, instance).writer);
  await node.configure({ upstream, synchronous: undefined });
  service.context.truth('database.rebuilt', node.id, { instance: instance.id, upstream });
  await node.start(signal);
};

const untilReceiving = async (service: Service, instance: Instance, signal: AbortSignal): Promise<void> => {
  const session = service.session(observerOf(instance), instance.writer);
  for (;;) {
    signal.throwIfAborted();
    try {
      const rows = await session.query("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'", 5000);
      if (rows.length > 0) return;
    } catch (error) {
      service.context.log(`${instance.id}: does not answer yet: ${messageOf(error)}`);
    }
    await systemClock.sleep(promotionLookEveryMs, signal);
  }
};

/** A rebuild that could not be done is tried again: a cut region comes back at its own time. */
const rebuildUntilDone = async (
  service: Service,
  instance: Instance,
  node: PostgresNode,
  upstream: string,
  signal: AbortSignal,
): Promise<void> => {
  for (;;) {
    signal.throwIfAborted();
    try {
      await rebuildNode(service, instance, node, upstream, signal);
      return;
    } catch (error) {
      service.context.log(`${node.id}: not rebuilt yet: ${messageOf(error)}`);
      await systemClock.sleep(500, signal);
    }
  }
};

/** Makes every server of an instance a copy of its source, the standby streaming from the writer. */
const resynchronise = async (service: Service, instance: Instance, signal: AbortSignal): Promise<void> => {
  const source = instanceOf(service, instance.source ?? '');
  const upstream = source.writer.server;
  Object.assign(instance, { quorum: false, synchronised: false, standbyStreams: false, standbyStale: true, upstream });
  await Promise.all(instance.nodes.map((node) => node.kill('resynchronised')));
  await rebuildUntilDone(service, instance, instance.writer, upstream, signal);
  await untilReceiving(service, instance, signal);
};

/**
 * Makes an instance a replica of another one: its own servers are shut first and everything only they have is gone.
 * Replicas that still stream from it are rebuilt as well, because they may have what is gone.
 */
export const replicaOf = (service: Service, instance: Instance, sourceId: string): Description => {
  const source = instanceOf(service, sourceId);
  const allowed: readonly InstanceStatus[] = ['available', 'stopped', 'failed'];
  if (instance.operation !== undefined || !allowed.includes(instance.status)) {
    throw invalidState(instance, 'another change is under way');
  }
  if (source.status !== 'available') throw invalidState(source, 'a source must be available');
  if (instance.source !== undefined) throw invalidState(instance, `it is a replica of ${instance.source}`);
  if (rootOf(service, source) === instance) throw invalidState(source, `it replicates from ${instance.id}`);
  if (source.databaseName !== instance.databaseName) throw invalidState(source, 'it has another database');
  return begin(service, instance, `replica of ${sourceId}`, 'creating', async (signal) => {
    instance.source = sourceId;
    await resynchronise(service, instance, signal);
    await publishUntilTaken(service, instance, signal);
    for (const follower of service.instances) {
      if (follower.source !== instance.id || follower.operation !== undefined) continue;
      begin(service, follower, `resynchronisation from ${instance.id}`, 'creating', async (followerSignal) => {
        await resynchronise(service, follower, followerSignal);
      });
    }
  });
};
