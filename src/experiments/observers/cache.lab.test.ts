import { afterEach, describe, expect } from 'vitest';
import type { Ports } from '../../adapters/ports.ts';
import { createCachePort } from '../../adapters/redis.ts';
import { systemClock as clock, poll } from '../../core/clock.ts';
import type { Observation } from '../../core/observation.ts';
import { findRedisServer } from '../../lab/build-layout.ts';
import { callControl } from '../../lab/control.ts';
import { addressesOf } from '../../lab/state.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { itWith } from '../../testing/needs.ts';
import { cacheObserver } from './cache.ts';

let lab: StartedComponents | undefined;
afterEach(async () => {
  await lab?.stop();
  lab = undefined;
});

const testWithRedis = itWith('redis-server', findRedisServer(null) !== null);

describe('a cache whose primary goes dark with its zone', () => {
  testWithRedis('is seen to be lost and to be served again, with brackets that contain the truth', async () => {
    const environment = labEnvironment();
    const started = await startComponents(environment, ['links', 'cache'], { timeScale: 20 });
    lab = started;
    const { layout } = started;
    const nodes = addressesOf(layout).cache;
    const seen: Observation[] = [];
    const stop = new AbortController();
    const ports = { cache: () => createCachePort(nodes) } as Partial<Ports> as Ports;
    const session = { clock, environment, timeScale: 20, ports, identity: 'test', faults: [] };
    const lost: string[] = [];
    const watching = cacheObserver.watch(
      session,
      stop.signal,
      (one) => void seen.push(one),
      (_name, message) => void lost.push(message),
    );
    const until = (count: number): Promise<true> =>
      poll(clock, 20, AbortSignal.timeout(15_000), async () => (seen.length >= count ? true : undefined));
    await until(1);
    expect(seen[0]).toMatchObject({ name: 'cache.served', subject: nodes[0] });

    const zone = layout.endpoints.find(({ id }) => id === 'cache/0')?.place;
    const body = { match: { isolate: [zone] }, effect: { kind: 'blackhole' }, owner: 'test' };
    await callControl(layout, 'links', 'PUT', '/rules/dark', { body });
    await until(3);
    stop.abort();
    await watching;

    expect(lost).toEqual([]);
    const [, unserved, served] = seen;
    expect(unserved).toMatchObject({ name: 'cache.unserved', subject: nodes[0] });
    expect(served?.name).toBe('cache.served');
    expect(nodes.slice(1)).toContain(served?.subject);
    const instantOf = (event: string): number => {
      const found = started.truth().find((one) => one.event === event);
      return Number(found?.['atMs'] ?? Number.NaN);
    };
    const darkMs = instantOf('link.rule-added');
    expect(unserved?.minMs).toBeLessThanOrEqual(darkMs);
    expect(unserved?.maxMs).toBeGreaterThanOrEqual(darkMs);
    const promotedMs = instantOf('cache.promoted');
    expect(served?.minMs).toBeLessThanOrEqual(promotedMs);
    // The truth is written down a moment after the node was told.
    expect(served?.maxMs).toBeGreaterThanOrEqual(promotedMs - 20);
    expect((served?.maxMs ?? 0) - (served?.minMs ?? 0)).toBeLessThan(1500);
  });
});
