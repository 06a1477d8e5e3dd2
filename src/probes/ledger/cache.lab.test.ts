import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect } from 'vitest';
import { type CacheNode, connectCacheNode } from '../../adapters/cache-node.ts';
import { createDnsClient } from '../../adapters/dns.ts';
import { checkLedger, finalRead, holesOf, isRead } from '../../analysis/ledger/check.ts';
import { epochsOf } from '../../analysis/ledger/epochs.ts';
import { historyOf } from '../../analysis/ledger/history.ts';
import { systemClock as clock, poll } from '../../core/clock.ts';
import { toRanges } from '../../core/ranges.ts';
import { findRedisServer } from '../../lab/build-layout.ts';
import { callControl } from '../../lab/control.ts';
import { clientPlace } from '../../lab/layout.ts';
import { addressesOf } from '../../lab/state.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { itWith } from '../../testing/needs.ts';
import { probes } from '../index.ts';
import { createNames } from '../names.ts';
import type { ProbedStream } from '../sender-messages.ts';
import { startSenders } from '../senders.ts';
import { type LedgerLine, ledgerFileName, ledgerLineSchema } from './line.ts';
import { type LedgerSession, UnreadableError } from './store.ts';

const testWithRedis = itWith('redis-server', findRedisServer(null) !== null);
const location = 'us-west';
const streamName = `cache-ledger/${location}/kept`;
const { params, ...stream }: ProbedStream & { params: Record<string, unknown> } = {
  stream: streamName,
  name: 'cache-ledger',
  probe: 'cache-ledger',
  location,
  sender: `${location}.ledgers`,
  connection: 'kept',
  everyMs: 10,
  timeoutMs: 500,
  slowAfterMs: 500,
  required: false,
  params: {},
};

let lab: StartedComponents;
let folder: string;
let nodes: readonly string[];
const opened: CacheNode[] = [];

const start = async (): Promise<void> => {
  lab = await startComponents(labEnvironment(), ['links', 'cache'], { timeScale: 20 });
  folder = await mkdtemp(path.join(tmpdir(), 'blackstart-cache-'));
  nodes = addressesOf(lab.layout).cache;
};

