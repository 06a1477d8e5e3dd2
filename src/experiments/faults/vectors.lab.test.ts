import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Ports } from '../../adapters/ports.ts';
import { createVectorPort } from '../../adapters/vectors.ts';
import { createStores } from '../../analysis/ledger/store.ts';
import { vectorFullSync, vectorRebuild } from '../../analysis/measures/vectors.ts';
import { systemClock as clock, poll } from '../../core/clock.ts';
import type { Environment } from '../../core/environment.ts';
import { readJournal } from '../../core/journal.ts';
import type { Observation } from '../../core/observation.ts';
import { callControl } from '../../lab/control.ts';
import { addressesOf } from '../../lab/state.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { faultContract } from '../../testing/fault-contract.ts';
import { targetOf } from '../../testing/simulated-record.ts';
import { defineFault, type Fault, type FaultContext } from '../fault.ts';
import type { RunRequest } from '../harness.ts';
import { vectorObserver } from '../observers/vectors.ts';
import { recordOf } from '../record.ts';
import { journalFile } from '../recover.ts';
import type { Session } from '../reverter.ts';
import { runExperiment } from '../run.ts';
import { replicationPause } from './replication-pause/index.ts';
import { vectorDrift } from './vector-drift/index.ts';
import { vectorLose } from './vector-lose/index.ts';

const noSamples = { samples: new Map(), blind: [], instrument: [], ledgers: new Map() };
const readRunRecord = async (folder: string) => recordOf(await readJournal(journalFile(folder)), noSamples, folder);

/** Real vector and object stores over real links. One documented hour is three seconds. */
const timeScale = 1200;
const hourMs = 3_600_000 / timeScale;
/** Longer than documented, because a starved test machine injects late. */
const syncMs = hourMs / 6;
const near = 'us-east-1';
/** Generous: other tests may have the machine. */
const withinMs = 120_000;

interface World {
  readonly lab: StartedComponents;
  readonly environment: Environment;
  readonly ports: Ports;
  session(faults: readonly Fault[], identity: string): Session;
  context(signal: AbortSignal): FaultContext;
}

const startWorld = async (stores: { readonly fullSync: number }): Promise<World> => {
  const whole = labEnvironment();
  const { lab: settings } = whole;
  if (settings === undefined) throw new Error('the lab environment has a lab section');
  const environment = {
    ...whole,
    lab: { ...settings, stores: { ...settings.stores, syncDuration: 10 * 60_000, ...stores } },
  };
  const lab = await startComponents(environment, ['links', 'vector', 'objects'], { timeScale });
  const { vectors } = addressesOf(lab.layout);
  const ports = {
    fis: () => ({ listTemplates: async () => [], listExperiments: async () => [] }),
    vectors: (region: string) => createVectorPort({ region, address: vectors[region] ?? '', clock }),
    cache: () => null,
    alerts: () => null,
    kubernetes: () => ({ listPods: async () => [] }),
    route53: () => ({ healthChecks: async () => [] }),
    rds: () => ({
      describe: async (id: string) => ({ id, status: 'available', multiZone: false, source: null }),
    }),
  } as unknown as Ports;
  await poll(clock, 50, AbortSignal.timeout(withinMs), async () => {
    const status = await ports.vectors(near)?.status(AbortSignal.timeout(withinMs));
    return status?.snapshotTakenMs === null ? undefined : status;
  });
  return {
    lab,
    environment,
    ports,
    session: (faults, identity) => ({ clock, environment, timeScale, ports, identity, faults }),
    context: (signal) => ({
      runId: 'run-1',
      environment,
      timeScale,
      clock,
      ports,
      signal,
      random: () => 0.5,
      expiryMs: 24 * 3_600_000,
    }),
  };
};

const exampleOf = async (fault: Fault, discoverable: boolean, params: Record<string, unknown> = { region: near }) => {
  // No full sync: a fault must be put back by its own record.
  const world = await startWorld({ fullSync: 1e12 });
  return {
    fault,
    params,
    context: world.context,
    state: async () => {
      const status = await world.ports.vectors(near)?.status(AbortSignal.timeout(withinMs));
      return {
        state: status?.state,
        digest: status?.digest,
        count: status?.count,
        lostBy: status?.lostBy,
        pausedBy: status?.sync?.pausedBy,
      };
    },
    discoverable,
    stop: () => world.lab.stop(),
  };
};

