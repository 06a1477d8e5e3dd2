import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDnsClient } from '../../adapters/dns.ts';
import { systemClock as clock, poll } from '../../core/clock.ts';
import { fromRanges } from '../../core/ranges.ts';
import { callControl } from '../../lab/control.ts';
import { clientPlace, scaled } from '../../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { createNames } from '../names.ts';
import type { Attempt, ProbeContext } from '../probe.ts';
import type { ProbedStream } from '../sender-messages.ts';
import { startSenders } from '../senders.ts';
import { type LedgerEnd, type LedgerLine, type LedgerRead, ledgerFileName, ledgerLineSchema } from './line.ts';
import { objectsLedger } from './objects.ts';

const regions = ['us-west-2', 'us-east-1', 'eu-central-1'];
const objectsHosts = Object.fromEntries(regions.map((region) => [region, `${region}.objects.platform.lab`]));
let lab: StartedComponents;
let folder: string;
let credentials: string;

const say = (region: string, healthy: boolean): Promise<unknown> =>
  callControl(lab.layout, 'dns', 'PUT', `/health-overrides/${region}`, { body: { healthy } });

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'blackstart-objects-ledger-'));
  lab = await startComponents(labEnvironment(), ['links', 'dns', 'objects'], { timeScale: 30 });
  credentials = path.join(folder, 'credentials');
  const keys = [`aws_access_key_id = ${lab.layout.awsAccessKeyId}`, `aws_secret_access_key = ${lab.layout.token}`];
  await writeFile(credentials, ['[default]', ...keys].join('\n'), { mode: 0o600 });
  // No service runs here for the health checks to ask: what they would find is said instead.
  for (const region of regions) await say(region, true);
});

afterAll(async () => {
  await lab?.stop();
  await rm(folder, { recursive: true, force: true });
});

const stream: ProbedStream = {
  stream: 'objects-ledger/us-west/fresh',
  name: 'objects-ledger',
  probe: 'objects-ledger',
  location: 'us-west',
  sender: 'us-west',
  connection: 'fresh',
  everyMs: 50,
  timeoutMs: 1000,
  slowAfterMs: 1000,
  required: false,
  params: { copies: ['us-east-1', 'eu-central-1'], lookEvery: '100ms' },
};

const resolverOf = (location: string): string => `127.0.0.1:${lab.layout.resolvers[clientPlace(location)]}`;

/** Writes while something happens, and returns the lines of the ledger. */
const writeDuring = async (runId: string, during: () => Promise<void>): Promise<readonly LedgerLine[]> => {
  const run = path.join(folder, runId);
  const senders = await startSenders({
    runId,
    seed: 3,
    streams: [stream],
    resolvers: { 'us-west': resolverOf('us-west') },
    service: { ...lab.layout.environment.service, objectsHosts },
    database: null,
    awsCredentialsFile: credentials,
    folder: run,
    clock,
    signal: new AbortController().signal,
  });
  const troubles: string[] = [];
  senders.onTrouble((_stream, message) => void troubles.push(message));
  await during();
  await senders.stop();
  expect(troubles).toEqual([]);
  const text = await readFile(path.join(run, 'ledgers', ledgerFileName(stream.stream)), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => ledgerLineSchema.parse(JSON.parse(line)));
};

const endsOf = (lines: readonly LedgerLine[]): readonly LedgerEnd[] =>
  lines.flatMap((line) => (line.kind === 'end' ? [line] : []));
const readsOf = (lines: readonly LedgerLine[], copy: string): readonly LedgerRead[] =>
  lines.flatMap((line) => (line.kind === 'read' && line.copy === copy ? [line] : []));

/** A session as the end of a run opens it. */
const openSession = (runId: string, params: { readonly region?: string } = {}) => {
  const context: ProbeContext = {
    runId,
    // So many writes at once take longer than the few of a run.
    stream: { ...stream, connection: 'kept', timeoutMs: 20_000 },
    service: { ...lab.layout.environment.service, objectsHosts },
    database: null,
    awsCredentialsFile: credentials,
    names: createNames(createDnsClient(resolverOf('us-west'), clock), 'kept', clock),
    clock,
  };
  return objectsLedger.open({ signFor: 'us-east-1', ...params }, context);
};
const attemptOf = (index: number): Attempt => ({
  index,
  sentMs: clock.monotonicMs(),
  signal: AbortSignal.timeout(20_000),
  seen: {},
});
const soon = (): AbortSignal => AbortSignal.timeout(30_000);