afterEach(async () => {
  for (const node of opened.splice(0)) node.destroy();
  await lab?.stop();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

const soon = (ms = 10_000): AbortSignal => AbortSignal.timeout(ms);
const service = () => ({ ...lab.layout.environment.service, cacheNodes: [...nodes] });
const resolver = (): string => `127.0.0.1:${lab.layout.resolvers[clientPlace(location)]}`;

const startWriting = () =>
  startSenders({
    runId: 'test',
    seed: 3,
    streams: [{ ...stream, params }],
    resolvers: { [location]: resolver() },
    service: service(),
    database: null,
    folder,
    clock,
    signal: new AbortController().signal,
  });

const reopen = async (): Promise<LedgerSession> => {
  const session = await probes
    .find(({ name }) => name === stream.probe)
    ?.openLedger?.(params, {
      runId: 'test',
      stream,
      service: service(),
      database: null,
      names: createNames(createDnsClient(resolver(), clock), 'fresh', clock),
      clock,
    });
  if (session === undefined) throw new Error('the ledger cannot be reopened');
  return session;
};

const linesSoFar = async (): Promise<readonly LedgerLine[]> => {
  const text = await readFile(path.join(folder, 'ledgers', ledgerFileName(streamName)), 'utf8').catch(() => '');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  return whole.filter((line) => line !== '').map((line) => ledgerLineSchema.parse(JSON.parse(line)));
};

const acknowledged = (lines: readonly LedgerLine[]) =>
  lines.flatMap((line) => (line.kind === 'end' && line.out === 'ok' ? [line] : []));

const untilAcknowledged = (isEnough: (count: number, by: ReadonlySet<string>) => boolean): Promise<true> =>
  poll(clock, 50, soon(20_000), async () => {
    const found = acknowledged(await linesSoFar());
    return isEnough(found.length, new Set(found.map(({ by = '' }) => by))) ? true : undefined;
  });

const connected = async (address: string): Promise<CacheNode> => {
  const node = await connectCacheNode(address, 1000, soon());
  opened.push(node);
  return node;
};

describe('a ledger in a cache', () => {
  testWithRedis('follows a takeover, and every write of it is accounted for', async () => {
    await start();
    const senders = await startWriting();
    await untilAcknowledged((count) => count >= 100);
    const zone = lab.layout.endpoints.find(({ id }) => id === 'cache/0')?.place;
    const body = { match: { isolate: [zone] }, effect: { kind: 'blackhole' }, owner: 'test' };
    await callControl(lab.layout, 'links', 'PUT', '/rules/dark', { body });
    await untilAcknowledged((_count, by) => by.size > 1);
    await untilAcknowledged((count) => count >= 200);
    await senders.stop();

    const session = await reopen();
    const startMs = clock.monotonicMs();
    const { seqs, foreign, epoch, node } = await session.read(null, 0, soon());
    const lines = await linesSoFar();
    const read: LedgerLine = {
      kind: 'read',
      copy: null,
      final: true,
      startMs,
      endMs: clock.monotonicMs(),
      code: 'ok',
      since: 0,
      seen: toRanges([...seqs].sort((a, b) => a - b)),
    };
    const history = historyOf(streamName, [...lines, read, read]);
    const last = finalRead(history);
    if (!isRead(last)) throw new Error(last.missing);
    const sets = checkLedger(history, last);
    expect(foreign).toEqual([]);
    expect([...sets.phantom]).toEqual([]);
    const epochs = epochsOf(history.writes);
    expect(epochs).toHaveLength(2);
    expect(epochs[1]?.name).toBe(epoch);
    expect(nodes.slice(1)).toContain(node);
    // What the old primary acknowledged in the instant before the dark may be lost, and nothing else.
    const before = epochs[0]?.writes ?? [];
    const newest = before.filter(({ out }) => out === 'ok').slice(-5);
    for (const id of sets.lost) expect(newest.map((write) => write.id)).toContain(id);
    expect([...holesOf(history.writes, sets)]).toEqual([]);

    await session.remove(soon());
    expect(await session.read(null, 0, soon())).toMatchObject({ seqs: [], foreign: [] });
    await session.close(soon());
    const primary = await connected(node ?? '');
    expect(await primary.command('KEYS', 'blackstart*test/*')).toEqual([]);
  });

  testWithRedis('cannot be read once the cache has evicted keys: what is missing may not be lost', async () => {
    await start();
    const senders = await startWriting();
    await untilAcknowledged((count) => count >= 20);
    const primary = await connected(nodes[0] ?? '');
    await primary.command('CONFIG', 'SET', 'maxmemory', '4mb');
    for (let index = 0; index < 100; index += 1) await primary.command('SET', `big-${index}`, 'x'.repeat(100_000));
    await senders.stop();
    const session = await reopen();
    const error = await session.read(null, 0, soon()).catch((one: unknown) => one);
    expect(error).toBeInstanceOf(UnreadableError);
    expect(error).toMatchObject({ code: 'evicted' });
    await session.close(soon());
  });

  testWithRedis('has no authority while two nodes say that they are the primary', async () => {
    await start();
    const session = await reopen();
    const replica = await connected(nodes[1] ?? '');
    // The control puts it right again soon: asked until one of the reads fell in between.
    const error = await poll(clock, 5, soon(), async () => {
      await replica.command('REPLICAOF', 'NO', 'ONE');
      return session.read(null, 0, soon()).then(
        () => undefined,
        (one: unknown) => one,
      );
    });
    expect(error).toMatchObject({ code: 'two-primaries' });
    await session.close(soon());
  });
});
