import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAwsPorts } from '../../adapters/aws-client.ts';
import type { Ports } from '../../adapters/ports.ts';
import { poll, systemClock } from '../../core/clock.ts';
import { forwardPort } from '../../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { faultContract } from '../../testing/fault-contract.ts';
import type { Fault, FaultContext, Planned } from '../fault.ts';
import { objectDelete } from './object-delete/index.ts';
import { replicationPause } from './replication-pause/index.ts';

const environment = labEnvironment();
const timeScale = 60;
const west = 'us-west-2';
const bucket = 'documents-us-west-2';
const handbook = 'handbook/first-steps.txt';
const regions = environment.regions.map(({ name }) => name);

interface Parts {
  readonly lab: StartedComponents;
  context(signal: AbortSignal, runId?: string, expiryMs?: number): FaultContext;
}

const start = async (): Promise<Parts> => {
  const lab = await startComponents(environment, ['links', 'objects', 'aws'], { timeScale });
  const { layout } = lab;
  const credentialsFile = path.join(layout.stateDir, 'test-credentials');
  const keys = [`aws_access_key_id = ${layout.awsAccessKeyId}`, `aws_secret_access_key = ${layout.token}`];
  writeFileSync(credentialsFile, ['[default]', ...keys].join('\n'), { mode: 0o600 });
  const endpoint = `http://127.0.0.1:${layout.control.aws}`;
  const aws = createAwsPorts({ endpoint, credentialsFile, clock: systemClock });
  const ports = { ...aws, vectors: () => null } as Partial<Ports> as Ports;
  const context = (signal: AbortSignal, runId = 'run-1', expiryMs = 12 * 60 * 60_000): FaultContext => ({
    runId,
    environment,
    timeScale,
    clock: systemClock,
    ports,
    signal,
    random: () => 0,
    expiryMs,
  });
  return { lab, context };
};

const bucketIn = (region: string): string => `documents-${region}`;

/** Everything that a fault may change: versions, markers, replication, and what FIS keeps. */
const stateOf = async ({ ports, signal }: FaultContext): Promise<unknown> =>
  await Promise.all(
    regions.map(async (region) => ({
      versions: await ports.s3(region).versions(bucketIn(region), '', signal),
      rules: await ports.s3(region).replicationRules(bucketIn(region), signal),
      templates: (await ports.fis(region).listTemplates('blackstart:run', 'run-1', signal)).length,
    })),
  );

const contract = (fault: Fault, params: Readonly<Record<string, unknown>>, discoverable: boolean): void =>
  faultContract(`${fault.name} ${JSON.stringify(params)}`, async () => {
    const { lab, context } = await start();
    return {
      fault,
      params,
      context: (signal) => context(signal),
      state: () => stateOf(context(AbortSignal.timeout(10_000))),
      discoverable,
      stop: () => lab.stop(),
    };
  });

contract(objectDelete, { key: handbook }, false);
contract(objectDelete, { region: 'failover', prefix: 'handbook/' }, false);
contract(replicationPause, { store: 'objects' }, true);
contract(replicationPause, { store: 'objects', from: west, to: 'eu-central-1' }, true);

