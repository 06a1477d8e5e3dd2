import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { poll, systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Component, ComponentContext } from '../component.ts';
import { guardServers } from '../guard.ts';
import { forwardPort, type LabLayout, type Place, regionPlace, scaled } from '../layout.ts';
import { askRedis, type RedisRole, roleOf } from './redis-client.ts';

/**
 * The cache: one primary and replicas of it over the links, replaced when it is lost, as ElastiCache does it for a
 * replication group with automatic failover. Redis' own cluster protocol is not used: its nodes tell each other and
 * their clients one address per node, so it would go round the links.
 */
const idOf = (index: number): string => `cache/${index}`;

const nodesOf = (
  layout: LabLayout,
): readonly { readonly index: number; readonly place: Place; readonly port: number }[] =>
  layout.endpoints
    .filter(({ id }) => id.startsWith('cache/'))
    .map(({ id, place, port }) => ({ index: Number(id.slice('cache/'.length)), place, port }));

const folderOf = (layout: LabLayout, index: number): string => path.join(layout.stateDir, `cache-${index}`);
const pidFileOf = (layout: LabLayout, index: number): string => path.join(folderOf(layout, index), 'redis.pid');
const primaryFile = (layout: LabLayout): string => path.join(layout.stateDir, 'cache-primary');

/** Which node is the primary, from the file that its control keeps; the first one until it says otherwise. */
const currentPrimary = async (layout: LabLayout): Promise<number> => {
  try {
    return Number(await readFile(primaryFile(layout), 'utf8'));
  } catch {
    // Nobody has taken over yet.
    return 0;
  }
};

const setPrimary = (layout: LabLayout, index: number): void => {
  const temporary = `${primaryFile(layout)}.new`;
  writeFileSync(temporary, String(index), { mode: 0o600 });
  renameSync(temporary, primaryFile(layout));
};

const replicaPort = (layout: LabLayout, place: Place, primary: number): number =>
  forwardPort(layout, place, idOf(primary));

const flagsOf = (layout: LabLayout, index: number, port: number, upstream: number | undefined): readonly string[] => {
  const timeoutS = Math.max(1, Math.ceil(scaled(layout, layout.settings.cache.nodeTimeout) / 1000));
  return [
    ...['--port', String(port), '--bind', '127.0.0.1', '--protected-mode', 'no', '--daemonize', 'no'],
    ...['--dir', folderOf(layout, index), '--pidfile', pidFileOf(layout, index)],
    ...['--save', '', '--appendonly', 'no', '--maxmemory', '32mb', '--maxmemory-policy', 'allkeys-lru'],
    ...['--repl-diskless-sync', 'yes', '--repl-diskless-sync-delay', '0', '--repl-diskless-load', 'swapdb'],
    ...['--repl-timeout', String(timeoutS + 1), '--repl-ping-replica-period', '1', '--io-threads', '1'],
    ...(upstream === undefined ? [] : ['--replicaof', `127.0.0.1 ${upstream}`]),
  ];
};

const readyWithinMs = 10_000;
const callTimeoutMs = 1000;

/** Runs one redis-server, and starts it again as a replica of whoever is the primary by then. */
const runNode = async (context: ComponentContext, index: number): Promise<() => ChildProcess | undefined> => {
  const { layout, signal, log, truth } = context;
  const node = nodesOf(layout).find((one) => one.index === index);
  const server = layout.redisServer;
  if (node === undefined || server === null) throw new Error(`the layout has no cache node ${index}`);
  mkdirSync(folderOf(layout, index), { recursive: true, mode: 0o700 });
  let child: ChildProcess | undefined;

  const launch = (primary: number): void => {
    const upstream = primary === index ? undefined : replicaPort(layout, node.place, primary);
    const file = openSync(path.join(layout.stateDir, 'logs', `redis-${index}.log`), 'a', 0o600);
    const started = spawn(server, flagsOf(layout, index, node.port, upstream), { stdio: ['ignore', file, file] });
    closeSync(file);
    child = started;
    truth('process.started', idOf(index), { pid: started.pid });
    started.once('error', (error) => log(`redis-server: ${error.message}`));
    started.once('exit', (code, signalName) => {
      child = undefined;
      truth('process.exited', idOf(index), { pid: started.pid, code, signal: signalName });
      if (!signal.aborted) again().catch((error: unknown) => log(`restart: ${messageOf(error)}`));
    });
  };

  // A primary that came back by itself would be empty, and its replicas would follow it: it waits for a successor.
  const again = async (): Promise<void> => {
    const patienceMs = 4 * scaled(layout, layout.settings.cache.nodeTimeout) + 1000;
    const untilMs = systemClock.monotonicMs() + patienceMs;
    while ((await currentPrimary(layout)) === index && systemClock.monotonicMs() < untilMs) {
      await systemClock.sleep(50, signal);
    }
    launch(await currentPrimary(layout));
  };

  launch(await currentPrimary(layout));
  await poll(systemClock, 10, AbortSignal.any([signal, AbortSignal.timeout(readyWithinMs)]), async () => {
    try {
      return await askRedis(node.port, 'PING', callTimeoutMs);
    } catch (error) {
      log(`not ready: ${messageOf(error)}`);
      return undefined;
    }
  });
  return () => child;
};

