import { afterEach, describe, expect } from 'vitest';
import { poll, systemClock } from '../../core/clock.ts';
import { itWith } from '../../testing/needs.ts';
import { findRedisServer } from '../build-layout.ts';
import { callControl } from '../control.ts';
import { forwardPort } from '../layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../testing.ts';
import { askRedis, roleOf } from './redis-client.ts';

let lab: StartedComponents | undefined;
afterEach(async () => {
  await lab?.stop();
  lab = undefined;
});

const testWithRedis = itWith('redis-server', findRedisServer(null) !== null);

describe('a cache of three nodes', () => {
  testWithRedis('a replica takes over from a primary in a dark zone, which returns as a replica', async () => {
    const started = await startComponents(labEnvironment(), ['links', 'cache']);
    lab = started;
    const { layout } = started;
    const port = (index: number): number => forwardPort(layout, 'operator', `cache/${index}`);
    const until = <T>(look: () => Promise<T | undefined>): Promise<T> =>
      poll(systemClock, 20, AbortSignal.timeout(15_000), async () => {
        try {
          return await look();
        } catch {
          return undefined;
        }
      });
    await until(async () => {
      const roles = await Promise.all([0, 1, 2].map((index) => roleOf(port(index), 500)));
      return roles.every(({ linked }) => linked) ? true : undefined;
    });
    expect(await askRedis(port(0), 'SET colour green', 500)).toBe('+OK');
    await until(async () => ((await askRedis(port(1), 'GET colour', 500)) === 'green' ? true : undefined));
    await expect(askRedis(port(1), 'SET colour red', 500)).rejects.toThrow(/READONLY/);

    const zone = layout.endpoints.find(({ id }) => id === 'cache/0')?.place;
    await callControl(layout, 'links', 'PUT', '/rules/dark', {
      body: { match: { isolate: [zone] }, effect: { kind: 'blackhole' }, owner: 'test' },
    });
    const next = await until(async () => {
      const roles = await Promise.all([1, 2].map((index) => roleOf(port(index), 500)));
      const at = roles.findIndex(({ role }) => role === 'master');
      return at < 0 ? undefined : at + 1;
    });
    expect(await askRedis(port(next), 'SET colour blue', 500)).toBe('+OK');
    await callControl(layout, 'links', 'DELETE', '/rules/dark');
    await until(async () => {
      const back = await roleOf(port(0), 500);
      return back.role === 'slave' && back.linked ? true : undefined;
    });
    expect(await askRedis(port(0), 'GET colour', 500)).toBe('blue');
    const events = started.truth().filter(({ event }) => event.startsWith('process.') || event === 'cache.promoted');
    const promoted = events.findIndex(({ event }) => event === 'cache.promoted');
    const killed = events.findIndex(({ event, subject }) => event === 'process.signalled' && subject === 'cache/0');
    expect(killed).toBeGreaterThan(-1);
    expect(killed).toBeLessThan(promoted);
  });
});
