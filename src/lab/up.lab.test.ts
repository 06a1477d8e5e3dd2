import { execFile } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import type { Environment, environmentSchema } from '../core/environment.ts';
import { stateDirOf } from './home.ts';
import { labAddresses, labDown, labEnv, labLogs, labStatus, labUp } from './index.ts';
import type { LabLayout } from './layout.ts';
import { listProcesses } from './processes.ts';
import type { LabState } from './state.ts';
import { labEnvironment } from './testing.ts';
import { readTruth } from './truth.ts';

/** Two regions with as few pods as a platform can have: what is tested here is coming and going. */
const smallEnvironment = (name: string, idleExpiry = '30m'): Environment => {
  const lab = labEnvironment();
  const pods = { gateway: 1, orchestrator: 1, rag: 1, llm: 1 };
  const regions = lab.regions.slice(0, 2).map((region) => ({
    ...region,
    zones: region.zones.map((zone) => ({ ...zone, pods })),
  }));
  const settings = lab.lab;
  if (settings === undefined) throw new Error('the lab environment has no lab section');
  const expiryMs = idleExpiry === '30m' ? settings.idleExpiry : Number.parseFloat(idleExpiry) * 1000;
  const environment = { ...lab, name, regions, lab: { ...settings, idleExpiry: expiryMs } };
  // The schema turns text into milliseconds: what is here is its output already.
  return environment satisfies ReturnType<typeof environmentSchema.parse>;
};

const until = async (what: string, withinMs: number, look: () => boolean | Promise<boolean>): Promise<void> => {
  const endMs = systemClock.monotonicMs() + withinMs;
  while (!(await look())) {
    if (systemClock.monotonicMs() > endMs) throw new Error(`waited ${withinMs} ms in vain: ${what}`);
    await systemClock.sleep(50);
  }
};

const isListening = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

const portsOf = (layout: LabLayout): readonly number[] => [
  ...layout.endpoints.map(({ port }) => port),
  ...layout.forwards.map(({ port }) => port),
  ...Object.values(layout.egress),
  ...Object.values(layout.control),
];

/** Processes with this lab's folder in their arguments, and those among `pids` that still are what they were. */
const leftOf = (stateDir: string): readonly string[] =>
  listProcesses()
    .filter(({ args }) => args.some((arg) => arg.includes(stateDir)))
    .map(({ pid, args }) => `${pid} ${args.join(' ')}`);

const expectNothingLeft = async (name: string, layout: LabLayout | undefined): Promise<void> => {
  expect(existsSync(stateDirOf(name))).toBe(false);
  expect(leftOf(stateDirOf(name))).toEqual([]);
  for (const port of layout === undefined ? [] : portsOf(layout)) expect(await isListening(port)).toBe(false);
};

