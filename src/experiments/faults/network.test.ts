import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { createAwsPorts } from '../../adapters/aws-client.ts';
import type { Pod, Ports } from '../../adapters/ports.ts';
import { systemClock } from '../../core/clock.ts';
import { environmentSchema } from '../../core/environment.ts';
import { labEnvironment } from '../../lab/testing.ts';
import { type AwsStandIn, startAws } from '../../testing/aws.ts';
import { faultContract } from '../../testing/fault-contract.ts';
import type { Fault, FaultContext, Planned } from '../fault.ts';
import { databaseFailover } from './database-failover/index.ts';
import { isoDuration } from './fis.ts';
import { regionBlackhole } from './region-blackhole/index.ts';
import { regionPartition } from './region-partition/index.ts';
import { zoneBlackhole } from './zone-blackhole/index.ts';

const environment = labEnvironment();
const west = 'us-west-2';
/** Documented minutes pass in tenths of a second. */
const timeScale = 600;
const hourMs = 60 * 60_000;

const podsOf = (region: string, count: number): readonly Pod[] =>
  (environment.regions.find((one) => one.name === region)?.zones ?? []).flatMap(({ name: zone }) =>
    Array.from({ length: count }, (_, index) => ({
      name: `${zone}-${index}`,
      namespace: 'platform',
      uid: `${zone}-${index}`,
      resourceVersion: '1',
      node: zone,
      zone,
      labels: {},
      annotations: {},
      phase: 'Running',
      ready: true,
      deleting: false,
      createdAt: '2026-01-01T00:00:00Z',
      containers: [],
    })),
  );

const contextFor = (aws: AwsStandIn, signal: AbortSignal, more: Partial<FaultContext> = {}): FaultContext => ({
  runId: 'run-1',
  environment,
  timeScale,
  clock: systemClock,
  ports: {
    ...createAwsPorts({ endpoint: aws.endpoint, credentialsFile: aws.credentialsFile, clock: systemClock }),
    kubernetes: (region: string) => ({ listPods: async () => podsOf(region, region === west ? 5 : 2) }),
  } as unknown as Ports,
  signal,
  random: () => 0,
  expiryMs: 12 * hourMs,
  ...more,
});

/** Everything a fault may change, without identifiers that are new each time. */
const stateOf = async (aws: AwsStandIn, context: FaultContext): Promise<unknown> => {
  const { ports, signal } = context;
  const regions = await Promise.all(
    environment.regions.map(async ({ name, zones }) => {
      const ec2 = ports.ec2(name);
      const subnets = await ec2.subnets({ zones: zones.map((zone) => zone.name) }, signal);
      const ids = subnets.map(({ id }) => id);
      const acls = await ec2.subnetAcls(ids, signal);
      const tables = await ec2.subnetRouteTables(ids, signal);
      const templates = await ports.fis(name).listTemplates('blackstart:run', 'run-1', signal);
      return {
        name,
        acls: acls.map(({ subnetId, networkAclId }) => [subnetId, networkAclId]).sort(),
        tables: tables.map(({ subnetId, routeTableId }) => [subnetId, routeTableId]).sort(),
        templates: templates.length,
      };
    }),
  );
  return { regions, rules: [...aws.rules].sort() };
};

const network = (fault: Fault, params: Readonly<Record<string, unknown>>): void =>
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

network(zoneBlackhole, { zone: 'us-west-2a' });
network(regionBlackhole, {});
network(regionPartition, {});
network(regionPartition, { region: 'primary', from: ['failover'] });

faultContract(databaseFailover.name, async () => {
  const aws = await startAws(environment, timeScale);
  return {
    fault: databaseFailover,
    params: {},
    context: (signal: AbortSignal): FaultContext => contextFor(aws, signal),
    // Which of the two zones has the writer is not put back; redundancy is.
    state: async () =>
      [...aws.instances.values()].map(({ id, status, secondaryZone }) => [id, status, secondaryZone !== null]),
    discoverable: false,
    stop: async () => aws.stop(),
  };
});

