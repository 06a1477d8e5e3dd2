import { readFileSync } from 'node:fs';
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { insertText, labDatabase } from '../../testing/lab-database.ts';
import type { Place } from '../layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../testing.ts';

const west = 'conversations-us-west-2';
const east = 'conversations-us-east-1';
const europe = 'conversations-eu-central-1';

let lab: StartedComponents;

const { instances, instance, until, untilInstance, act, connect, sql, indexesIn, isolate, heal, truthAt } = labDatabase(
  () => lab,
);

/** Writes numbered rows to wherever `zone()` says, from the client's side, and keeps what was acknowledged. */
const startWriter = (stream: string, zone: () => string, from: Place) => {
  const acknowledged: { index: number; zone: string; atMs: number }[] = [];
  let running = true;
  const work = async (): Promise<void> => {
    let client: Client | undefined;
    let at = '';
    for (let index = 0; running; index += 1) {
      try {
        if (client === undefined || at !== zone()) {
          at = zone();
          client = await connect(at, from);
        }
        await client.query(insertText, [stream, index]);
        acknowledged.push({ index, zone: at, atMs: systemClock.monotonicMs() });
      } catch {
        client?.end().catch(() => undefined);
        client = undefined;
      }
      await systemClock.sleep(5);
    }
    client?.end().catch(() => undefined);
  };
  const done = work();
  return {
    acknowledged,
    stop: async () => {
      running = false;
      await done;
    },
  };
};

const startLab = async (): Promise<void> => {
  lab = await startComponents(labEnvironment(), ['links', 'database', 'dns']);
};

describe('what clients find', () => {
  beforeAll(startLab);
  afterAll(() => lab.stop());

  test('a primary with a synchronous standby and two lagging replicas, none of them run by root', async () => {
    expect(await instance(west)).toMatchObject({
      status: 'available',
      zone: 'us-west-2a',
      secondaryZone: 'us-west-2b',
      source: null,
      replicas: [east, europe],
    });
    expect(await instance(east)).toMatchObject({ zone: 'us-east-1a', secondaryZone: null, source: west });
    for (const { nodes } of await instances()) {
      for (const { pid } of nodes) {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        expect(/^Uid:\s+(\d+)/m.exec(status)?.[1]).not.toBe('0');
      }
    }
    const streams = 'SELECT application_name, sync_state FROM pg_stat_replication ORDER BY 1';
    // A replica's handshake crosses the same slow link as its stream, several times.
    const rows = await until('three streams', async () => {
      const found = (await sql('us-west-2a', streams)).rows;
      return found.length === 3 ? found : undefined;
    });
    expect(rows).toEqual([
      { application_name: 'eu-central-1a', sync_state: 'async' },
      { application_name: 'us-east-1a', sync_state: 'async' },
      { application_name: 'us-west-2b', sync_state: 'sync' },
    ]);
  });

  test('an ordinary account can write, and read what a write is tagged with', async () => {
    const { rows } = await sql(
      'us-west-2a',
      `INSERT INTO conversations (region, prompt, answer) VALUES ('us-west-2', 'hello', 'world') RETURNING id,
         (SELECT system_identifier::text FROM pg_control_system()) AS system,
         substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline, pg_postmaster_start_time() AS started`,
    );
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ timeline: '00000001', system: expect.stringMatching(/^\d+$/) });
    await expect(sql('us-west-2a', 'ALTER SYSTEM SET fsync = on')).rejects.toMatchObject({ code: '42501' });
  });

  test('replicas refuse writes and lag as documented, scaled', async () => {
    await expect(sql('us-east-1a', insertText, ['refused', 1])).rejects.toMatchObject({ code: '25006' });
    await sql('us-west-2a', insertText, ['lag', 1]);
    const ackedMs = systemClock.monotonicMs();
    const reader = await connect('us-east-1a');
    await until('the row on the replica', async () => {
      const { rowCount } = await reader.query("SELECT 1 FROM blackstart_ledger WHERE stream = 'lag'");
      return rowCount === 1 ? true : undefined;
    });
    const lagMs = systemClock.monotonicMs() - ackedMs;
    await reader.end();
    expect(lagMs).toBeGreaterThan(5000 / 30 - 30);
    expect(lagMs).toBeLessThan(5000 / 30 + 400);
  });

  test('unknown instances and impossible states are refused as RDS does', async () => {
    await expect(act('nothing', 'failover')).rejects.toMatchObject({ status: 404, code: 'DBInstanceNotFound' });
    await expect(act(west, 'promote')).rejects.toMatchObject({ code: 'InvalidDBInstanceState' });
    await expect(act(east, 'failover')).rejects.toMatchObject({ code: 'InvalidParameterCombination' });
    await expect(act(east, 'replica-of', { source: west })).rejects.toMatchObject({ code: 'InvalidDBInstanceState' });
    await expect(act(west, 'replica-of', { source: east })).rejects.toMatchObject({ code: 'InvalidDBInstanceState' });
    await expect(act(west, 'replica-of', {})).rejects.toMatchObject({ code: 'InvalidParameterValue' });
  });
});

