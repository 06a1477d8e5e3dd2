import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAwsPorts } from '../../adapters/aws-client.ts';
import type { Ports } from '../../adapters/ports.ts';
import { systemClock } from '../../core/clock.ts';
import { forwardPort, type Place } from '../../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import type { Fault, FaultContext, Planned } from '../fault.ts';
import { databaseFailover } from './database-failover/index.ts';
import { regionBlackhole } from './region-blackhole/index.ts';
import { regionPartition } from './region-partition/index.ts';
import { zoneBlackhole } from './zone-blackhole/index.ts';

const environment = labEnvironment();
const timeScale = 60;
const instance = 'conversations-us-west-2';

let lab: StartedComponents;
let ports: Ports;

beforeAll(async () => {
  lab = await startComponents(environment, ['links', 'database', 'dns', 'aws'], { timeScale });
  const { layout } = lab;
  const credentialsFile = path.join(layout.stateDir, 'test-credentials');
  const lines = [
    '[default]',
    `aws_access_key_id = ${layout.awsAccessKeyId}`,
    `aws_secret_access_key = ${layout.token}`,
  ];
  writeFileSync(credentialsFile, lines.join('\n'), { mode: 0o600 });
  const endpoint = `http://127.0.0.1:${layout.control.aws}`;
  ports = {
    ...createAwsPorts({ endpoint, credentialsFile, clock: systemClock }),
    kubernetes: () => ({ listPods: async () => [] }),
  } as unknown as Ports;
});
afterAll(async () => {
  await lab?.stop();
});

const contextFor = (runId: string, expiryMs = 60 * 60_000): FaultContext => ({
  runId,
  environment,
  timeScale,
  clock: systemClock,
  ports,
  signal: AbortSignal.timeout(60_000),
  random: () => 0,
  expiryMs,
});

const answersWithinMs = 500;

/** Whether a PostgreSQL server answers an SSLRequest (one byte) over the link from this place. */
const reaches = (from: Place, zone: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect(forwardPort(lab.layout, from, `postgres/${zone}`), '127.0.0.1');
    const close = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(answersWithinMs, () => close(false));
    socket.once('error', () => close(false));
    socket.once('data', () => close(true));
    socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
  });

const until = async (what: string, look: () => Promise<boolean>): Promise<void> => {
  const lastMs = systemClock.monotonicMs() + 30_000;
  while (!(await look())) {
    if (systemClock.monotonicMs() > lastMs) throw new Error(`${what} did not happen`);
    await systemClock.sleep(20);
  }
};

const planOne = async (fault: Fault, params: unknown, context: FaultContext): Promise<Planned<unknown>> => {
  const [planned] = await fault.plan(params, context);
  if (planned === undefined) throw new Error('no plan');
  return planned;
};

/** As a run does it; the bracket is what the run knows of the instant the fault took hold. */
const breakIt = async (fault: Fault, params: unknown, context: FaultContext) => {
  const planned = await planOne(fault, params, context);
  await fault.prepare?.(planned, params, context);
  const minMs = systemClock.monotonicMs();
  await fault.inject(planned, params, context);
  await until(`${fault.name} bites`, async () => (await fault.bites(planned, context)) !== undefined);
  return { planned, minMs, maxMs: systemClock.monotonicMs() };
};

const mend = async (fault: Fault, { undo }: Planned<unknown>, context: FaultContext): Promise<void> => {
  await fault.revert(undo, context);
  await until(`${fault.name} is back`, async () => (await fault.isReverted(undo, context)).state === 'reverted');
};

const redundant = async (): Promise<boolean> => {
  const now = await ports.rds('us-west-2').describe(instance, AbortSignal.timeout(5000));
  return now?.status === 'available' && now.secondaryZone !== null;
};

const rulesSince = (sinceMs: number): readonly number[] =>
  lab
    .truth()
    .filter(({ event, atMs }) => event === 'link.rule-added' && atMs >= sinceMs)
    .map(({ atMs }) => atMs);

describe('network faults on the real lab', () => {
  it('hold the instant of the cut in their bracket, cut, and give everything back', { timeout: 120_000 }, async () => {
    for (const [index, zone] of ['us-east-1b', 'eu-central-1b', 'us-east-1b'].entries()) {
      const context = contextFor(`bracket-${index}`);
      const { planned, minMs, maxMs } = await breakIt(zoneBlackhole, { zone }, context);
      const [cutMs, ...more] = rulesSince(minMs);
      expect(more).toEqual([]);
      expect(cutMs).toBeLessThanOrEqual(maxMs);
      expect(maxMs - minMs).toBeLessThan(1000);
      await mend(zoneBlackhole, planned, context);
    }
  });

  it('end by themselves after the duration when nobody is left', { timeout: 60_000 }, async () => {
    const context = contextFor('expires', 60_000);
    expect(await reaches('client/us-east', 'us-east-1a')).toBe(true);
    const { planned, minMs } = await breakIt(zoneBlackhole, { zone: 'us-east-1a' }, context);
    expect(await reaches('client/us-east', 'us-east-1a')).toBe(false);
    await until('the link again', () => reaches('client/us-east', 'us-east-1a'));
    const elapsedMs = systemClock.monotonicMs() - minMs;
    expect(elapsedMs).toBeGreaterThan(60_000 / timeScale);
    expect(await zoneBlackhole.isReverted(planned.undo, context)).toEqual({ state: 'reverted' });
    await mend(zoneBlackhole, planned, context);
  });

  it('part regions in both directions and leave their clients alone', { timeout: 60_000 }, async () => {
    const context = contextFor('partition');
    const { planned } = await breakIt(regionPartition, {}, context);
    expect(
      await Promise.all([
        reaches('zone/us-east-1a', 'us-west-2a'),
        reaches('zone/us-west-2a', 'us-east-1a'),
        reaches('zone/us-west-2b', 'eu-central-1a'),
        reaches('zone/us-east-1a', 'eu-central-1a'),
        reaches('client/us-east', 'us-west-2a'),
        reaches('zone/us-west-2b', 'us-west-2a'),
      ]),
    ).toEqual([false, false, false, true, true, true]);
    await mend(regionPartition, planned, context);
    expect(await reaches('zone/us-east-1a', 'us-west-2a')).toBe(true);
  });

  it('make a whole region dark', { timeout: 120_000 }, async () => {
    await until('redundancy', redundant);
    const context = contextFor('region');
    const { planned } = await breakIt(regionBlackhole, {}, context);
    const places: readonly Place[] = ['client/us-west', 'zone/us-east-1a', 'edge', 'zone/us-west-2a'];
    expect(await Promise.all(places.map((place) => reaches(place, 'us-west-2b')))).toEqual(places.map(() => false));
    await mend(regionBlackhole, planned, context);
    await until('redundancy', redundant);
  });
});

describe('database.failover on the real lab', () => {
  it('moves the writer and gets its standby back', { timeout: 120_000 }, async () => {
    await until('redundancy', redundant);
    const context = contextFor('failover');
    const { planned } = await breakIt(databaseFailover, {}, context);
    await mend(databaseFailover, planned, context);
    const { zoneBefore } = planned.undo as { zoneBefore: string };
    expect((await ports.rds('us-west-2').describe(instance, context.signal))?.secondaryZone).toBe(zoneBefore);
  });
});
