import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { insertText, labDatabase } from '../../testing/lab-database.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../testing.ts';

const west = 'billing-us-west-2b';
const east = 'billing-us-east-1b';

let lab: StartedComponents;
const { instance, until, untilInstance, act, connect, sql, indexesIn, isolate, rule, heal, truthAt, fencing, kill } =
  labDatabase(() => lab);

/** Writes numbered rows to one server until it is stopped or refused, and keeps what was acknowledged, and when. */
const startWriter = async (server: string, stream: string) => {
  const client = await connect(server, 'client/us-west');
  const acknowledged: { readonly index: number; readonly atMs: number }[] = [];
  let running = true;
  const work = async (): Promise<void> => {
    for (let index = 0; running; index += 1) {
      try {
        await client.query(insertText, [stream, index]);
        acknowledged.push({ index, atMs: systemClock.monotonicMs() });
      } catch {
        // Cut off or fenced: what was acknowledged before is what counts.
        running = false;
      }
      await systemClock.sleep(10);
    }
    client.end().catch(() => undefined);
  };
  const done = work();
  return {
    acknowledged,
    stop: async (): Promise<void> => {
      running = false;
      await done;
    },
  };
};

const betweenRegions = (one: string) => {
  const others = ['us-west-2', 'us-east-1', 'eu-central-1'].filter((region) => region !== one);
  const there = others.map((region) => `region/${region}`);
  return [
    { from: [`region/${one}`], to: there },
    { from: there, to: [`region/${one}`] },
  ];
};

/** Cuts a region off from the others; clients and the operator still reach all of them. */
const partition = async (region: string): Promise<void> => {
  for (const [index, match] of betweenRegions(region).entries()) await rule(`partition-${index}`, match);
};
const rejoin = async (): Promise<void> => {
  for (const index of [0, 1]) await heal(`partition-${index}`);
};

const missing = async (server: string, stream: string, acknowledged: readonly { readonly index: number }[]) => {
  const kept = new Set(await indexesIn(server, stream));
  return acknowledged.filter(({ index }) => !kept.has(index));
};

beforeEach(async () => {
  lab = await startComponents(labEnvironment(), ['links', 'database', 'dns']);
});
afterEach(() => lab.stop());

test('a commit is in the other region before it is acknowledged, at the price of the way there and back', async () => {
  expect(await instance('billing')).toMatchObject({
    status: 'available',
    zone: 'us-west-2b',
    secondaryZone: 'us-east-1b',
    multiZone: true,
    source: null,
    endpoint: 'billing.rds.platform.lab',
  });
  const client = await connect(west);
  for (let index = 0; index < 20; index += 1) {
    const startedMs = systemClock.monotonicMs();
    await client.query(insertText, ['distance', index]);
    expect(systemClock.monotonicMs() - startedMs).toBeGreaterThanOrEqual(39);
  }
  await client.end();
  // Another cluster than the conversations: its logs can never be mixed up with theirs.
  const identity = 'SELECT system_identifier::text AS id FROM pg_control_system()';
  expect((await sql(west, identity)).rows).not.toEqual((await sql('us-west-2a', identity)).rows);
  await expect(act('billing', 'replica-of', { source: 'conversations-us-west-2' })).rejects.toThrow(/another database/);
});

test('its region fails: the other elects its standby, nothing acknowledged is lost, redundancy returns', async () => {
  const writer = await startWriter(west, 'region');
  await systemClock.sleep(500);
  await isolate('region', 'region/us-west-2');
  await untilInstance('billing', 'in the other region', ({ zone }) => zone === 'us-east-1b');
  await writer.stop();
  expect(writer.acknowledged.length).toBeGreaterThan(3);
  expect(await missing(east, 'region', writer.acknowledged)).toEqual([]);
  expect(truthAt('database.elected', 'billing')).toBeLessThan(truthAt('database.fenced', 'billing'));
  expect(truthAt('database.fenced', 'billing')).toBeLessThan(truthAt('database.promoted', `postgres/${east}`));
  await sql(east, insertText, ['after', 1]);
  await heal('region');
  await untilInstance('billing', 'redundant again', ({ secondaryZone }) => secondaryZone === 'us-west-2b');
  await expect(sql(west, insertText, ['old', 1])).rejects.toMatchObject({ code: '25006' });
  expect(await indexesIn(west, 'after')).toEqual([1]);
});

test('a minority elects nobody: the standby that is cut off stays one, and the writer goes on without it', async () => {
  await partition('us-east-1');
  const writer = await startWriter(west, 'minority');
  await until('writes without the standby', async () => (writer.acknowledged.length > 5 ? true : undefined));
  await systemClock.sleep(2000);
  await writer.stop();
  expect(await instance('billing')).toMatchObject({ status: 'available', zone: 'us-west-2b', secondaryZone: null });
  await expect(sql(east, insertText, ['elected', 1])).rejects.toMatchObject({ code: '25006' });
  await rejoin();
  await untilInstance('billing', 'redundant again', ({ secondaryZone }) => secondaryZone === 'us-east-1b');
  expect(await missing(east, 'minority', writer.acknowledged)).toEqual([]);
  expect(lab.truth().filter(({ event }) => event === 'database.elected')).toEqual([]);
});

test('a writer on the minority side is fenced before the majority elects, though clients still reach it', async () => {
  const writer = await startWriter(west, 'fenced');
  await systemClock.sleep(300);
  await partition('us-west-2');
  await untilInstance('billing', 'in the other region', ({ zone }) => zone === 'us-east-1b');
  await writer.stop();
  const fencedMs = truthAt('database.fenced', 'billing');
  for (const { atMs } of writer.acknowledged) expect(atMs).toBeLessThan(fencedMs + 50);
  expect(await missing(east, 'fenced', writer.acknowledged)).toEqual([]);
});

test('without fencing both sides acknowledge: a split brain, until the old side is reached and rebuilt', async () => {
  await fencing(false);
  const old = await startWriter(west, 'old side');
  await partition('us-west-2');
  await untilInstance('billing', 'in the other region', ({ zone }) => zone === 'us-east-1b');
  const promotedMs = truthAt('database.promoted', `postgres/${east}`);
  const fresh = await startWriter(east, 'new side');
  await until('acknowledgements on both sides at once', async () => {
    const late = old.acknowledged.filter(({ atMs }) => atMs > promotedMs);
    return late.length > 5 && fresh.acknowledged.length > 5 ? true : undefined;
  });
  await old.stop();
  await fresh.stop();
  expect((await missing(east, 'old side', old.acknowledged)).length).toBeGreaterThan(5);
  expect(lab.truth().filter(({ event }) => event === 'database.fenced')).toEqual([]);
  await rejoin();
  await untilInstance('billing', 'redundant again', ({ secondaryZone }) => secondaryZone === 'us-west-2b');
  expect(await missing(west, 'new side', fresh.acknowledged)).toEqual([]);
});

test('a killed writer is missed by every observer, and its standby takes over', async () => {
  const writer = await startWriter(west, 'killed');
  await systemClock.sleep(300);
  await kill(west);
  await untilInstance('billing', 'in the other region', ({ zone }) => zone === 'us-east-1b');
  await writer.stop();
  expect(await missing(east, 'killed', writer.acknowledged)).toEqual([]);
  await untilInstance('billing', 'redundant again', ({ secondaryZone }) => secondaryZone === 'us-west-2b');
});
