import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { callControl } from '../control.ts';
import { type Place, scaled, scaledTimeout, zonePlace } from '../layout.ts';
import { type Instance, instanceOf, observerOf, rootOf, type Service, standbyOf } from './instance.ts';
import { type PostgresNode, streamTimeoutMs, synchronousSetting, upstreamSetting } from './node.ts';
import type { Row } from './session.ts';
import { hasDiverged } from './timeline.ts';

/** One look at a writer, and what it says of the streams that concern it. Positions are bytes of WAL. */
export interface Look {
  readonly atMs: number;
  readonly inRecovery: boolean;
  readonly positionBytes: number;
  readonly streams: readonly {
    readonly server: string;
    readonly state: string;
    readonly synchronous: boolean;
    readonly flushedBytes: number;
  }[];
  /** The writer of a replica: whether it receives, and on which timeline. */
  readonly receiving: boolean;
  readonly timeline: number | undefined;
}

const lookSql = `
  SELECT pg_is_in_recovery() AS recovery,
    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
      THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END,
      '0/0')::float8 AS position,
    (SELECT json_agg(json_build_object('server', application_name, 'state', state,
        'synchronous', sync_state = 'sync', 'flushedBytes', pg_wal_lsn_diff(flush_lsn, '0/0')))
      FROM pg_stat_replication) AS streams,
    (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming') AS timeline`;

const streamsOf = (row: Row): Look['streams'] =>
  (Array.isArray(row['streams']) ? row['streams'] : []).map((one: Row) => ({
    server: String(one['server']),
    state: String(one['state']),
    synchronous: one['synchronous'] === true,
    flushedBytes: Number(one['flushedBytes'] ?? -1),
  }));

/** Asks the writer how it is, from where RDS would look. Throws when there is no answer in time. */
export const lookAt = async (service: Service, instance: Instance, timeoutMs: number): Promise<Look> => {
  const atMs = systemClock.monotonicMs();
  const [row = {}] = await service.session(observerOf(instance), instance.writer).query(lookSql, timeoutMs);
  const timeline = typeof row['timeline'] === 'number' ? row['timeline'] : undefined;
  const positionBytes = Number(row['position'] ?? 0);
  instance.positionBytes = positionBytes;
  return {
    atMs,
    inRecovery: row['recovery'] === true,
    positionBytes,
    streams: streamsOf(row),
    receiving: timeline !== undefined,
    timeline,
  };
};

export interface MonitorState {
  failures: number;
  previous: Look | undefined;
  /** Since when the standby has made no progress although there was some to make. */
  stalledSinceMs: number | undefined;
  quorumSetAtMs: number;
  /** When the standby has flushed this far, every commit acknowledged earlier is on it. */
  confirmBytes: number | undefined;
  /** Timeline the replica last received. */
  timeline: number | undefined;
  notReceivingSinceMs: number | undefined;
  /** Since when the replica has been behind its source without moving. */
  stuckSinceMs: number | undefined;
}

export const newMonitorState = (): MonitorState => ({
  failures: 0,
  previous: undefined,
  stalledSinceMs: undefined,
  quorumSetAtMs: 0,
  confirmBytes: undefined,
  timeline: undefined,
  notReceivingSinceMs: undefined,
  stuckSinceMs: undefined,
});

/** After telling a server to wait for its standby, connections that have not heard of it may still not wait. */
const settleMs = 300;
/** Real work, such as a reload or a flush on a busy machine, is not a lost standby. */
const stallFloorMs = 500;

/** Tells a server, as seen from `place`, which standby its commits wait for. */
export const setSynchronous = async (
  service: Service,
  place: Place,
  node: PostgresNode,
  standby: PostgresNode | undefined,
): Promise<void> => {
  const session = service.session(place, node);
  const timeoutMs = scaledTimeout(service.context.layout, service.context.layout.settings.database.checkTimeout);
  await session.query(`ALTER SYSTEM SET synchronous_standby_names = ${synchronousSetting(standby?.server)}`, timeoutMs);
  await session.query('SELECT pg_reload_conf()', timeoutMs);
};

