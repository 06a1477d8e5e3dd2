import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { analyseStream } from '../analysis/stream.ts';
import { systemClock as clock } from '../core/clock.ts';
import { parseJournal } from '../core/journal.ts';
import { randomFrom } from '../experiments/plan.ts';
import { waysToBreak } from '../testing/breakable.ts';
import { runTrial } from '../testing/instrument-trial.ts';
import { observe, streamsOfUrls } from './observe.ts';

describe('outages that somebody else causes', () => {
  test.concurrent.each(['fresh', 'kept'] as const)(
    'are all found, none is invented, and each bracket holds the truth: %s',
    async (connection) => {
      const everyMs = 50;
      const trial = await runTrial({
        ways: waysToBreak,
        everyMs,
        timeoutMs: 400,
        connection,
        lastsMs: { minMs: 900, maxMs: 1500 },
        apartMs: { minMs: 1700, maxMs: 2000 },
        random: randomFrom(Math.floor(Math.random() * 1e9)),
      });
      expect(trial.missed).toBe(0);
      expect(trial.invented).toBe(0);
      for (const row of trial.rows) {
        expect(row.contained, JSON.stringify(row)).toBe(true);
      }
      expect(trial.rows.map((row) => row.kind)).toEqual(['crash', 'hang', 'freeze', 'error']);
      // One spacing and one latency; more only where a send came late, and then the bracket is wider by as much.
      for (const { errorMs, client } of trial.rows) {
        const edgesMs = (client?.maxMs ?? 0) - (client?.minMs ?? 0);
        expect(Math.abs(errorMs ?? Number.NaN)).toBeLessThanOrEqual(Math.max(everyMs, edgesMs - everyMs) + 25);
      }
    },
  );
});

describe('observing', () => {
  let folder: string;
  const server = createServer((_request, response) => void response.end('ok'));

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'blackstart-observe-'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });

  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true, force: true });
  });

  type Over = Pick<Parameters<typeof observe>[0], 'signal' | 'forMs' | 'onProgress'>;
  const options = (over: Over) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    return {
      runId: 'observe-1',
      folder,
      streams: streamsOfUrls([url, url], { everyMs: 50, timeoutMs: 300, connection: 'fresh' as const }),
      seed: 1,
      versions: {},
      clock,
      ...over,
    };
  };

  test('a healthy server has no outage, and the journal says that it was watched to the end', async () => {
    const record = await observe(options({ signal: new AbortController().signal, forMs: 1500 }));
    expect(record.streams.length).toBe(1);
    const [stream] = record.streams;
    if (stream === undefined) throw new Error('no stream');
    const { outages, counts } = analyseStream(record.samples.get(stream.stream) ?? [], record.blind, stream);
    expect(outages).toEqual([]);
    expect(counts.good + counts.unknown).toBeGreaterThan(25);
    expect(record.ended).toEqual({ reason: 'finished', message: null });
    const events = parseJournal(await readFile(path.join(folder, 'journal.jsonl'), 'utf8'));
    expect(events.map((event) => event.type)).toEqual([
      'run.started',
      'fact',
      'phase.started',
      'phase.finished',
      'run.ended',
    ]);
  });

  test('ending it early keeps what was seen until then', async () => {
    const stop = new AbortController();
    const onProgress: Over['onProgress'] = (counts) => {
      const sent = [...counts.values()].reduce((total, { good, slow, bad }) => total + good + slow + bad, 0);
      if (sent > 10) stop.abort(new Error('enough'));
    };
    const record = await observe(options({ signal: stop.signal, forMs: null, onProgress }));
    expect(record.ended.reason).toBe('aborted');
    expect([...record.samples.values()][0]?.length).toBeGreaterThan(5);
  });

  test('what is not a URL is refused', () => {
    const urls = (url: string) => () => streamsOfUrls([url], { everyMs: 100, timeoutMs: 1000, connection: 'fresh' });
    expect(urls('127.0.0.1:80')).toThrow(/not an http or https URL/);
    expect(urls('ftp://127.0.0.1/')).toThrow(/not an http or https URL/);
    expect(urls('nonsense')).toThrow(/not an http or https URL/);
  });
});