/** The control looks from where ElastiCache would: the primary region itself, in none of its zones. */
const observer = (layout: LabLayout): Place => {
  const region = layout.environment.regions.find(({ role }) => role === 'primary') ?? layout.environment.regions[0];
  return regionPlace(region?.name ?? '');
};

interface Seen {
  readonly index: number;
  readonly place: Place;
  readonly role: RedisRole;
}

const lookAtAll = async (layout: LabLayout, timeoutMs: number): Promise<readonly Seen[]> => {
  const looks = nodesOf(layout).map(async ({ index, place }): Promise<Seen> => {
    return { index, place, role: await roleOf(forwardPort(layout, observer(layout), idOf(index)), timeoutMs) };
  });
  const settled = await Promise.allSettled(looks);
  return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
};

/** Shuts the old primary by its process id: it must not take writes that nobody will have. */
const fence = async ({ layout, log, truth }: ComponentContext, index: number): Promise<void> => {
  try {
    const pid = Number.parseInt(await readFile(pidFileOf(layout, index), 'utf8'), 10);
    process.kill(pid, 'SIGKILL');
    truth('process.signalled', idOf(index), { pid, signal: 'SIGKILL', why: 'fenced before a replica is promoted' });
  } catch (error) {
    log(`${idOf(index)} is not running: ${messageOf(error)}`);
  }
};

const takeOver = async (context: ComponentContext, old: number, seen: readonly Seen[]): Promise<void> => {
  const { layout, log, truth } = context;
  const candidates = seen.filter(({ index }) => index !== old);
  const next = candidates.toSorted((one, other) => other.role.offset - one.role.offset)[0];
  if (next === undefined) return;
  log(`${idOf(old)} is lost, ${idOf(next.index)} takes over`);
  setPrimary(layout, next.index);
  await fence(context, old);
  await askRedis(forwardPort(layout, observer(layout), idOf(next.index)), 'REPLICAOF NO ONE', callTimeoutMs);
  truth('cache.promoted', idOf(next.index), { from: idOf(old) });
};

/** Points every node that follows somebody else, or nobody, at the primary. */
const alignReplicas = async (layout: LabLayout, primary: number, seen: readonly Seen[]): Promise<void> => {
  for (const { index, place, role } of seen) {
    if (index === primary) continue;
    const wanted = replicaPort(layout, place, primary);
    if (role.role === 'slave' && role.primaryPort === wanted) continue;
    await askRedis(forwardPort(layout, observer(layout), idOf(index)), `REPLICAOF 127.0.0.1 ${wanted}`, callTimeoutMs);
  }
};

const control = async (context: ComponentContext): Promise<void> => {
  const { layout, signal, log } = context;
  const limitMs = scaled(layout, layout.settings.cache.nodeTimeout);
  const periodMs = Math.max(20, limitMs / 5);
  let lastSeenMs = systemClock.monotonicMs();
  while (!signal.aborted) {
    await systemClock.sleep(periodMs, signal);
    try {
      const seen = await lookAtAll(layout, Math.max(periodMs, layout.settings.timeoutFloor));
      const primary = await currentPrimary(layout);
      const found = seen.find(({ index }) => index === primary);
      if (found?.role.role === 'master') {
        lastSeenMs = systemClock.monotonicMs();
        await alignReplicas(layout, primary, seen);
      } else if (found !== undefined) {
        await askRedis(forwardPort(layout, observer(layout), idOf(primary)), 'REPLICAOF NO ONE', callTimeoutMs);
      } else if (systemClock.monotonicMs() - lastSeenMs >= limitMs) {
        await takeOver(context, primary, seen);
        lastSeenMs = systemClock.monotonicMs();
      }
    } catch (error) {
      log(`control: ${messageOf(error)}`);
    }
  }
};

/** One Redis node; the first also carries the control that replaces a lost primary. */
export const component: Component = {
  kind: 'cache',
  async start(context) {
    const { layout, signal, log } = context;
    const index = Number(context.options['index'] ?? '0');
    const guard = guardServers([pidFileOf(layout, index)], 'TERM');
    let child: () => ChildProcess | undefined = () => undefined;
    context.onStop?.(async () => {
      child()?.kill('SIGTERM');
      child()?.kill('SIGCONT');
      const untilMs = systemClock.monotonicMs() + 2000;
      while (child() !== undefined && systemClock.monotonicMs() < untilMs) await systemClock.sleep(5);
      child()?.kill('SIGKILL');
      guard.dismiss();
    });
    child = await runNode(context, index);
    if (index === 0) {
      control(context).catch((error: unknown) => {
        if (!signal.aborted) log(`the control ended: ${messageOf(error)}`);
      });
    }
    return { index };
  },
};
