import { expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { labEnvironment } from '../testing.ts';
import { check } from './database.ts';
import type { Instance, Service } from './instance.ts';
import { newMonitorState } from './monitor.ts';
import type { PostgresNode } from './node.ts';

it('a look that was under way when its instance was fenced does not start the server again', async () => {
  const started: string[] = [];
  const node = (zone: string): PostgresNode =>
    ({
      id: `postgres/${zone}`,
      server: zone,
      zone,
      region: 'us-west-2',
      pid: () => undefined,
      start: async () => void started.push(zone),
    }) as never;
  const [writer, standby] = [node('us-west-2a'), node('us-west-2b')];
  const instance: Instance = {
    id: 'conversations',
    region: 'us-west-2',
    databaseName: 'conversations',
    nodes: [writer, standby],
    status: 'available',
    writer,
    source: undefined,
    upstream: undefined,
    quorum: true,
    synchronised: true,
    standbyStreams: true,
    standbyStale: false,
    positionBytes: 0,
    operation: undefined,
    upkeep: undefined,
    refusedWhy: undefined,
    published: true,
    unpublishedWhy: undefined,
  };
  let looks = 0;
  const service = {
    context: {
      layout: { environment: labEnvironment(), settings: labEnvironment().lab, timeScale: 20 },
      log: () => undefined,
      truth: () => undefined,
      signal: new AbortController().signal,
    },
    instances: [instance],
    switches: { fencing: true },
    session: () => ({
      query: async () => {
        looks += 1;
        if (looks > 1) return [];
        // Another instance is promoted meanwhile: this one is shut, and then its region comes back.
        Object.assign(instance, { status: 'stopped', synchronised: false });
        throw new Error('no answer');
      },
    }),
  } as unknown as Service;
  await check(service, instance, { ...newMonitorState(), failures: 100 });
  await instance.upkeep;
  await systemClock.sleep(50);
  expect(looks).toBeGreaterThan(0);
  expect(started).toEqual([]);
});