const dropStandby = async (service: Service, instance: Instance, standby: PostgresNode): Promise<void> => {
  // In this order: from here on it may not take over, whether or not the writer hears of it.
  instance.synchronised = false;
  await setSynchronous(service, observerOf(instance), instance.writer, undefined);
  instance.quorum = false;
  service.context.truth('database.synchronous-dropped', instance.id, { zone: standby.zone });
};

const awaitConfirmation = (service: Service, instance: Instance, state: MonitorState, look: Look): void => {
  const standby = standbyOf(instance);
  const stream = look.streams.find(({ server }) => server === standby?.server);
  if (stream?.synchronous !== true || look.atMs < state.quorumSetAtMs + settleMs) return;
  state.confirmBytes ??= look.positionBytes;
  if (stream.flushedBytes < state.confirmBytes) return;
  instance.synchronised = true;
  service.context.truth('database.synchronised', instance.id, { zone: standby?.zone });
};

/** Takes a standby that is lost out of the quorum, and back in once it has caught up. */
export const keepSynchronous = async (
  service: Service,
  instance: Instance,
  state: MonitorState,
  look: Look,
): Promise<void> => {
  const standby = standbyOf(instance);
  const previous = state.previous;
  state.previous = look;
  if (standby === undefined || look.inRecovery) return;
  const { layout } = service.context;
  const stream = look.streams.find(({ server }) => server === standby.server);
  const before = previous?.streams.find(({ server }) => server === standby.server);
  instance.standbyStreams = stream?.state === 'streaming';
  if (!instance.quorum) {
    const caughtUp = stream?.state === 'streaming' && previous !== undefined;
    if (!caughtUp || stream.flushedBytes < previous.positionBytes) return;
    await setSynchronous(service, observerOf(instance), instance.writer, standby);
    instance.quorum = true;
    Object.assign(state, { quorumSetAtMs: systemClock.monotonicMs(), confirmBytes: undefined });
    return;
  }
  const behind = stream === undefined || stream.flushedBytes < look.positionBytes;
  const moves = stream !== undefined && before !== undefined && stream.flushedBytes > before.flushedBytes;
  if (!behind || moves) state.stalledSinceMs = undefined;
  else state.stalledSinceMs ??= look.atMs;
  const patienceMs = Math.max(stallFloorMs, scaled(layout, layout.settings.database.synchronousTimeout));
  if (state.stalledSinceMs !== undefined && look.atMs - state.stalledSinceMs >= patienceMs) {
    state.stalledSinceMs = undefined;
    await dropStandby(service, instance, standby);
  } else if (!instance.synchronised) {
    awaitConfirmation(service, instance, state, look);
  }
};

/** Points a replica at the server its source's writer is now. True when it already was. */
const followSource = async (service: Service, instance: Instance, source: Instance): Promise<boolean> => {
  const wanted = source.writer.server;
  if (instance.upstream === wanted) return true;
  const { layout } = service.context;
  const session = service.session(observerOf(instance), instance.writer);
  const timeoutMs = scaledTimeout(layout, layout.settings.database.checkTimeout);
  const setting = upstreamSetting(layout, instance.writer, wanted);
  await session.query(`ALTER SYSTEM SET primary_conninfo = ${setting}`, timeoutMs);
  await session.query('SELECT pg_reload_conf()', timeoutMs);
  instance.upstream = wanted;
  service.context.truth('database.follows', instance.id, { zone: source.writer.zone });
  return false;
};

/** The source answers from where the replica is: then a stream that does not come is not the fault of the network. */
const sourceAnswers = async (service: Service, instance: Instance, source: Instance): Promise<boolean> => {
  try {
    await service
      .session(zonePlace(instance.writer.zone), source.writer)
      .query('SELECT 1', streamTimeoutMs(service.context.layout));
    return true;
  } catch (error) {
    service.context.log(`${instance.id} does not reach ${source.id}: ${messageOf(error)}`);
    return false;
  }
};

