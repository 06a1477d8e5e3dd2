import { randomInt } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checkLedger } from '../../analysis/ledger/check.ts';
import { type History, historyOf } from '../../analysis/ledger/history.ts';
import { splitBrainOf } from '../../analysis/ledger/split.ts';
import { systemClock as clock } from '../../core/clock.ts';
import { callControl } from '../../lab/control.ts';
import { forwardPort } from '../../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { labDatabase } from '../../testing/lab-database.ts';
import { finalLine, runLossTrial, startLedgers, type Writing } from '../../testing/ledger-trial.ts';
import { probes } from '../index.ts';
import type { Names } from '../names.ts';
import type { ProbeContext } from '../probe.ts';
import type { LedgerLine } from './line.ts';

let lab: StartedComponents;
const { sql, indexesIn, rule, act, untilInstance, fencing, until, truthAt } = labDatabase(() => lab);
const kinds = ['links', 'dns', 'database'];

const withFinal = async (name: string, lines: readonly LedgerLine[], server: string, rows: string): Promise<History> =>
  historyOf(name, [...lines, finalLine(await indexesIn(server, rows)), finalLine(await indexesIn(server, rows))]);

const setsOf = (history: History) => {
  const last = history.reads.at(-1);
  if (last === undefined) throw new Error('nothing was read');
  return checkLedger(history, last);
};

describe('a replica that is promoted after kill -9 of its primary', () => {
  it('lacks the writes of the last one-way delay of the log, and no others', async () => {
    const trial = await runLossTrial(200, { everyMs: 5, writeMs: 3000 });
    expect(trial.lost).toBeGreaterThan(10);
    expect(Math.abs(trial.lost - trial.expected)).toBeLessThanOrEqual(4);
    expect(trial).toMatchObject({ holes: 0, resurrected: 0, phantom: 0 });
    expect(trial.handover.rpo.minMs).toBeLessThan(260);
    expect(trial.handover.rpo.maxMs).toBeGreaterThan(180);
  });
});

