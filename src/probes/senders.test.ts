import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { analyseStream } from '../analysis/stream.ts';
import { systemClock as clock, deadline, poll } from '../core/clock.ts';
import { type Breakable, startBreakable } from '../testing/breakable.ts';
import { readRecord, type SenderRecord } from './record.ts';
import type { Sample } from './sample.ts';
import type { ProbedStream } from './sender-messages.ts';
import { type Senders, startSenders } from './senders.ts';

let folder: string;
let target: Breakable;
let senders: Senders | undefined;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'blackstart-senders-'));
  target = await startBreakable(clock);
});

afterEach(async () => {
  await senders?.stop();
  senders = undefined;
  await target.close();
  await rm(folder, { recursive: true, force: true });
});

const streamOf = (location: string, over: Partial<ProbedStream> = {}): ProbedStream => ({
  stream: `http/${location}/fresh`,
  name: 'http',
  probe: 'http',
  location,
  sender: location,
  connection: 'fresh',
  everyMs: 50,
  timeoutMs: 500,
  slowAfterMs: 500,
  required: true,
  params: { url: target.url },
  ...over,
});

const start = async (streams: readonly ProbedStream[]): Promise<Senders> => {
  senders = await startSenders({
    runId: 'r',
    seed: 11,
    streams,
    resolvers: {},
    service: null,
    database: null,
    folder,
    clock,
    signal: new AbortController().signal,
  });
  return senders;
};

/** What the record says of a stream: its outages, and everything that speaks against its target. */
const against = (record: SenderRecord, stream: ProbedStream) => {
  const { params: _params, ...plain } = stream;
  const { outages, counts } = analyseStream(record.samples.get(stream.stream) ?? [], record.blind, plain);
  return { outages, bad: counts.bad, slow: counts.slow };
};

const nothing = { outages: [], bad: 0, slow: 0 };

describe('senders', () => {
  test('one process per location probes from one start, and everything is on the disk at the end', async () => {
    const running = await start([
      streamOf('west'),
      streamOf('east'),
      streamOf('east', { stream: 'second/east/fresh' }),
    ]);
    const live: Sample[] = [];
    running.onSample((sample) => void live.push(sample));
    expect(running.pids.size).toBe(2);
    await clock.sleep(2500);
    await running.stop();
    const record = await readRecord(folder);
    expect([...record.samples.keys()].sort()).toEqual(['http/east/fresh', 'http/west/fresh', 'second/east/fresh']);
    for (const samples of record.samples.values()) {
      expect(samples.length).toBeGreaterThan(40);
      expect(samples.map((sample) => sample.index)).toEqual(samples.map((_, index) => index));
      expect(samples[0]?.scheduledMs).toBeGreaterThanOrEqual(running.startedMs);
      expect(samples[0]?.scheduledMs).toBeLessThan(running.startedMs + 50);
    }
    expect(against(record, streamOf('west'))).toEqual(nothing);
    expect(live.length).toBe([...record.samples.values()].flat().length);
    expect(running.counts().get('http/west/fresh')?.good).toBeGreaterThan(40);
    expect(running.samplesSince('http/west/fresh', running.startedMs + 1000)[0]?.sentMs).toBeGreaterThanOrEqual(
      running.startedMs + 1000,
    );
    expect(record.instrument.filter((one) => one.sender === 'west').length).toBeGreaterThanOrEqual(1);
    for (const one of record.instrument) {
      expect(one.controlSent).toBeGreaterThan(5);
      expect(one.clockStepMs).toBeLessThan(50);
    }
  });

  test('the same seed gives the same phases', async () => {
    const phases = async (): Promise<number> => {
      const running = await start([streamOf('west')]);
      await clock.sleep(300);
      await running.stop();
      const first = running.samplesSince('http/west/fresh', 0)[0];
      return (first?.scheduledMs ?? 0) - running.startedMs;
    };
    const one = await phases();
    expect(Math.abs((await phases()) - one)).toBeLessThan(0.01);
  });

  test('a sender that stood still for 3 s has no evidence against a healthy target', async () => {
    const running = await start([streamOf('west')]);
    await clock.sleep(500);
    process.kill(running.pids.get('west') ?? 0, 'SIGSTOP');
    await clock.sleep(3000);
    process.kill(running.pids.get('west') ?? 0, 'SIGCONT');
    await clock.sleep(800);
    await running.stop();
    const record = await readRecord(folder);
    const all = record.samples.get('http/west/fresh') ?? [];
    expect(against(record, streamOf('west'))).toEqual(nothing);
    expect(all.filter((sample) => sample.outcome === 'dropped').length).toBeGreaterThan(50);
    expect(record.blind.some((one) => one.toMs - one.fromMs > 2900 && one.cause === 'event-loop')).toBe(true);
  });

  test('a sender with a fifth of a core has none either', async () => {
    const running = await start([streamOf('west')]);
    const pid = running.pids.get('west') ?? 0;
    for (let round = 0; round < 20; round += 1) {
      process.kill(pid, 'SIGSTOP');
      await clock.sleep(80);
      process.kill(pid, 'SIGCONT');
      await clock.sleep(20);
    }
    await running.stop();
    const record = await readRecord(folder);
    const all = record.samples.get('http/west/fresh') ?? [];
    expect(against(record, streamOf('west'))).toEqual(nothing);
    expect(all.length).toBeGreaterThan(30);
  });

  test('a sender that dies is told of, and stopping says so too', async () => {
    const running = await start([streamOf('west')]);
    const lost: string[] = [];
    running.onLoss((location) => void lost.push(location));
    process.kill(running.pids.get('west') ?? 0, 'SIGKILL');
    await poll(clock, 20, deadline(clock, 3000, new Error('no loss was told')).signal, async () => lost[0]);
    await expect(running.stop()).rejects.toThrow(/west/);
    senders = undefined;
  });

  test('a probe that cannot be opened says why', async () => {
    await expect(start([streamOf('west', { probe: 'chat', params: {} })])).rejects.toMatchObject({ code: 'USAGE' });
  });
});

test('a sender whose parent is killed ends by itself, and keeps what it saw', async () => {
  const parent = fork(path.join(import.meta.dirname, '../testing/sender-parent.ts'), [folder, target.url], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const [pid] = (await once(parent, 'message')) as [number];
  await clock.sleep(1500);
  parent.kill('SIGKILL');
  const gone = async (): Promise<true | undefined> => {
    const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    return state === '' || state.includes(') Z ') ? true : undefined;
  };
  await poll(clock, 50, deadline(clock, 5000, new Error('the sender lives on')).signal, gone);
  const { samples } = await readRecord(folder);
  const all = samples.get('http/west/fresh') ?? [];
  expect(all.length).toBeGreaterThan(10);
  expect(all.every((sample) => sample.outcome === 'good')).toBe(true);
});