describe('the ledger of objects', () => {
  test('has every write acknowledged by one region, and sees it in the copies after the documented delay', async () => {
    const lines = await writeDuring('run-lag', () => clock.sleep(4000));
    const ends = endsOf(lines);
    expect(ends.length).toBeGreaterThan(50);
    expect([...new Set(ends.map(({ out, code, epoch }) => `${out} ${code} ${epoch}`))]).toEqual(['ok ok us-west-2']);
    expect(new Set(ends.map(({ position }) => position)).size).toBe(ends.length);
    const delayMs = scaled(lab.layout, lab.layout.settings.stores.objectReplication);
    for (const copy of ['us-east-1', 'eu-central-1']) {
      const reads = readsOf(lines, copy);
      expect([...new Set(reads.map(({ code, epoch }) => `${code} ${epoch}`))]).toEqual([`ok ${copy}`]);
      // The lag of each write that was seen to arrive, by this one clock: it cannot be shorter than the delay.
      const lags = ends.flatMap(({ seq, atMs }) => {
        const shown = reads.find((read) => fromRanges(read.seen).has(seq));
        return shown === undefined ? [] : [shown.endMs - atMs];
      });
      expect(lags.length).toBeGreaterThan(30);
      expect(Math.min(...lags)).toBeGreaterThan(delayMs - 100);
      expect(lags.toSorted((a, b) => a - b)[Math.floor(lags.length / 2)]).toBeLessThan(delayMs + 1000);
    }
  });

  test('says that nobody knows of writes into the dark, and goes on where the name leads next', async () => {
    const lines = await writeDuring('run-dark', async () => {
      await clock.sleep(1500);
      const body = { match: { isolate: ['region/us-west-2'] }, effect: { kind: 'blackhole' }, owner: 'test' };
      await callControl(lab.layout, 'links', 'PUT', '/rules/dark', { body });
      await clock.sleep(1500);
      await say('us-west-2', false);
      await clock.sleep(1500);
    });
    const inOrder = endsOf(lines).toSorted((one, other) => one.seq - other.seq);
    const words = inOrder.map(({ out, code, epoch }) => `${out} ${code} ${epoch}`);
    expect(words.filter((word, index) => word !== words[index - 1])).toEqual([
      'ok ok us-west-2',
      'info timeout undefined',
      'ok ok us-east-1',
    ]);
    const session = await openSession('run-dark');
    const found = await session.read(null, 0, soon());
    const oks = endsOf(lines).filter(({ out }) => out === 'ok');
    const lost = oks.filter(({ seq }) => !found.seqs.includes(seq));
    // Acknowledged within the replication's delay before the cut, and by the region that is gone.
    expect(found.epoch).toBe('us-east-1');
    expect(lost.length).toBeGreaterThan(10);
    expect(new Set(lost.map(({ epoch }) => epoch))).toEqual(new Set(['us-west-2']));
    await session.close(soon());
    await callControl(lab.layout, 'links', 'DELETE', '/rules/dark');
    await say('us-west-2', true);
  });

  test('reads page by page, from a number on, and takes everything away again', async () => {
    const session = await openSession('run-pages', { region: 'us-west-2' });
    const count = 1050;
    for (let from = 0; from < count; from += 25) {
      const written = await Promise.all(Array.from({ length: 25 }, (_, at) => session.write(attemptOf(from + at))));
      expect(new Set(written.map(({ out }) => out))).toEqual(new Set(['ok']));
    }
    expect((await session.read(null, 0, soon())).seqs).toEqual(Array.from({ length: count }, (_, seq) => seq));
    expect((await session.read(null, 1040, soon())).seqs).toHaveLength(10);
    await poll(clock, 100, soon(), async () =>
      (await session.read('eu-central-1', 0, soon())).seqs.length === count ? true : undefined,
    );
    await session.remove(soon());
    for (const copy of [null, ...regions]) expect((await session.read(copy, 0, soon())).seqs).toEqual([]);
    await expect(session.read('nowhere', 0, soon())).rejects.toThrow('"nowhere"');
    await session.close(soon());
  });
});