describe('a healthy database', () => {
  beforeAll(async () => {
    lab = await startComponents(labEnvironment(), kinds, { timeScale: 20 });
  });
  afterAll(() => lab.stop());

  it('keeps what was acknowledged when sockets are cut: unknown at first, recovered where committed', async () => {
    const target = forwardPort(lab.layout, 'client/us-west', 'postgres/us-west-2a');
    const cutter = await cutAfterInsert(target);
    const folder = await mkdtemp(path.join(tmpdir(), 'blackstart-cut-'));
    const passwordFile = path.join(folder, 'password');
    await writeFile(passwordFile, lab.layout.databasePassword, { mode: 0o600 });
    const probe = probes.find(({ name }) => name === 'postgres-ledger');
    const session = await probe?.openLedger?.({}, contextOf(lab, passwordFile, cutter.port));
    if (session === undefined) throw new Error('there is no postgres-ledger');
    const lines: LedgerLine[] = [];
    const write = async (seq: number): Promise<void> => {
      lines.push({ kind: 'invoke', seq, atMs: clock.monotonicMs() });
      const attempt = { index: seq, sentMs: clock.monotonicMs(), signal: AbortSignal.timeout(5000), seen: {} };
      const { endedMs: atMs = clock.monotonicMs(), unsent: _unsent, ...kept } = await session.write(attempt);
      lines.push({ kind: 'end', seq, atMs, ...kept });
    };
    const atOnce = 8;
    const count = 400;
    await Promise.all(
      Array.from({ length: atOnce }, async (_, first) => {
        for (let seq = first; seq < count; seq += atOnce) await write(seq);
      }),
    );
    await session.close(AbortSignal.timeout(1000));
    cutter.close();
    // A statement that was on its way may still be carried out.
    await clock.sleep(500);
    const history = await withFinal('cut', lines, 'us-west-2a', 'cut/cut/us-west/kept');
    await rm(folder, { recursive: true });
    const sets = setsOf(history);
    const info = history.writes.filter(({ out }) => out === 'info').length;
    expect(cutter.cuts()).toBeGreaterThanOrEqual(count);
    // Timers may be late on a busy machine, and then an answer comes before its cut.
    expect(info).toBeGreaterThan(count * 0.95);
    expect(history.writes.filter(({ out }) => out === 'fail')).toEqual([]);
    expect(sets.lost.size).toBe(0);
    expect(sets.recovered.size).toBeGreaterThan(0);
    expect(sets.recovered.size + sets.indeterminate.size).toBe(info);
    expect(sets.phantom.size + sets.resurrected.size + sets.duplicate.size).toBe(0);
  });

  it('is written 200 times a second for 0.3 cores, and no attempt is unknown after kill -9 of the writer', async () => {
    const writing = await startLedgers(lab.layout, [{ name: 'postgres-ledger', everyMs: 5 }]);
    try {
      await clock.sleep(6000);
      process.kill(writing.pid, 'SIGKILL');
      await clock.sleep(1000);
      const lines = await writing.lines('postgres-ledger');
      const rows = await indexesIn('us-west-2a', writing.rowsName('postgres-ledger'));
      const invoked = new Set(lines.flatMap((line) => (line.kind === 'invoke' ? [line.seq] : [])));
      expect(rows.length).toBeGreaterThan(600);
      expect(rows.filter((seq) => !invoked.has(seq))).toEqual([]);
      const stored = new Set(rows);
      const ok = lines.flatMap((line) => (line.kind === 'end' && line.out === 'ok' ? [line.seq] : []));
      expect(ok.filter((seq) => !stored.has(seq))).toEqual([]);
      const cores = writing.instrument().map(({ cpuCores }) => cpuCores);
      expect(cores.length).toBeGreaterThan(2);
      // The first second holds the start of the process.
      const later = cores.slice(1);
      expect(later.reduce((sum, one) => sum + one, 0) / later.length).toBeLessThanOrEqual(0.3);
    } finally {
      await writing.stop().catch(() => undefined);
      await writing.remove();
    }
  });

  it('takes the writes of billing where its own name leads, and of conversations elsewhere', async () => {
    const writing = await startLedgers(lab.layout, [
      { name: 'postgres-ledger', everyMs: 100 },
      { name: 'billing-ledger', probe: 'billing-ledger', everyMs: 100 },
    ]);
    await clock.sleep(2500);
    await writing.stop();
    const epochsOf = async (name: string): Promise<readonly string[]> => [
      ...new Set((await writing.lines(name)).flatMap((line) => (line.kind === 'end' ? (line.epoch ?? []) : []))),
    ];
    const [conversations, billing] = [await epochsOf('postgres-ledger'), await epochsOf('billing-ledger')];
    expect([conversations.length, billing.length]).toEqual([1, 1]);
    expect(conversations[0]?.split(':')[0]).not.toBe(billing[0]?.split(':')[0]);
    expect((await indexesIn('billing-us-west-2b', writing.rowsName('billing-ledger'))).length).toBeGreaterThan(10);
    await writing.remove();
  });
});

