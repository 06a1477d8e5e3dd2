import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import type { LabLayout } from '../layout.ts';
import { labEnvironment, testLayout } from '../testing.ts';
import { createDatabaseClient } from './database-client.ts';
import { fakePostgres, fakeResolver } from './testing.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const work of cleanUp.splice(0).toReversed()) await work();
});

const place = 'operator';

const clientOf = (layout: LabLayout, limitMs: number) => {
  const client = createDatabaseClient(
    { layout, log: () => undefined },
    { place, host: 'db.test', name: 'test', connectionsMax: 1, connectMs: limitMs, limitMs },
  );
  cleanUp.push(() => client.close());
  return client;
};

const statement = { name: 'epoch', text: 'SELECT 1 AS epoch', values: [] };

describe('the database client', () => {
  it('outlives a connection that breaks under a statement', async () => {
    const { layout, remove } = await testLayout(labEnvironment());
    const database = await fakePostgres('7:1');
    const resolver = await fakeResolver(layout, place, () => database.port);
    cleanUp.push(remove, () => resolver.close());
    const client = clientOf(layout, 2000);
    await client.query(statement);
    database.mode = 'hang';
    const asked = client.query(statement);
    // Watched from now on: it is awaited only after the server is gone.
    const outcome = expect(asked).rejects.toThrow();
    while (database.connections() === 0) await systemClock.sleep(5);
    await systemClock.sleep(50);
    database.close();
    await outcome;
    // An event that nobody heard would fail this run of the tests as an unhandled error.
    await systemClock.sleep(50);
  });
});