/** A replica may be silent for this many of its stream's time-outs before it is given up. */
const silencesMax = 3;

const isLost = async (service: Service, instance: Instance, state: MonitorState, look: Look): Promise<boolean> => {
  const silenceMs = streamTimeoutMs(service.context.layout);
  const silentMs = look.atMs - (state.notReceivingSinceMs ?? look.atMs);
  if (silentMs >= silenceMs) {
    state.notReceivingSinceMs = look.atMs;
    const { writer } = rootOf(service, instance);
    if (await hasDiverged(writer.dataDir, state.timeline, look.positionBytes)) return true;
  }
  return look.atMs - (state.stuckSinceMs ?? look.atMs) >= silencesMax * silenceMs;
};

/**
 * Keeps a replica streaming: points it at its source's writer, and says `rebuild` when no stream can mend it, because
 * it has received what the new writer never had, or needs a part of the log that nobody has any more.
 */
export const keepFollowing = async (
  service: Service,
  instance: Instance,
  state: MonitorState,
  look: Look,
): Promise<'follows' | 'rebuild'> => {
  const before = state.previous;
  state.previous = look;
  if (instance.source === undefined || !look.inRecovery) return 'follows';
  const source = instanceOf(service, instance.source);
  const standby = standbyOf(instance);
  instance.standbyStreams = look.streams.some(
    ({ server, state: now }) => server === standby?.server && now === 'streaming',
  );
  state.timeline = look.timeline ?? state.timeline;
  if (look.receiving) state.notReceivingSinceMs = undefined;
  else state.notReceivingSinceMs ??= look.atMs;
  const moves = before === undefined || look.positionBytes > before.positionBytes;
  if (moves || look.positionBytes >= source.positionBytes) state.stuckSinceMs = undefined;
  else state.stuckSinceMs ??= look.atMs;
  if (source.status !== 'available' || !(await followSource(service, instance, source))) {
    state.stuckSinceMs = undefined;
    return 'follows';
  }
  if (!(await isLost(service, instance, state, look))) return 'follows';
  state.stuckSinceMs = undefined;
  return (await sourceAnswers(service, instance, source)) ? 'rebuild' : 'follows';
};

const publishTimeoutMs = 2000;

/** Tells the DNS control where the writer is; true once it has taken it. */
export const publish = async ({ context }: Service, instance: Instance): Promise<boolean> => {
  const { zone } = instance.writer;
  try {
    await callControl(context.layout, 'dns', 'PUT', `/endpoints/${encodeURIComponent(instance.id)}`, {
      body: { zone },
      signal: context.signal,
      timeoutMs: publishTimeoutMs,
    });
  } catch (error) {
    const why = messageOf(error);
    if (instance.unpublishedWhy !== why) context.log(`${instance.id}: DNS did not take the endpoint: ${why}`);
    instance.unpublishedWhy = why;
    return false;
  }
  instance.published = instance.writer.zone === zone;
  instance.unpublishedWhy = undefined;
  context.truth('endpoint.moved', instance.id, { zone });
  return instance.published;
};

/**
 * Whether a server's zone can be reached although the server itself is down: over a working link the connection is
 * refused at once, over a dead one nothing comes back.
 */
export const zoneAnswers = async (service: Service, instance: Instance, node: PostgresNode): Promise<boolean> => {
  const { layout } = service.context;
  const timeoutMs = scaledTimeout(layout, layout.settings.database.checkTimeout);
  const startedMs = systemClock.monotonicMs();
  try {
    await service.session(observerOf(instance), node).query('SELECT 1', timeoutMs);
    return true;
  } catch {
    // A refusal is an answer; silence until the time-out is none.
    return systemClock.monotonicMs() - startedMs < timeoutMs * 0.9;
  }
};