describe('a zone fails', () => {
  beforeEach(startLab);
  afterEach(() => lab.stop());

  test('the standby takes over once the primary is fenced; nothing is lost; redundancy returns', async () => {
    let writerZone = 'us-west-2a';
    const writer = startWriter('zone', () => writerZone, 'zone/us-west-2b');
    const inside = startWriter('inside', () => 'us-west-2a', 'zone/us-west-2a');
    await systemClock.sleep(300);
    await isolate('zone', 'zone/us-west-2a');
    await until('failing over', async () => ((await instance(west)).status === 'failing-over' ? true : undefined));
    await untilInstance(west, 'in the other zone', (one) => one.zone === 'us-west-2b');
    writerZone = 'us-west-2b';
    await until('an acknowledgement of the new writer', async () =>
      writer.acknowledged.some(({ zone }) => zone === 'us-west-2b') ? true : undefined,
    );
    await writer.stop();
    await inside.stop();

    const fencedMs = truthAt('database.fenced', west);
    expect(fencedMs).toBeLessThan(truthAt('database.promoted', 'postgres/us-west-2b'));
    expect(inside.acknowledged.length).toBeGreaterThan(0);
    for (const { atMs } of inside.acknowledged) expect(atMs).toBeLessThan(fencedMs);
    const kept = new Set(await indexesIn('us-west-2b', 'zone'));
    expect(writer.acknowledged.filter(({ index }) => !kept.has(index))).toEqual([]);
    const keptInside = new Set(await indexesIn('us-west-2b', 'inside'));
    expect(inside.acknowledged.filter(({ index }) => !keptInside.has(index))).toEqual([]);

    expect(await instance(west)).toMatchObject({ secondaryZone: null });
    await heal('zone');
    await untilInstance(west, 'redundant again', (one) => one.secondaryZone === 'us-west-2a');
    await expect(sql('us-west-2a', insertText, ['old', 1])).rejects.toMatchObject({ code: '25006' });
    await sql('us-west-2b', insertText, ['after', 1]);
    expect(await indexesIn('us-west-2a', 'after')).toEqual([1]);
    await until('replicas follow the new writer', async () =>
      (await indexesIn('us-east-1a', 'after')).length === 1 ? true : undefined,
    );
  });

  test('commits wait for a lost standby, then go on without it, and it returns', async () => {
    await isolate('standby', 'zone/us-west-2b');
    const startedMs = systemClock.monotonicMs();
    await sql('us-west-2a', insertText, ['alone', 1]);
    expect(systemClock.monotonicMs() - startedMs).toBeGreaterThan(300);
    expect(await instance(west)).toMatchObject({ status: 'available', zone: 'us-west-2a', secondaryZone: null });
    await heal('standby');
    await untilInstance(west, 'redundant again', (one) => one.secondaryZone === 'us-west-2b');
    expect(await indexesIn('us-west-2b', 'alone')).toEqual([1]);
    expect(lab.truth().filter(({ event }) => event === 'database.promoted')).toEqual([]);
  });

  test('a writer whose standby is lost is started again in place, not replaced by what lacks commits', async () => {
    await isolate('standby', 'zone/us-west-2b');
    await sql('us-west-2a', insertText, ['alone', 1]);
    await untilInstance(west, 'without a standby', (one) => one.secondaryZone === null);
    await expect(act(west, 'failover')).rejects.toMatchObject({ code: 'InvalidDBInstanceState' });
    const pid = (await instance(west)).nodes.find(({ zone }) => zone === 'us-west-2a')?.pid ?? 0;
    process.kill(pid, 'SIGKILL');
    await until('the writer again', async () => {
      const now = (await instance(west)).nodes.find(({ zone }) => zone === 'us-west-2a')?.pid;
      return now !== null && now !== pid ? true : undefined;
    });
    await until('its rows', async () => {
      try {
        return (await indexesIn('us-west-2a', 'alone')).length === 1 ? true : undefined;
      } catch {
        return undefined;
      }
    });
    expect(await instance(west)).toMatchObject({ zone: 'us-west-2a' });
  });

  test('a killed primary is noticed; a forced failover works both ways, one change at a time', async () => {
    const first = (await instance(west)).nodes.find(({ zone }) => zone === 'us-west-2a')?.pid ?? 0;
    process.kill(first, 'SIGKILL');
    await untilInstance(west, 'in the other zone', ({ zone }) => zone === 'us-west-2b');
    await untilInstance(west, 'redundant again', ({ secondaryZone }) => secondaryZone === 'us-west-2a');
    await act(west, 'failover');
    expect(await instance(west)).toMatchObject({ status: 'rebooting' });
    await expect(act(west, 'failover')).rejects.toMatchObject({ code: 'InvalidDBInstanceState' });
    await expect(act(west, 'promote')).rejects.toMatchObject({ code: 'InvalidDBInstanceState' });
    await untilInstance(west, 'home', ({ zone, secondaryZone }) => zone === 'us-west-2a' && secondaryZone !== null);
    await sql('us-west-2a', insertText, ['home', 1]);
    expect(await indexesIn('us-west-2b', 'home')).toEqual([1]);
  });
});