describe('faults on the network', () => {
  let aws: AwsStandIn;
  let context: FaultContext;
  beforeEach(async () => {
    aws = await startAws(environment, timeScale);
    context = contextFor(aws, AbortSignal.timeout(50_000));
  });
  afterEach(() => aws.stop());

  const planOne = async (fault: Fault, params: unknown, inContext = context): Promise<Planned<unknown>> => {
    const [planned] = await fault.plan(params, inContext);
    if (planned === undefined) throw new Error('no plan');
    return planned;
  };

  const until = async (look: () => Promise<boolean> | boolean): Promise<void> => {
    while (!(await look())) await systemClock.sleep(10, context.signal);
  };

  it('counts what is lost and what survives', async () => {
    expect((await planOne(zoneBlackhole, { zone: 'primary' })).blast).toMatchObject({
      zones: ['us-west-2a'],
      regions: [],
      workloads: { llm: { ready: 18, surviving: 13 } },
    });
    expect((await planOne(regionBlackhole, {})).blast).toMatchObject({
      zones: ['us-west-2a', 'us-west-2b'],
      regions: [west],
      workloads: { llm: { ready: 18, surviving: 8 } },
    });
    expect((await planOne(regionPartition, {})).blast).toMatchObject({
      zones: [],
      workloads: { llm: { ready: 18, surviving: 18 } },
    });
  });

  it('means by the zone of the database writer where the writer is now', async () => {
    const instance = aws.instances.get('conversations-us-west-2');
    if (instance === undefined) throw new Error('no instance');
    Object.assign(instance, { zone: 'us-west-2b', secondaryZone: 'us-west-2a' });
    expect((await planOne(zoneBlackhole, { zone: 'primary' })).target).toBe('zone/us-west-2b');
    expect((await planOne(zoneBlackhole, { zone: 'standby' })).target).toBe('zone/us-west-2a');
    Object.assign(instance, { secondaryZone: null });
    await expect(planOne(zoneBlackhole, { zone: 'standby' })).rejects.toThrow('has no standby at present');
  });

  it('cuts every zone of a region, and its services, off from everything', async () => {
    const planned = await planOne(regionBlackhole, {});
    await regionBlackhole.prepare?.(planned, {}, context);
    expect(aws.rules.size).toBe(0);
    await regionBlackhole.inject(planned, {}, context);
    expect(Object.fromEntries([...aws.rules].map(([id, { match }]) => [id, match]))).toEqual({
      'aws-zone-us-west-2a': { isolate: ['zone/us-west-2a'] },
      'aws-zone-us-west-2b': { isolate: ['zone/us-west-2b'] },
      'aws-region-us-west-2': { isolate: ['region/us-west-2'] },
    });
    await regionBlackhole.revert(planned.undo, context);
    expect(aws.rules.size).toBe(0);
  });

  it('cuts both directions between a region and the others, and nothing between the others', async () => {
    const planned = await planOne(regionPartition, {});
    await regionPartition.inject(planned, {}, context);
    const pairs = [...aws.rules.values()].map(({ match }) => JSON.stringify(match)).sort();
    const pair = (from: string, to: string): string =>
      JSON.stringify({ from: [`region/${from}`], to: [`region/${to}`] });
    expect(pairs).toEqual(
      [pair(west, 'us-east-1'), pair(west, 'eu-central-1'), pair('us-east-1', west), pair('eu-central-1', west)].sort(),
    );
    await regionPartition.revert(planned.undo, context);
    expect(aws.rules.size).toBe(0);
  });

  it('is over when its duration has passed, with nobody to end it', async () => {
    const short = { ...context, expiryMs: 60_000 };
    const planned = await planOne(zoneBlackhole, {}, short);
    await zoneBlackhole.inject(planned, {}, short);
    expect(aws.rules.size).toBe(1);
    await until(() => aws.rules.size === 0);
    await until(async () => (await zoneBlackhole.isReverted(planned.undo, context)).state === 'reverted');
  });

  it('is put into force again when the links were started anew, and leaves no rule of ours behind', async () => {
    aws.rules.set('aws-left-over', { match: { isolate: ['zone/us-west-2b'] }, effect: {}, owner: 'aws' });
    aws.rules.set('theirs', { match: { isolate: ['zone/us-west-2b'] }, effect: {}, owner: 'somebody' });
    const planned = await planOne(zoneBlackhole, {});
    await zoneBlackhole.inject(planned, {}, context);
    expect([...aws.rules.keys()].sort()).toEqual(['aws-zone-us-west-2a', 'theirs']);
    aws.rules.clear();
    await until(() => aws.rules.has('aws-zone-us-west-2a'));
    await zoneBlackhole.revert(planned.undo, context);
    expect(aws.rules.size).toBe(0);
  });

  it('overwrites nothing when somebody else changed the subnet meanwhile, and shows the difference', async () => {
    const planned = await planOne(zoneBlackhole, {});
    await zoneBlackhole.inject(planned, {}, context);
    const { EC2Client, CreateNetworkAclCommand, DescribeNetworkAclsCommand, ReplaceNetworkAclAssociationCommand } =
      await import('@aws-sdk/client-ec2');
    const client = new EC2Client({
      region: west,
      endpoint: aws.endpoint,
      credentials: { accessKeyId: aws.layout.awsAccessKeyId, secretAccessKey: aws.layout.token },
    });
    const [subnet] = await context.ports.ec2(west).subnets({ zones: ['us-west-2a'] }, context.signal);
    const filter = { Name: 'association.subnet-id', Values: [subnet?.id ?? ''] };
    const now = await client.send(new DescribeNetworkAclsCommand({ Filters: [filter] }));
    const made = await client.send(new CreateNetworkAclCommand({ VpcId: subnet?.vpcId }));
    const theirs = made.NetworkAcl?.NetworkAclId ?? '';
    await client.send(
      new ReplaceNetworkAclAssociationCommand({
        AssociationId: now.NetworkAcls?.[0]?.Associations?.find((one) => one.SubnetId === subnet?.id)
          ?.NetworkAclAssociationId,
        NetworkAclId: theirs,
      }),
    );
    await zoneBlackhole.revert(planned.undo, context);
    const state = await zoneBlackhole.isReverted(planned.undo, context);
    expect(state.state).toBe('conflict');
    expect(state).toMatchObject({ difference: expect.stringContaining(`is now ${theirs}`) });
    const [after] = await context.ports.ec2(west).subnetAcls([subnet?.id ?? ''], context.signal);
    expect(after?.networkAclId).toBe(theirs);
  });

  it('is refused while another experiment has the subnets, and while the safety lever is engaged', async () => {
    const planned = await planOne(zoneBlackhole, {});
    await zoneBlackhole.inject(planned, {}, context);
    await expect(regionBlackhole.plan({}, { ...context, runId: 'run-2' })).rejects.toThrow(/managed by FIS/);
    await zoneBlackhole.revert(planned.undo, context);
    const fis = { ...context.ports.fis(west), safetyLever: async () => 'engaged' as const };
    const levered = { ...context, ports: { ...context.ports, fis: () => fis } };
    await expect(zoneBlackhole.plan({}, levered)).rejects.toThrow(/safety lever of us-west-2 is engaged/);
  });

  it('touches no subnet that is not tagged as the environment’s', async () => {
    const other = { ...context, environment: { ...environment, name: 'staging' } };
    await expect(zoneBlackhole.plan({}, other)).rejects.toThrow(/no subnet tagged blackstart:environment=staging/);
  });

  it('changes nothing when the subnets changed after the plan', async () => {
    const planned = await planOne(zoneBlackhole, {});
    const text = JSON.stringify(planned).replaceAll(/acl-[0-9a-f]+/g, 'acl-other');
    await expect(zoneBlackhole.inject(JSON.parse(text), {}, context)).rejects.toThrow(
      /changed since they were planned/,
    );
    expect(aws.rules.size).toBe(0);
  });

  it('killed between any two calls, is found by its tags and put back', async () => {
    for (let callsMax = 0; callsMax <= 4; callsMax += 1) {
      const planned = await planOne(zoneBlackhole, {});
      let left = callsMax;
      const real = context.ports.fis(west);
      const counted = <T>(call: () => Promise<T>): Promise<T> => {
        if (left <= 0) return Promise.reject(new Error('killed'));
        left -= 1;
        return call();
      };
      const fis = {
        ...real,
        createTemplate: (...args: Parameters<typeof real.createTemplate>) =>
          counted(() => real.createTemplate(...args)),
        preview: (...args: Parameters<typeof real.preview>) => counted(() => real.preview(...args)),
        start: (...args: Parameters<typeof real.start>) => counted(() => real.start(...args)),
        get: (...args: Parameters<typeof real.get>) => counted(() => real.get(...args)),
      };
      const dying = { ...context, ports: { ...context.ports, fis: () => fis } };
      await zoneBlackhole.inject(planned, {}, dying).catch(() => undefined);
      const found = await zoneBlackhole.discover(undefined, { ...context, runId: 'recover-1' });
      expect(found).toEqual(callsMax === 0 ? [] : [planned.undo]);
      for (const undo of found) {
        await zoneBlackhole.revert(undo, { ...context, runId: 'recover-1' });
        expect(await zoneBlackhole.isReverted(undo, context)).toEqual({ state: 'reverted' });
      }
      expect(aws.rules.size).toBe(0);
      expect(await zoneBlackhole.discover(undefined, context)).toEqual([]);
    }
  });
});