describe('an old primary that nobody who decides can reach, while its clients can', () => {
  let writing: Writing;
  beforeEach(async () => {
    const { billing: _billing, ...environment } = labEnvironment();
    lab = await startComponents(environment, kinds, { timeScale: 20 });
  });
  afterEach(async () => {
    await writing.remove();
    await lab.stop();
  });

  const promoteBesideIt = async (): Promise<readonly History[]> => {
    const old = ['region/us-west-2'];
    const deciding = ['region/us-east-1', 'region/eu-central-1', 'operator'];
    writing = await startLedgers(lab.layout, [
      { name: 'postgres-ledger', everyMs: 20 },
      { name: 'old-primary', everyMs: 20, params: { instance: 'us-west-2' } },
    ]);
    await clock.sleep(1000);
    await rule('there', { from: old, to: deciding });
    await rule('back', { from: deciding, to: old });
    await act('conversations-us-east-1', 'promote');
    await untilInstance('conversations-us-east-1', 'a primary', ({ source }) => source === null);
    const value = 'conversations-us-east-1.rds.platform.lab';
    const body = { type: 'CNAME', value, ttlSeconds: 1 };
    await callControl(lab.layout, 'dns', 'PUT', '/records/db.platform.lab', { body });
    const rows = writing.rowsName('postgres-ledger');
    await until('writes at the new primary', async () => {
      const after =
        'SELECT count(*)::int AS count FROM blackstart_ledger WHERE stream = $1 AND at > now() - $2::interval';
      const found = await sql('us-east-1a', after, [rows, '500 milliseconds']);
      return found.rows[0]?.count > 10 ? true : undefined;
    });
    await clock.sleep(1500);
    await writing.stop();
    const read = async (name: string): Promise<History> =>
      withFinal(name, await writing.lines(name), 'us-east-1a', writing.rowsName(name));
    return [await read('postgres-ledger'), await read('old-primary')];
  };

  it('goes on acknowledging without fencing: a split brain, with the exact writes that both took', async () => {
    await fencing(false);
    const histories = await promoteBesideIt();
    const lost = new Set(histories.flatMap((history) => [...setsOf(history).lost]));
    const split = splitBrainOf(histories, lost);
    expect(split.epochs.length).toBe(2);
    expect(new Set(split.epochs.map(({ name }) => name.split(':')[1]))).toEqual(new Set(['00000001', '00000002']));
    expect(split.dualAcknowledged.length).toBeGreaterThan(20);
    const promotedMs = truthAt('database.promoted', 'postgres/us-east-1a');
    for (const { endedMs } of split.dualAcknowledged) expect(endedMs).toBeGreaterThan(promotedMs);
    // Every one of them is on the side that lost.
    expect(split.dualAcknowledged.filter(({ id }) => !lost.has(id))).toEqual([]);
  });

  it('acknowledges nothing any more with fencing, from before the other one takes its first write', async () => {
    const histories = await promoteBesideIt();
    const fencedMs = truthAt('database.fenced', 'conversations-us-west-2');
    expect(fencedMs).toBeLessThan(truthAt('database.promoted', 'postgres/us-east-1a'));
    const [, direct] = histories;
    const late = direct?.writes.filter(({ out, invokedMs }) => out === 'ok' && invokedMs > fencedMs);
    expect(late).toEqual([]);
    expect(direct?.writes.filter(({ invokedMs }) => invokedMs > fencedMs).length).toBeGreaterThan(50);
    const lost = new Set(histories.flatMap((history) => [...setsOf(history).lost]));
    expect(splitBrainOf(histories, lost).dualAcknowledged).toEqual([]);
  });
});

const contextOf = ({ layout }: StartedComponents, passwordFile: string, port: number): ProbeContext => {
  const found = { address: '127.0.0.1', port, name: 'cut' };
  const names: Names = {
    service: async () => found,
    host: async () => found,
    services: async () => [],
    text: async () => '',
  };
  return {
    runId: 'cut',
    stream: {
      stream: 'cut/us-west/kept',
      name: 'cut',
      probe: 'postgres-ledger',
      location: 'us-west',
      sender: 'us-west.ledgers',
      connection: 'kept',
      everyMs: 50,
      timeoutMs: 5000,
      slowAfterMs: 5000,
      required: false,
    },
    service: layout.environment.service,
    database: { user: layout.databaseUser, passwordFile },
    names,
    clock,
  };
};

/** A way to the database on which the client's socket dies 0 to 3 ms after an INSERT was sent. */
const cutAfterInsert = async (target: number) => {
  let cuts = 0;
  const server = net.createServer({ noDelay: true }, (client) => {
    const upstream = net.connect({ port: target, host: '127.0.0.1', noDelay: true });
    upstream.on('data', (bytes) => client.write(bytes));
    client.on('data', (bytes) => {
      upstream.write(bytes);
      if (!bytes.includes('blackstart_insert')) return;
      cuts += 1;
      setTimeout(() => {
        client.resetAndDestroy();
        upstream.end();
      }, randomInt(4));
    });
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
    client.once('close', () => upstream.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { port: address.port, cuts: () => cuts, close: () => server.close() };
};