describe('a region fails', () => {
  beforeEach(startLab);
  afterEach(() => lab.stop());

  test('promotion fences the unreachable primary; failing back loses nothing; every replica follows', async () => {
    const inside = startWriter('inside', () => 'us-west-2a', 'zone/us-west-2b');
    await systemClock.sleep(400);
    await isolate('region', 'region/us-west-2');
    await systemClock.sleep(300);
    expect(await instance(west)).toMatchObject({ status: 'available', zone: 'us-west-2a' });
    await act(east, 'promote');
    expect(await instance(east)).toMatchObject({ status: 'modifying' });
    await untilInstance(east, 'a primary', ({ source }) => source === null);
    await inside.stop();
    const fencedMs = truthAt('database.fenced', west);
    expect(fencedMs).toBeLessThan(truthAt('database.promoted', 'postgres/us-east-1a'));
    for (const { atMs } of inside.acknowledged) expect(atMs).toBeLessThan(fencedMs);
    await sql('us-east-1a', insertText, ['east', 1]);

    await heal('region');
    await systemClock.sleep(500);
    expect(await instance(west)).toMatchObject({ status: 'stopped' });
    await expect(sql('us-west-2a', insertText, ['late', 1])).rejects.toThrow();
    await expect(sql('us-west-2b', insertText, ['late', 1])).rejects.toThrow();

    await act(west, 'replica-of', { source: east });
    await untilInstance(west, 'a replica', ({ source }) => source === east);
    await expect(sql('us-west-2a', insertText, ['late', 1])).rejects.toMatchObject({ code: '25006' });
    await untilInstance(europe, 'following', ({ source }) => source === west);
    await until('the eastern row in the west', async () =>
      (await indexesIn('us-west-2a', 'east')).length === 1 ? true : undefined,
    );

    await act(west, 'promote');
    await untilInstance(west, 'a primary', ({ source }) => source === null);
    await act(east, 'replica-of', { source: west });
    await untilInstance(east, 'a replica', ({ source }) => source === west);
    await untilInstance(west, 'redundant', ({ secondaryZone }) => secondaryZone === 'us-west-2b');
    await sql('us-west-2a', insertText, ['home', 1]);
    for (const zone of ['us-west-2b', 'us-east-1a', 'eu-central-1a']) {
      await until(`both rows in ${zone}`, async () =>
        (await indexesIn(zone, 'home')).length === 1 && (await indexesIn(zone, 'east')).length === 1 ? true : undefined,
      );
    }
    expect(await indexesIn('us-west-2a', 'late')).toEqual([]);
  });
});

describe('a promotion is called off', () => {
  beforeEach(startLab);
  afterEach(() => lab.stop());

  test('the fenced primary starts again with all it acknowledged, and the promoted one becomes its copy', async () => {
    await sql('us-west-2a', insertText, ['before', 1]);
    await isolate('region', 'region/us-west-2');
    await act(east, 'promote');
    await untilInstance(east, 'a primary', ({ source }) => source === null);
    await heal('region');
    await expect(act(east, 'start')).rejects.toMatchObject({ code: 'InvalidDBInstanceState' });
    await act(west, 'start');
    await untilInstance(west, 'redundant', (one) => one.status === 'available' && one.secondaryZone === 'us-west-2b');
    expect(await indexesIn('us-west-2a', 'before')).toEqual([1]);
    await act(east, 'replica-of', { source: west });
    await untilInstance(east, 'a replica', ({ source, status }) => source === west && status === 'available');
    await sql('us-west-2a', insertText, ['after', 1]);
    await until('the row in the east', async () =>
      (await indexesIn('us-east-1a', 'after')).length === 1 ? true : undefined,
    );
  });
});

describe('the end', () => {
  test('no server outlives the process that runs them, even when it is killed', async () => {
    await startLab();
    const pids = (await instances()).flatMap(({ nodes }) => nodes.map(({ pid }) => pid ?? 0));
    lab.processes.get('database')?.signal('SIGKILL');
    const gone = (pid: number): boolean => {
      try {
        return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
      } catch {
        return true;
      }
    };
    await until('every server gone', async () => (pids.every(gone) ? true : undefined), 5000);
    await lab.stop();
  });
});