describe('another platform', () => {
  it('is cut just the same: nothing of the first is in the faults', async () => {
    const file = path.join(import.meta.dirname, '../../../experiments/environments/nordic.yaml');
    const nordic = environmentSchema.parse(parse(readFileSync(file, 'utf8')));
    const aws = await startAws(nordic, timeScale);
    const context = contextFor(aws, AbortSignal.timeout(50_000), { environment: nordic });
    try {
      for (const fault of [zoneBlackhole, regionBlackhole, regionPartition]) {
        const [planned] = await fault.plan({}, context);
        if (planned === undefined) throw new Error('no plan');
        await fault.inject(planned, {}, context);
        expect(await fault.bites(planned, context)).toMatch(/FIS experiment/);
        expect(aws.rules.size).toBeGreaterThan(0);
        await fault.revert(planned.undo, context);
        expect(await fault.isReverted(planned.undo, context)).toEqual({ state: 'reverted' });
        expect(aws.rules.size).toBe(0);
      }
    } finally {
      aws.stop();
    }
  });
});

describe('FIS durations', () => {
  it('are whole minutes, rounded up, from one minute to twelve hours', () => {
    expect([0, 1, 60_000, 60_001, hourMs, 100 * hourMs].map(isoDuration)).toEqual([
      'PT1M',
      'PT1M',
      'PT1M',
      'PT2M',
      'PT60M',
      'PT720M',
    ]);
  });
});
