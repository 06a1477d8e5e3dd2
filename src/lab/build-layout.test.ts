import { describe, expect, it } from 'vitest';
import { buildLayout, findRedisServer } from './build-layout.ts';
import { instancesOf } from './instances.ts';
import { forwardPort, shapeOf } from './layout.ts';
import { labEnvironment } from './testing.ts';

const stateDir = '/nonexistent';

describe('layout of a lab', () => {
  it('gives every listener a port of its own, save WAL streams, which are their PostgreSQL server', async () => {
    const layout = await buildLayout({ environment: labEnvironment(), stateDir });
    const ports = [
      ...layout.endpoints.filter(({ id }) => !id.startsWith('wal/')).map(({ port }) => port),
      ...layout.forwards.map(({ port }) => port),
      ...Object.values(layout.egress),
      ...Object.values(layout.resolvers),
      ...Object.values(layout.control),
    ];
    expect(new Set(ports).size).toBe(ports.length);
    expect(ports.every((port) => port > 1023 && port < 32_768)).toBe(true);
    const portOf = (id: string) => layout.endpoints.find((endpoint) => endpoint.id === id)?.port;
    expect(portOf('wal/us-west-2a')).toBe(portOf('postgres/us-west-2a'));
    expect(forwardPort(layout, 'zone/us-east-1a', 'wal/us-west-2a')).not.toBe(
      forwardPort(layout, 'zone/us-east-1a', 'postgres/us-west-2a'),
    );
  });

  it('delays WAL between regions by the documented lag over the time scale, both ways, not inside one', async () => {
    const layout = await buildLayout({ environment: labEnvironment(), stateDir, timeScale: 10 });
    const delay = (from: string, to: string) =>
      layout.walDelays.find(({ source, endpoint }) => source === `zone/${to}` && endpoint === `wal/${from}`)?.delayMs;
    expect(delay('us-west-2a', 'us-east-1a')).toBe(500);
    expect(delay('us-west-2b', 'us-east-1a')).toBe(500);
    expect(delay('us-east-1a', 'us-west-2a')).toBe(500);
    expect(delay('us-west-2a', 'eu-central-1a')).toBe(1000);
    expect(delay('us-west-2a', 'us-west-2b')).toBeUndefined();
  });

  it('runs what the environment lists: another platform needs no other code', async () => {
    const lab = labEnvironment();
    const [primary, other] = lab.regions;
    if (primary === undefined || other === undefined) throw new Error('the lab has fewer than two regions');
    const environment = { ...lab, regions: [{ ...primary, zones: [...primary.zones, { name: 'us-west-2c' }] }, other] };
    const layout = await buildLayout({ environment, stateDir });
    const names = instancesOf(layout).map(({ name }) => name);
    expect(names.filter((name) => name.startsWith('node-agent-'))).toHaveLength(5);
    expect(names.filter((name) => name.startsWith('vector-'))).toEqual(['vector-us-west-2', 'vector-us-east-1']);
    expect(names.filter((name) => name.startsWith('cache-'))).toHaveLength(layout.redisServer === null ? 0 : 3);
  });

  it('keeps the cache in the primary region, its primary in a zone of its own', () => {
    const environment = labEnvironment();
    const places = shapeOf(environment, 3).endpoints.flatMap(({ id, place }) =>
      id.startsWith('cache/') ? [place] : [],
    );
    expect(places).toEqual(['zone/us-west-2a', 'zone/us-west-2b', 'zone/us-west-2b']);
  });

  it('refuses an environment that has no lab, and a redis-server that is not there', async () => {
    const { lab: _, ...environment } = labEnvironment();
    await expect(buildLayout({ environment, stateDir })).rejects.toMatchObject({ code: 'BAD_FILE' });
    expect(() => findRedisServer('/nowhere/redis-server')).toThrow(/not an executable/);
    expect(findRedisServer(null, '/nowhere')).toBeNull();
  });
});