faultContract('vector.lose', () => exampleOf(vectorLose, true));
faultContract('replication.pause of vectors', () =>
  exampleOf(replicationPause, true, { store: 'vectors', region: near }),
);
faultContract('vector.drift', () => exampleOf(vectorDrift, false));

describe('in a run', () => {
  let world: World;
  let home: string;
  beforeAll(async () => {
    home = mkdtempSync(path.join(tmpdir(), 'blackstart-vectors-'));
    process.env['XDG_STATE_HOME'] = home;
    // Every third sync is a full one, so that no test waits for a day.
    world = await startWorld({ fullSync: 3 * 3_600_000 });
  }, withinMs);
  afterAll(async () => {
    await world?.lab.stop();
    delete process.env['XDG_STATE_HOME'];
    rmSync(home, { recursive: true, force: true });
  });

  let count = 0;
  const requestOf = (faults: readonly Fault[], changes: Partial<RunRequest> = {}): RunRequest => {
    count += 1;
    return {
      session: world.session(faults, `vectors-${count}`),
      scenario: {
        kind: 'experiment',
        name: 'vectors',
        title: 'Vectors',
        steadyForMs: 0,
        probes: [],
        errorsMax: 0.01,
        targets: [],
        source: {},
      },
      runId: `run-${count}`,
      seed: 5,
      reports: path.join(home, String(count)),
      versions: {},
      approve: 'auto',
      ask: async () => 'yes',
      signal: new AbortController().signal,
      live: () => undefined,
      streams: [],
      startInstrument: async () => ({
        streams: [],
        onSample: () => undefined,
        stop: async () => undefined,
        finishLedgers: async () => undefined,
      }),
      steadyState: () => ({
        add: () => undefined,
        baseline: () => ({ missing: [], failed: [] }),
        baselineNeedsMs: () => 0,
        // As long as real probes need to be sure: the observers have looked once more by then.
        missingSince: (sinceMs) => (clock.monotonicMs() - sinceMs < 1500 ? ['time'] : []),
      }),
      startWatchdog: undefined,
      ...changes,
    };
  };

  const useOf = (fault: Fault, params: Record<string, unknown>, holdMs: number) => ({
    fault: fault.name,
    with: params,
    atMostMs: 24 * 3_600_000,
    holdMs,
    atLeastMs: 0,
  });

  it('a lost index is seen to be lost, to come back, and how old what was loaded is', {
    timeout: withinMs,
  }, async () => {
    const lose = useOf(vectorLose, { region: 'failover' }, 3_600_000 / 2);
    const { folder, error } = await runExperiment(requestOf([vectorLose]), [{ ...lose, phase: 'random' }]);
    expect(error).toBeUndefined();
    const record = await readRunRecord(folder);
    const [fault] = record.faults;
    const context = {
      record,
      streams: [],
      baseline: [],
      endMs: clock.monotonicMs(),
      regionByZone: new Map(),
      stores: createStores(record),
    };
    const window = {} as Parameters<typeof vectorRebuild.measure>[2];
    const measured = vectorRebuild.measure({ lossMax: '24h' }, context, window, targetOf('vector-rebuild', {}));
    const truth = (event: string): number =>
      world.lab.truth().find((one) => one.event === event && one.subject === near)?.atMs ?? Number.NaN;
    const trueMs = truth('vector.rebuilt') - truth('vector.lost');
    expect(trueMs).toBeGreaterThan(3.4 * hourMs);
    if (measured.kind !== 'duration') throw new Error(JSON.stringify(measured));
    expect(measured.confirmed).toBe(true);
    expect(measured.bracket.minMs).toBeLessThanOrEqual(trueMs);
    expect(measured.bracket.maxMs).toBeGreaterThanOrEqual(trueMs);
    expect(measured.bracket.maxMs - measured.bracket.minMs).toBeLessThan(3000);
    expect(measured.figures).toContainEqual({ name: 'recall at the end', value: '8 of 8', unit: 'text' });
    expect(measured.figures?.some(({ name }) => name.startsWith('age of what was loaded'))).toBe(true);
    expect(fault?.reverted).not.toBe(null);
  });

  it('drift is ended by a full sync, and by none before', { timeout: withinMs }, async () => {
    // Right after a full sync: what ends within a look of the observer is not seen to have been.
    const sinceMs = clock.monotonicMs();
    await poll(clock, 20, AbortSignal.timeout(withinMs), async () =>
      world.lab
        .truth()
        .find(
          (one) =>
            one['kind'] === 'full' && one.subject === near && one.atMs > sinceMs && one.event === 'vector.synced',
        ),
    );
    const drift = useOf(vectorDrift, { region: 'failover' }, 5 * 3_600_000);
    const { folder, error } = await runExperiment(requestOf([vectorDrift]), [{ ...drift, phase: 'random' }]);
    expect(error).toBeUndefined();
    const record = await readRunRecord(folder);
    const injectedMs = record.faults[0]?.effective?.minMs ?? Number.NaN;
    const context = {
      record,
      streams: [],
      baseline: [],
      endMs: clock.monotonicMs(),
      regionByZone: new Map(),
      stores: createStores(record),
    };
    const window = {} as Parameters<typeof vectorFullSync.measure>[2];
    const measured = vectorFullSync.measure({}, context, window, targetOf('vector-full-sync', {}));
    const full = world.lab
      .truth()
      .find(
        (one) =>
          one.event === 'vector.synced' && one.subject === near && one['kind'] === 'full' && one.atMs > injectedMs,
      );
    const trueMs = (full?.atMs ?? Number.NaN) - injectedMs;
    if (measured.kind !== 'duration') throw new Error(JSON.stringify(measured));
    expect(measured.confirmed).toBe(true);
    expect(measured.bracket.minMs).toBeLessThanOrEqual(trueMs);
    expect(measured.bracket.maxMs).toBeGreaterThanOrEqual(trueMs - 100);
    expect(measured.figures).toEqual([{ name: 'sync that ended it', value: 'full', unit: 'text' }]);
  });

  it('the worst moment finds a copy older than its period', { timeout: withinMs }, async () => {
    const rule = {
      match: { from: ['region/us-west-2'], to: [`region/${near}`] },
      effect: { kind: 'cut' },
      owner: 'test',
    };
    const cut = defineFault({
      name: 'link.cut',
      summary: 'Cuts a link of the lab.',
      params: z.strictObject({}),
      undo: z.strictObject({}),
      expiry: 'none',
      permissions: () => [],
      plan: async () => [{ target: 'link/1', undo: {}, blast: { pods: 0, zones: [], regions: [], workloads: {} } }],
      inject: async () => void (await callControl(world.lab.layout, 'links', 'PUT', '/rules/worst', { body: rule })),
      bites: async () => 'it is cut',
      revert: async () => void (await callControl(world.lab.layout, 'links', 'DELETE', '/rules/worst')),
      isReverted: async () => ({ state: 'reverted' }),
      discover: async () => [],
    });
    const use = useOf(cut, {}, 60_000);
    const phase = { mechanism: 'vector-sync', region: 'failover', at: 'worst' } as const;
    const { folder, error } = await runExperiment(requestOf([cut]), [{ ...use, phase }]);
    expect(error).toBeUndefined();
    const { facts } = await readRunRecord(folder);
    expect(facts).toMatchObject({
      'phase.mechanism': 'vector-sync',
      'phase.region': near,
      'phase.at': 'worst',
      'phase.periodMs': hourMs,
      'phase.durationMs': syncMs,
    });
    // What really happened: the sync that was under way failed, and the copy still shows what the one before took.
    const truth = world.lab.truth().filter(({ subject }) => subject === near || subject === 'worst');
    const cutMs = truth.find(({ event }) => event === 'link.rule-added')?.atMs ?? Number.NaN;
    const failed = truth.find(({ event, atMs }) => event === 'vector.sync-failed' && atMs >= cutMs);
    const shown = truth.findLast(({ event, atMs }) => event === 'vector.synced' && atMs < cutMs);
    expect(failed?.['startedMs']).toBeLessThan(cutMs);
    const ageMs = cutMs - Number(shown?.['startedMs']);
    expect(ageMs).toBeGreaterThan(hourMs);
    expect(ageMs).toBeLessThan(hourMs + syncMs + 50);
    expect(Math.abs(cutMs - Number(facts['phase.takenMs']) - ageMs)).toBeLessThan(100);
  });
});

describe('the observer of vector stores', () => {
  it('says nothing where nobody says where they are', async () => {
    const seen: Observation[] = [];
    const session = {
      clock,
      environment: labEnvironment(),
      timeScale,
      ports: { vectors: () => null } as Partial<Ports> as Ports,
      identity: 'test',
      faults: [],
    };
    const stop = new AbortController();
    await vectorObserver.watch(
      session,
      stop.signal,
      (one) => void seen.push(one),
      () => undefined,
    );
    expect(seen).toEqual([]);
  });
});
