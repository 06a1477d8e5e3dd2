import net from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import type { Truth } from '../component.ts';
import { callControl } from '../control.ts';
import { forwardPort, type LabLayout, type Place } from '../layout.ts';
import { labEnvironment, testLayout } from '../testing.ts';
import { appendTruth, readTruth } from '../truth.ts';
import { component } from './links.ts';
import type { Match, Rule } from './rules.ts';

/** A socket whose bytes, end and error can be awaited. */
const open = (port: number) => {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  const state = { text: '', isEnded: false, error: undefined as string | undefined };
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    state.text += text;
  });
  socket.on('end', () => {
    state.isEnded = true;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    state.error = error.code ?? error.message;
  });
  return { socket, state };
};

const until = async (look: () => boolean): Promise<number> => {
  const startMs = systemClock.monotonicMs();
  while (!look()) {
    if (systemClock.monotonicMs() - startMs > 5000) throw new Error('waited 5 s in vain');
    await systemClock.sleep(1);
  }
  return systemClock.monotonicMs() - startMs;
};

describe('links', () => {
  const controller = new AbortController();
  const servers: net.Server[] = [];
  const opened: net.Socket[] = [];
  let layout: LabLayout;
  let remove = (): void => undefined;
  let truths: () => readonly Truth[] = () => [];

  /** Answers every line with itself; closes when the client does. */
  const echo = (port: number): Promise<void> =>
    new Promise((resolve) => {
      const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        opened.push(socket);
        socket.on('error', () => socket.destroy());
        socket.on('data', (bytes) => socket.write(bytes));
        socket.on('end', () => socket.end('<bye>'));
      });
      servers.push(server);
      server.listen(port, '127.0.0.1', resolve);
    });

  const dial = (source: Place, endpoint: string) => {
    const client = open(forwardPort(layout, source, endpoint));
    opened.push(client.socket);
    return client;
  };
  const put = (id: string, match: Rule['match'], effect: Rule['effect']): Promise<unknown> =>
    callControl(layout, 'links', 'PUT', `/rules/${id}`, { body: { match, effect, owner: 'test' } });

  const connectionCounts = async (): Promise<Record<string, number>> =>
    (await callControl(layout, 'links', 'GET', '/connections')) as Record<string, number>;

  beforeAll(async () => {
    ({ layout, remove } = await testLayout(labEnvironment(), { timeScale: 30 }));
    truths = () => readTruth(layout.stateDir);
    const ids = ['balancer/us-west-2a', 'balancer/us-east-1a', 'vector/us-west-2', 'wal/us-west-2a'];
    for (const { id, port } of layout.endpoints) if (ids.includes(id)) await echo(port);
    await component.start({
      layout,
      options: {},
      signal: controller.signal,
      log: () => undefined,
      truth: (event, subject, detail) => appendTruth(layout.stateDir, event, subject, detail),
    });
  });
  afterEach(async () => {
    const rules = (await callControl(layout, 'links', 'GET', '/rules')) as { id: string }[];
    for (const { id } of rules) await callControl(layout, 'links', 'DELETE', `/rules/${id}`);
    for (const socket of opened.splice(0)) socket.destroy();
    // Their ends travel as slowly as their bytes: the next test must not find them under way.
    const isQuiet = async (): Promise<boolean> => Object.keys(await connectionCounts()).length === 0;
    while (!(await isQuiet())) await systemClock.sleep(5);
  });
  afterAll(() => {
    controller.abort();
    for (const server of servers) server.close();
    remove();
  });

  it('carries bytes both ways and a half-close through, as late as the places are far apart', async () => {
    const near = dial('zone/us-west-2b', 'balancer/us-west-2a');
    near.socket.end('hello');
    await until(() => near.state.isEnded);
    expect(near.state.text).toBe('hello<bye>');

    const far = dial('zone/us-east-1a', 'balancer/us-west-2a');
    await until(() => far.socket.readyState === 'open');
    far.socket.write('x');
    const roundTripMs = await until(() => far.state.text === 'x');
    expect(roundTripMs).toBeGreaterThanOrEqual(39);
    expect(roundTripMs).toBeLessThan(150);
  });

  it('delays the WAL towards a replica, and not what the replica says', async () => {
    const replica = dial('zone/us-east-1a', 'wal/us-west-2a');
    replica.socket.write('x');
    const roundTripMs = await until(() => replica.state.text === 'x');
    expect(roundTripMs).toBeGreaterThanOrEqual(20 + 5000 / 30 - 2);
    expect(roundTripMs).toBeLessThan(20 + 5000 / 30 + 150);
  });

  it('holds everything that crosses the border of an isolated zone, and lets it go after', async () => {
    const outside = dial('client/us-west', 'balancer/us-west-2a');
    const inside = dial('zone/us-west-2a', 'balancer/us-west-2a');
    const elsewhere = dial('client/us-east', 'balancer/us-east-1a');
    for (const { socket } of [outside, inside, elsewhere]) socket.write('1');
    await until(() => [outside, inside, elsewhere].every(({ state }) => state.text === '1'));

    await put('dark', { isolate: ['zone/us-west-2a'] }, { kind: 'blackhole' });
    for (const { socket } of [outside, inside, elsewhere]) socket.write('2');
    const fresh = dial('client/us-west', 'balancer/us-west-2a');
    fresh.socket.write('fresh');
    await until(() => inside.state.text === '12' && elsewhere.state.text === '12');
    await systemClock.sleep(150);
    expect(outside.state).toMatchObject({ text: '1', isEnded: false, error: undefined });
    expect(fresh.socket.readyState).toBe('open');
    expect(fresh.state).toMatchObject({ text: '', isEnded: false, error: undefined });

    await callControl(layout, 'links', 'DELETE', '/rules/dark');
    await until(() => outside.state.text === '12' && fresh.state.text === 'fresh');
    const added = truths().find(({ event, subject }) => event === 'link.rule-added' && subject === 'dark');
    const removed = truths().find(({ event, subject }) => event === 'link.rule-removed' && subject === 'dark');
    expect(added).toMatchObject({ affected: 1 });
    expect(removed?.atMs).toBeGreaterThan(added?.atMs ?? Number.POSITIVE_INFINITY);
  });

  it('forgets connections whose client gave up while they could not be made', async () => {
    await put('dark', { isolate: ['zone/us-west-2a'] }, { kind: 'blackhole' });
    const impatient = dial('client/us-west', 'balancer/us-west-2a');
    await until(() => impatient.socket.readyState === 'open');
    impatient.socket.destroy();
    await systemClock.sleep(50);
    expect(await connectionCounts()).toEqual({});
  });

  it('isolates a region with its zones and services; what stays inside passes', async () => {
    await put('dark', { isolate: ['region/us-west-2'] }, { kind: 'blackhole' });
    const inside = dial('zone/us-west-2b', 'vector/us-west-2');
    inside.socket.write('in');
    await until(() => inside.state.text === 'in');
    const outside = dial('zone/us-east-1a', 'vector/us-west-2');
    outside.socket.write('out');
    await systemClock.sleep(150);
    expect(outside.state.text).toBe('');
  });

  it('partitions in one direction: requests arrive, answers do not', async () => {
    const { socket, state } = dial('zone/us-east-1a', 'balancer/us-west-2a');
    socket.write('1');
    await until(() => state.text === '1');
    await put('one-way', { from: ['region/us-west-2'], to: ['region/us-east-1'] }, { kind: 'blackhole' });
    socket.write('2');
    await systemClock.sleep(150);
    expect(state.text).toBe('1');
    const back = dial('zone/us-west-2b', 'balancer/us-east-1a');
    back.socket.write('x');
    await systemClock.sleep(150);
    expect(back.state.text).toBe('');
  });

  it('resets what is cut, existing and new', async () => {
    const existing = dial('client/us-west', 'balancer/us-west-2a');
    existing.socket.write('1');
    await until(() => existing.state.text === '1');
    await put('cut', { from: ['client/us-west'], to: ['zone/us-west-2a'] }, { kind: 'cut' });
    await until(() => existing.state.error === 'ECONNRESET');
    const fresh = dial('client/us-west', 'balancer/us-west-2a');
    await until(() => fresh.state.error === 'ECONNRESET');
  });

  it('adds delay and throttles', async () => {
    const { socket, state } = dial('zone/us-west-2a', 'balancer/us-west-2a');
    await put('slow', { from: ['zone/us-west-2a'], to: ['zone/us-west-2a'] }, { kind: 'delay', delayMs: 60 });
    socket.write('x');
    expect(await until(() => state.text === 'x')).toBeGreaterThanOrEqual(119);
    await callControl(layout, 'links', 'DELETE', '/rules/slow');
    await put(
      'thin',
      { from: ['client/us-west'], to: ['zone/us-west-2a'] },
      { kind: 'throttle', bytesPerSecond: 20_000 },
    );
    const thin = dial('client/us-west', 'balancer/us-west-2a');
    thin.socket.write('y'.repeat(4000));
    expect(await until(() => thin.state.text.length === 4000)).toBeGreaterThanOrEqual(195);
  });

  it('changes the delay of a log while it flows, and holds the log alone', async () => {
    const delays = (await callControl(layout, 'links', 'GET', '/wal-delays')) as { source: string; delayMs: number }[];
    expect(delays.some(({ source }) => source === 'zone/us-east-1a')).toBe(true);
    const change = (zone: string, delayMs: number) =>
      callControl(layout, 'links', 'PUT', `/wal-delays/${encodeURIComponent(`zone/${zone}`)}`, { body: { delayMs } });
    await change('us-east-1a', 200);
    await expect(change('us-west-2a', -1)).rejects.toMatchObject({ status: 400 });
    await expect(change('us-east-1b', 5)).rejects.toMatchObject({ status: 404 });
    await expect(
      put('log', { from: ['edge'], to: ['edge'], endpoints: ['wal/mars'] }, { kind: 'cut' }),
    ).rejects.toThrow(/no endpoint wal\/mars/);
    const way: Match = { from: ['region/us-west-2'], to: ['region/us-east-1'], endpoints: ['wal/us-west-2a'] };
    await put('log', way, { kind: 'blackhole' });
    const changed = (await callControl(layout, 'links', 'GET', '/wal-delays')) as { source: string; delayMs: number }[];
    expect(changed.filter(({ source }) => source === 'zone/us-east-1a').every(({ delayMs }) => delayMs === 200)).toBe(
      true,
    );
    await callControl(layout, 'links', 'DELETE', '/rules/log');
  });

  it('resets a client whose endpoint is not there', async () => {
    const { state } = dial('client/us-west', 'balancer/us-west-2b');
    await until(() => state.error === 'ECONNRESET');
  });

  it('reaches pods through an egress, and says what it cannot reach', async () => {
    const pod = layout.endpoints.find(({ id }) => id === 'vector/us-west-2')?.port ?? 0;
    const ask = (target: string) => {
      const client = open(layout.egress['zone/us-west-2a'] ?? 0);
      opened.push(client.socket);
      client.socket.write(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n\r\nearly`);
      return client;
    };
    const good = ask(`us-west-2b.zone.lab:${pod}`);
    await until(() => good.state.text.endsWith('early'));
    expect(good.state.text).toBe('HTTP/1.1 200 Connection established\r\n\r\nearly');
    const refused = ask('us-west-2b.zone.lab:1');
    await until(() => refused.state.isEnded);
    expect(refused.state.text).toMatch(/^HTTP\/1.1 502 /);
    const unknown = ask('nowhere.zone.lab:80');
    await until(() => unknown.state.isEnded);
    expect(unknown.state.text).toMatch(/^HTTP\/1.1 404 /);
    await put('dark', { isolate: ['zone/us-west-2b'] }, { kind: 'blackhole' });
    const held = ask(`us-west-2b.zone.lab:${pod}`);
    await systemClock.sleep(100);
    expect(held.state).toMatchObject({ text: '', isEnded: false, error: undefined });
  });

  it.each([
    [{ effect: { kind: 'cut' }, owner: 'x' }, /match is not an object/],
    [{ match: { isolate: ['zone/mars'] }, effect: { kind: 'cut' }, owner: 'x' }, /no place zone\/mars/],
    [{ match: { isolate: ['edge'] }, effect: { kind: 'melt' }, owner: 'x' }, /none of blackhole, cut, delay, throttle/],
    [{ match: { isolate: ['edge'] }, effect: { kind: 'delay' }, owner: 'x' }, /delayMs is not above 0/],
    [{ match: { isolate: ['edge'], to: ['edge'] }, effect: { kind: 'cut' }, owner: 'x' }, /match has no "to"/],
    [{ match: { isolate: ['edge'] }, effect: { kind: 'cut' } }, /owner is not a name/],
  ])('refuses the rule %j', async (body, message) => {
    await expect(callControl(layout, 'links', 'PUT', '/rules/bad', { body })).rejects.toThrow(message);
  });
});
