import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDnsClient } from '../../adapters/dns.ts';
import { systemClock as clock } from '../../core/clock.ts';
import { fromRanges } from '../../core/ranges.ts';
import { callControl } from '../../lab/control.ts';
import { clientPlace } from '../../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { probes } from '../index.ts';
import { createNames } from '../names.ts';
import type { ProbedStream } from '../sender-messages.ts';
import { startSenders } from '../senders.ts';
import { type LedgerLine, ledgerFileName, ledgerLineSchema } from './line.ts';
import type { LedgerSession } from './store.ts';

/** One documented hour is three seconds. */
const timeScale = 1200;
const hourMs = 3_600_000 / timeScale;
const primary = 'us-west-2';
const near = 'us-east-1';

let lab: StartedComponents;
let folder: string;

const stream: ProbedStream = {
  stream: 'vector-ledger/us-west/kept',
  name: 'vector-ledger',
  probe: 'vector-ledger',
  location: 'us-west',
  sender: 'us-west',
  connection: 'kept',
  everyMs: 50,
  timeoutMs: 1000,
  slowAfterMs: 1000,
  required: false,
  params: { copies: ['failover'], lookEvery: '100ms' },
};
const refused: ProbedStream = {
  ...stream,
  stream: 'at-a-copy/us-west/kept',
  name: 'at-a-copy',
  params: { region: near },
};

const vectorStores = {
  primary: `${primary}.vectors.platform.lab`,
  failover: `${near}.vectors.platform.lab`,
  [near]: `${near}.vectors.platform.lab`,
};

const resolver = (): string => `127.0.0.1:${lab.layout.resolvers[clientPlace('us-west')]}`;

/** The store of a stream's ledger, to read back what is there. */
const reopen = async (runId: string): Promise<LedgerSession> => {
  const probe = probes.find(({ name }) => name === 'vector-ledger');
  const { params, ...rest } = stream;
  const session = await probe?.openLedger?.(params, {
    runId,
    stream: rest,
    service: { ...lab.layout.environment.service, vectorStores },
    database: null,
    names: createNames(createDnsClient(resolver(), clock), 'fresh', clock),
    clock,
  });
  if (session === undefined) throw new Error('the vector ledger cannot be reopened');
  return session;
};

const linesOf = async (run: string, name: string): Promise<readonly LedgerLine[]> => {
  const text = await readFile(path.join(run, 'ledgers', ledgerFileName(name)), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ledgerLineSchema.parse(JSON.parse(line)));
};

const ended = (lines: readonly LedgerLine[], out: 'ok' | 'fail' | 'info'): readonly number[] =>
  lines.flatMap((line) => (line.kind === 'end' && line.out === out ? [line.seq] : []));

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'blackstart-vectors-'));
  lab = await startComponents(labEnvironment(), ['links', 'dns', 'vector', 'objects'], { timeScale });
});

afterAll(async () => {
  await lab?.stop();
  await rm(folder, { recursive: true, force: true });
});

describe('numbered upserts', () => {
  test('are all found again at the primary, arrive at a copy by a sync, and are taken away', async () => {
    const run = path.join(folder, 'run-1');
    const senders = await startSenders({
      runId: 'run-1',
      seed: 3,
      streams: [stream, refused],
      resolvers: { 'us-west': resolver() },
      service: { ...lab.layout.environment.service, vectorStores },
      database: null,
      folder: run,
      clock,
      signal: new AbortController().signal,
    });
    const troubles: string[] = [];
    senders.onTrouble((name, message) => void troubles.push(`${name}: ${message}`));
    await clock.sleep(2 * hourMs);
    // Nobody knows what became of those that are under way now.
    const dark = { match: { isolate: [`region/${primary}`] }, effect: { kind: 'blackhole' }, owner: 'test' };
    await callControl(lab.layout, 'links', 'PUT', '/rules/dark', { body: dark });
    await clock.sleep(hourMs);
    await callControl(lab.layout, 'links', 'DELETE', '/rules/dark');
    await clock.sleep(1500);
    await senders.stop();
    expect(troubles).toEqual([]);

    const lines = await linesOf(run, stream.stream);
    const acknowledged = ended(lines, 'ok');
    const open = ended(lines, 'info');
    expect(acknowledged.length).toBeGreaterThan(50);
    expect(open.length).toBeGreaterThan(10);
    expect(new Set(lines.flatMap((line) => (line.kind === 'end' ? (line.epoch ?? []) : []))).size).toBe(1);
    const elsewhere = await linesOf(run, refused.stream);
    expect(ended(elsewhere, 'ok')).toEqual([]);
    expect(new Set(elsewhere.flatMap((line) => (line.kind === 'end' ? [line.code] : [])))).toEqual(new Set(['409']));

    const signal = AbortSignal.timeout(30_000);
    const session = await reopen('run-1');
    const found = await session.read(null, 0, signal);
    expect(acknowledged.filter((seq) => !found.seqs.includes(seq))).toEqual([]);
    expect(found.seqs.filter((seq) => ![...acknowledged, ...open].includes(seq))).toEqual([]);
    expect(found.foreign).toEqual([]);
    expect((await session.read(null, 10, signal)).seqs).toEqual(found.seqs.filter((seq) => seq >= 10));

    // A copy shows whole syncs: what a look finds is all that was put before one moment.
    const looks = lines.flatMap((line) => (line.kind === 'read' && line.code === 'ok' ? [line] : []));
    expect(looks.length).toBeGreaterThan(20);
    const sizes = new Set(looks.map((look) => Math.max(-1, ...fromRanges(look.seen))));
    expect(sizes.size).toBeGreaterThan(1);
    expect(sizes.size).toBeLessThan(8);

    await session.remove(signal);
    expect((await session.read(null, 0, signal)).seqs).toEqual([]);
    // Deletions are not for delta syncs.
    expect((await session.read('failover', 0, signal)).seqs.length).toBeGreaterThan(0);
    await expect(session.read('nowhere', 0, signal)).rejects.toThrow('which the environment does not have');
    await session.close(signal);
  });
});