describe('a lab comes and goes', () => {
  const home = mkdtempSync(path.join(os.tmpdir(), 'blackstart-home-'));
  const signal = new AbortController().signal;
  const names = ['small', 'other', 'hurried', 'idle'];

  beforeAll(() => {
    process.env['BLACKSTART_LAB_HOME'] = path.join(home, 'labs');
  });
  afterEach(async () => {
    for (const name of names) await labDown(name);
  });
  afterAll(() => {
    delete process.env['BLACKSTART_LAB_HOME'];
    rmSync(home, { recursive: true });
  });
  const up = async (name: string, timeScale?: number): Promise<LabState> => {
    const environment = smallEnvironment(name);
    return (await labUp({ environment, signal, ...(timeScale === undefined ? {} : { timeScale }) })).state;
  };

  it('up serves and says where, twice is fine, down leaves nothing', async () => {
    const seen: number[] = [];
    const environment = smallEnvironment('small');
    const { state, wasUp } = await labUp({ environment, signal, onProgress: ({ done }) => seen.push(done) });
    expect(wasUp).toBe(false);
    expect(seen.at(-1)).toBe(state.components.length + 16);

    const status = await labStatus('small');
    expect(status).toMatchObject({ phase: 'up', timeScale: state.layout.timeScale, rules: [], problems: [] });
    expect(status.components.filter(({ kind }) => kind === 'llm')).toHaveLength(4);
    expect(status.components.every(({ memoryMegabytes }) => (memoryMegabytes ?? 0) > 5)).toBe(true);
    const url = status.addresses?.service['us-west']?.['us-east-1']?.['us-east-1b'];
    const health = await fetch(`${url}/health`);
    expect(health.status).toBe(200);
    expect(health.headers.get('x-served-region')).toBe('us-east-1');
    for (const file of readdirSync(stateDirOf('small'))) {
      const stat = statSync(path.join(stateDirOf('small'), file));
      if (stat.isFile()) expect(`${file} ${(stat.mode & 0o077).toString(8)}`).toBe(`${file} 0`);
    }

    const variables = await labEnv('small');
    expect(variables['KUBECONFIG']).toBe(labAddresses('small').kubeconfig);
    const chat = await fetch(`${variables['OPENAI_BASE_URL']}/models`);
    expect(chat.status).toBe(200);
    const client = new pg.Client({
      host: variables['PGHOST'],
      port: Number(variables['PGPORT']),
      user: variables['PGUSER'],
      password: variables['PGPASSWORD'],
      database: variables['PGDATABASE'],
    });
    await client.connect();
    expect((await client.query('SELECT pg_is_in_recovery() AS recovery')).rows).toEqual([{ recovery: false }]);
    await client.end();
    const resolver = new Resolver();
    resolver.setServers([variables['BLACKSTART_DNS'] ?? '']);
    const answers = await resolver.resolveSrv(`_http._tcp.${environment.service.host}`);
    expect(answers.map(({ name }) => name.split('.')[0]).toSorted()).toEqual(['us-west-2a', 'us-west-2b']);
    expect(labLogs('small', 'links').map(({ component }) => component)).toEqual(['links']);
    expect(() => labLogs('small', 'nonsense')).toThrow(/no log/);

    const again = await labUp({ environment, signal });
    expect(again).toMatchObject({ wasUp: true, state: { supervisor: state.supervisor } });
    await expect(labUp({ environment, signal, timeScale: 7 })).rejects.toMatchObject({ code: 'USAGE' });

    expect(await labDown('small')).toEqual({ wasUp: true, killed: 0 });
    await expectNothingLeft('small', state.layout);
    expect(existsSync(path.join(home, 'labs'))).toBe(false);
    expect(await labStatus('small')).toMatchObject({ phase: 'down' });
    expect(await labDown('small')).toEqual({ wasUp: false, killed: 0 });
  });

  it('two labs live side by side, and one going down leaves the other alone', async () => {
    const [small, other] = [await up('small'), await up('other', 60)];
    expect(portsOf(small.layout).filter((port) => portsOf(other.layout).includes(port))).toEqual([]);
    await labDown('other');
    await expectNothingLeft('other', other.layout);
    expect(await labStatus('small')).toMatchObject({ phase: 'up', problems: [] });
  });

  it('starts again what a platform starts again, and says when it died', async () => {
    const { layout, components } = await up('small');
    const victim = components.find(({ name }) => name === 'vector-us-east-1');
    process.kill(victim?.pid ?? 0, 'SIGKILL');
    await until('vector is back', 10_000, async () => {
      const now = (await labStatus('small')).components.find(({ name }) => name === 'vector-us-east-1');
      return now?.state === 'ready' && now.pid !== victim?.pid && now.restarts === 1;
    });
    const exited = readTruth(layout.stateDir).find(({ event }) => event === 'process.exited');
    expect(exited).toMatchObject({ subject: 'vector-us-east-1', signal: 'SIGKILL' });
  });

  it('when its supervisor is killed everything ends by itself, and what was stopped is found', async () => {
    const { layout, supervisor } = await up('small');
    const pod = (await labStatus('small')).components.find(({ kind }) => kind === 'llm');
    process.kill(pod?.pid ?? 0, 'SIGSTOP');
    process.kill(supervisor.pid, 'SIGKILL');
    await until('all but the stopped one end', 15_000, () => leftOf(layout.stateDir).length <= 1);
    expect(await labStatus('small')).toMatchObject({ phase: 'crashed' });
    expect(await labDown('small')).toEqual({ wasUp: true, killed: 1 });
    await expectNothingLeft('small', layout);
  });

  it('an interrupted up leaves nothing, wherever it was', async () => {
    for (const afterMs of [0, 400, 1500]) {
      const interrupt = new AbortController();
      const rising = labUp({ environment: smallEnvironment('hurried'), signal: interrupt.signal });
      const outcome = rising.then(
        () => 'up',
        (error: unknown) => error,
      );
      await systemClock.sleep(afterMs);
      interrupt.abort(new Error('Ctrl-C'));
      expect(await outcome).toMatchObject({ message: 'Ctrl-C' });
      await expectNothingLeft('hurried', undefined);
    }
  });

  it('a killed up leaves nothing either', async () => {
    const script = `
      import { labUp } from ${JSON.stringify(path.join(import.meta.dirname, 'index.ts'))};
      import { labEnvironment } from ${JSON.stringify(path.join(import.meta.dirname, 'testing.ts'))};
      await labUp({ environment: { ...labEnvironment(), name: 'hurried' }, signal: new AbortController().signal,
        onProgress: () => console.log('progress') });`;
    const child = execFile(process.execPath, ['--input-type=module-typescript', '-e', script]);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    child.kill('SIGKILL');
    await until('everything ends', 20_000, () => leftOf(stateDirOf('hurried')).length === 0);
    await until('its files are gone', 5000, () => !existsSync(stateDirOf('hurried')));
  });

  it('ends by itself when nobody uses it, and not before', async () => {
    const { layout } = (await labUp({ environment: smallEnvironment('idle', '7s'), signal })).state;
    for (let round = 0; round < 10; round += 1) {
      await systemClock.sleep(1000);
      expect((await labStatus('idle')).phase).toBe('up');
    }
    await until('it ends', 20_000, () => !existsSync(layout.stateDir));
    await expectNothingLeft('idle', layout);
  });
});
