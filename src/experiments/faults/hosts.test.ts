import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAwsPorts } from '../../adapters/aws-client.ts';
import type { Ports } from '../../adapters/ports.ts';
import { systemClock } from '../../core/clock.ts';
import { labEnvironment } from '../../lab/testing.ts';
import { type AwsStandIn, startAws } from '../../testing/aws.ts';
import { faultContract } from '../../testing/fault-contract.ts';
import type { Fault, FaultContext } from '../fault.ts';
import { databaseKill } from './database-kill/index.ts';
import { replicationDelay } from './replication-delay/index.ts';
import { replicationPause } from './replication-pause/index.ts';

const environment = labEnvironment();
/** Documented minutes pass in tenths of a second. */
const timeScale = 600;

const contextFor = (aws: AwsStandIn, signal: AbortSignal, more: Partial<FaultContext> = {}): FaultContext => ({
  runId: 'run-1',
  environment,
  timeScale,
  clock: systemClock,
  ports: {
    ...createAwsPorts({
      endpoint: aws.endpoint,
      credentialsFile: aws.credentialsFile,
      clock: systemClock,
    }),
    vectors: () => null,
  } as unknown as Ports,
  signal,
  random: () => 0,
  expiryMs: 12 * 60 * 60_000,
  ...more,
});

const stateOf = async (aws: AwsStandIn, { ports, signal }: FaultContext): Promise<unknown> => {
  const templates = await Promise.all(
    environment.regions.map(({ name }) => ports.fis(name).listTemplates('blackstart:run', 'run-1', signal)),
  );
  return { templates: templates.flat().length, rules: [...aws.rules].sort() };
};

const contract = (fault: Fault, params: Readonly<Record<string, unknown>>): void =>
  faultContract(fault.name, async () => {
    const aws = await startAws(environment, timeScale);
    const context = (signal: AbortSignal): FaultContext => contextFor(aws, signal);
    return {
      fault,
      params,
      context,
      state: () => stateOf(aws, context(AbortSignal.timeout(10_000))),
      discoverable: true,
      stop: async () => aws.stop(),
    };
  });

contract(databaseKill, {});
contract(replicationDelay, { delay: '10s' });
contract(replicationPause, { store: 'postgres', region: 'eu-central-1' });

describe('faults on the hosts of databases', () => {
  let aws: AwsStandIn;
  const context = (more: Partial<FaultContext> = {}) => contextFor(aws, AbortSignal.timeout(20_000), more);
  beforeEach(async () => {
    aws = await startAws(environment, timeScale);
  });
  afterEach(() => aws.stop());

  const injected = async (
    fault: Fault,
    params: Readonly<Record<string, unknown>>,
    more: Partial<FaultContext> = {},
  ) => {
    const [planned] = await fault.plan(params, context());
    if (planned === undefined) throw new Error('nothing was planned');
    await fault.prepare?.(planned, params, context(more));
    await fault.inject(planned, params, context(more));
    return planned;
  };
  const rules = () => [...aws.rules.values()].map(({ match, effect }) => ({ match, effect }));

  it('kill where the writer is now, not where it started', async () => {
    const writer = aws.instances.get('conversations-us-west-2');
    if (writer === undefined) throw new Error('no writer');
    Object.assign(writer, { zone: 'us-west-2b', secondaryZone: 'us-west-2a' });
    const planned = await injected(databaseKill, {});
    expect(aws.killed).toEqual(['us-west-2b']);
    expect(await databaseKill.bites(planned, context())).toContain('kill -9');
    writer.secondaryZone = null as never;
    expect(await databaseKill.isReverted(planned.undo, context())).toMatchObject({ state: 'pending' });
  });

  it('delay or stop the log alone, from every host of the source, in scaled time', async () => {
    const delayed = await injected(replicationDelay, { region: 'failover', delay: '30s' });
    const match = {
      from: ['zone/us-west-2a', 'zone/us-west-2b'],
      to: ['zone/us-east-1a'],
      endpoints: ['wal/us-west-2a', 'wal/us-west-2b'],
    };
    expect(rules().map(({ effect }) => effect)).toEqual([{ kind: 'delay', delayMs: 30_000 / timeScale }]);
    expect(sorted(rules()[0]?.match)).toEqual(match);
    await replicationDelay.revert(delayed.undo, context());
    expect(rules()).toEqual([]);
    const paused = await injected(replicationPause, { store: 'postgres' });
    expect(rules().map(({ effect }) => effect)).toEqual([{ kind: 'blackhole' }]);
    await replicationPause.revert(paused.undo, context());
    expect(rules()).toEqual([]);
  });

  it('end by themselves when nobody is left', async () => {
    const planned = await injected(replicationPause, { store: 'postgres' }, { expiryMs: 60_000 });
    expect(rules()).toHaveLength(1);
    await systemClock.sleep(1500);
    expect(rules()).toEqual([]);
    await replicationPause.revert(planned.undo, context());
    expect(await replicationPause.isReverted(planned.undo, context())).toEqual({ state: 'reverted' });
  });

  it('are refused where there is no host or no replica', async () => {
    await expect(replicationDelay.plan({ region: 'primary' }, context())).rejects.toThrow(/is no read replica/);
    const other = { ...environment, name: 'another' };
    await expect(databaseKill.plan({}, context({ environment: other }))).rejects.toThrow(/no running EC2 instance/);
    const { billing: _billing, ...without } = environment;
    await expect(databaseKill.plan({ database: 'billing' }, context({ environment: without }))).rejects.toThrow(
      /no billing database/,
    );
  });
});

const sorted = (match: unknown): unknown =>
  Object.fromEntries(
    Object.entries(match as Record<string, readonly string[]>).map(([key, value]) => [key, [...value].sort()]),
  );