describe('faults on objects', () => {
  let parts: Parts;
  beforeAll(async () => {
    parts = await start();
  });
  afterAll(async () => {
    await parts?.lab.stop();
  });
  const contextOf = (runId: string, expiryMs?: number): FaultContext =>
    parts.context(AbortSignal.timeout(60_000), runId, expiryMs);

  /** As a client of the platform: signed, and over a link of its own. */
  const send = (method: string, key: string, region = west, body?: string): Promise<Response> => {
    const port = forwardPort(parts.lab.layout, 'client/us-west', `objects/${region}`);
    const headers = { authorization: 'AWS4-HMAC-SHA256 Credential=test' };
    const more = body === undefined ? {} : { body };
    return fetch(`http://127.0.0.1:${port}/${bucketIn(region)}/${key}`, { method, headers, ...more });
  };
  const statusOf = async (key: string, region = west): Promise<number> => (await send('HEAD', key, region)).status;
  const planOne = async (fault: Fault, params: unknown, context: FaultContext): Promise<Planned<unknown>> => {
    const [planned] = await fault.plan(params, context);
    if (planned === undefined) throw new Error('no plan');
    return planned;
  };
  const until = (look: () => Promise<boolean>): Promise<true> =>
    poll(systemClock, 20, AbortSignal.timeout(20_000), async () => ((await look()) ? true : undefined));

  it('hide a document from its readers, not from those of another region, until it is undone', async () => {
    const context = contextOf('delete');
    const planned = await planOne(objectDelete, { key: handbook }, context);
    expect(await statusOf(handbook)).toBe(200);
    await objectDelete.inject(planned, { key: handbook }, context);
    expect([await statusOf(handbook), await statusOf(handbook, 'us-east-1')]).toEqual([404, 200]);
    expect(await objectDelete.bites(planned, context)).toContain('delete marker');
    await objectDelete.revert(planned.undo, context);
    expect(await statusOf(handbook)).toBe(200);
  });

  it('leave alone what somebody put meanwhile, and say so', async () => {
    const context = contextOf('conflict');
    await send('PUT', 'notes/one', west, 'before');
    const planned = await planOne(objectDelete, { key: 'notes/one' }, context);
    await objectDelete.inject(planned, { key: 'notes/one' }, context);
    await send('PUT', 'notes/one', west, 'by somebody');
    await objectDelete.revert(planned.undo, context);
    expect(await (await send('GET', 'notes/one')).text()).toBe('by somebody');
    expect((await objectDelete.isReverted(planned.undo, context)).state).toBe('conflict');
    await expect(objectDelete.inject(planned, { key: 'notes/one' }, context)).rejects.toThrow('changed since');
  });

  it('are refused where they could not be undone', async () => {
    const context = contextOf('refused');
    const plain = structuredClone(environment);
    const [primary] = plain.regions;
    if (primary?.objects !== undefined) primary.objects.bucket = 'plain';
    const port = forwardPort(parts.lab.layout, 'operator', `objects/${west}`);
    const headers = { authorization: 'AWS4-HMAC-SHA256 Credential=test' };
    await fetch(`http://127.0.0.1:${port}/plain`, { method: 'PUT', headers });
    const there = { ...context, environment: plain };
    await expect(objectDelete.plan({ key: handbook }, there)).rejects.toThrow(
      /versioning of bucket plain.*never-enabled/,
    );
    await expect(objectDelete.plan({ key: 'none' }, context)).rejects.toThrow(
      `bucket ${bucket} in ${west} holds no none`,
    );
    await expect(async () => objectDelete.plan({}, context)).rejects.toThrow(/a key or a prefix/);
    const refused = (params: unknown, where = context): Promise<unknown> =>
      replicationPause.plan({ store: 'objects', ...Object(params) }, where);
    await expect(refused({}, there)).rejects.toThrow(/plain is not tagged/);
    await expect(refused({ from: 'us-east-1', to: west })).rejects.toThrow(/is not replicated to/);
    await expect(refused({ to: west })).rejects.toThrow(/not replicated to itself/);
  });

  it('hold what is put for one region until they are undone, or their time is up', async () => {
    const pause = async (runId: string, expiryMs?: number): Promise<Planned<unknown>> => {
      const params = { store: 'objects', to: 'failover' };
      const planned = await planOne(replicationPause, params, contextOf(runId, expiryMs));
      await replicationPause.prepare?.(planned, params, contextOf(runId, expiryMs));
      await replicationPause.inject(planned, params, contextOf(runId, expiryMs));
      return planned;
    };
    const isCopied = (key: string, region: string) => async () => (await statusOf(key, region)) === 200;
    const undone = await pause('pause');
    await send('PUT', 'paused/one', west, 'x');
    await until(isCopied('paused/one', 'eu-central-1'));
    await systemClock.sleep(1000);
    expect(await statusOf('paused/one', 'us-east-1')).toBe(404);
    await replicationPause.revert(undone.undo, contextOf('pause'));
    await until(isCopied('paused/one', 'us-east-1'));
    expect(await replicationPause.isReverted(undone.undo, contextOf('pause'))).toEqual({ state: 'reverted' });

    const expired = await pause('expires', 2 * 60_000);
    expect(await replicationPause.bites(expired, contextOf('expires'))).toContain('pauses the replication');
    await send('PUT', 'paused/two', west, 'x');
    await until(isCopied('paused/two', 'us-east-1'));
    await until(
      async () => (await replicationPause.isReverted(expired.undo, contextOf('expires'))).state === 'reverted',
    );
    await replicationPause.revert(expired.undo, contextOf('expires'));
  });
});
