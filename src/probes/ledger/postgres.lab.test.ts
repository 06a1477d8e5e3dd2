import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock as clock } from '../../core/clock.ts';
import { callControl } from '../../lab/control.ts';
import { clientPlace, type LabLayout } from '../../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { readRecord } from '../record.ts';
import type { Sample } from '../sample.ts';
import type { ProbedStream } from '../sender-messages.ts';
import { startSenders } from '../senders.ts';

let lab: StartedComponents;
let folder: string;

const streamOf = (connection: 'fresh' | 'kept'): ProbedStream => ({
  stream: `postgres-ledger/us-west/${connection}`,
  name: 'postgres-ledger',
  probe: 'postgres-ledger',
  location: 'us-west',
  sender: 'us-west',
  connection,
  everyMs: 50,
  timeoutMs: 2000,
  slowAfterMs: 2000,
  required: false,
});

const replica = 'conversations-us-east-1.rds.platform.lab';

/** Writes to a replica itself, past the name of the database. */
const direct: ProbedStream = {
  ...streamOf('kept'),
  stream: 'replica/us-west/kept',
  name: 'replica',
  params: { instance: 'us-east-1' },
};

/** Writes from us-west while something happens, and returns what each stream saw. */
const writeDuring = async (
  layout: LabLayout,
  during: () => Promise<void>,
): Promise<ReadonlyMap<string, readonly Sample[]>> => {
  const run = await mkdtemp(path.join(folder, 'run-'));
  const passwordFile = path.join(folder, 'password');
  await writeFile(passwordFile, `${layout.databasePassword}\n`, { mode: 0o600 });
  const senders = await startSenders({
    runId: path.basename(run),
    seed: 3,
    streams: [streamOf('fresh'), streamOf('kept'), direct],
    resolvers: { 'us-west': `127.0.0.1:${layout.resolvers[clientPlace('us-west')]}` },
    service: { ...layout.environment.service, databaseInstances: { 'us-east-1': replica } },
    database: { user: layout.databaseUser, passwordFile },
    folder: run,
    clock,
    signal: new AbortController().signal,
  });
  const troubles: string[] = [];
  senders.onTrouble((stream, message) => void troubles.push(`${stream}: ${message}`));
  await during();
  await senders.stop();
  expect(troubles).toEqual([]);
  return (await readRecord(run)).samples;
};

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'blackstart-sql-'));
  lab = await startComponents(labEnvironment(), ['links', 'dns', 'database'], { timeScale: 30 });
});

afterAll(async () => {
  await lab?.stop();
  await rm(folder, { recursive: true, force: true });
});

describe('writes at the database the name leads to', () => {
  test('are acknowledged, each with the identity of one server', async () => {
    const samples = await writeDuring(lab.layout, () => clock.sleep(2000));
    for (const connection of ['fresh', 'kept']) {
      const seen = samples.get(`postgres-ledger/us-west/${connection}`) ?? [];
      expect(seen.length).toBeGreaterThan(30);
      expect(seen.filter((sample) => sample.code !== 'ok')).toEqual([]);
      expect(new Set(seen.map((sample) => sample.epoch)).size).toBe(1);
      expect(seen[0]?.epoch).toMatch(/^\d+:[0-9A-F]{8}:\d+:\d{4}-\d\d-\d\dT[\d:.]+$/);
    }
  });

  test('are refused by a replica that is asked itself, with its own word for it', async () => {
    const samples = await writeDuring(lab.layout, () => clock.sleep(1500));
    const seen = samples.get(direct.stream) ?? [];
    expect(seen.length).toBeGreaterThan(20);
    expect([...new Set(seen.map(({ outcome, code }) => `${outcome} ${code}`))]).toEqual(['bad 25006']);
  });

  test('fail during a failover and are then acknowledged by another server on a newer timeline', async () => {
    const [instance] = lab.layout.environment.regions.map((region) => region.database.instance);
    const samples = await writeDuring(lab.layout, async () => {
      await clock.sleep(1000);
      await callControl(lab.layout, 'database', 'POST', `/instances/${instance}/failover`);
      await clock.sleep(8000);
    });
    for (const connection of ['fresh', 'kept']) {
      const seen = samples.get(`postgres-ledger/us-west/${connection}`) ?? [];
      const timelines = seen.flatMap(({ epoch, code }) => (code === 'ok' ? [epoch?.split(':')[1] ?? ''] : []));
      expect(timelines).toEqual(timelines.toSorted());
      expect(new Set(timelines).size).toBe(2);
      expect(seen.at(-1)?.code).toBe('ok');
      expect(seen.some((sample) => sample.outcome === 'bad')).toBe(true);
    }
  });
});
