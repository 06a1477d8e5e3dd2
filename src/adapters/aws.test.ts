import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { CloudWatchClient, SetAlarmStateCommand } from '@aws-sdk/client-cloudwatch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { labEnvironment } from '../lab/testing.ts';
import { type AwsStandIn, startAws } from '../testing/aws.ts';
import { createAwsPorts } from './aws-client.ts';
import type { FisPort, FisStatus, FisTemplate, Ports } from './ports.ts';

type AwsPorts = Pick<Ports, 'fis' | 'ec2' | 'rds' | 'route53'>;

const environment = labEnvironment();
const signal = AbortSignal.timeout(60_000);
const west = 'us-west-2';
const role = environment.aws.experimentRole;

let aws: AwsStandIn;
let ports: AwsPorts;

beforeAll(async () => {
  aws = await startAws(environment, 600);
  ports = createAwsPorts({ endpoint: aws.endpoint, credentialsFile: aws.credentialsFile, clock: systemClock });
});
afterAll(() => aws.stop());

const templateFor = (arn: string, duration: string): FisTemplate => ({
  description: 'test',
  roleArn: role,
  tags: { 'blackstart:run': 'run-1' },
  stopConditions: [{ source: 'aws:cloudwatch:alarm', value: environment.aws.stopAlarm.replaceAll('{region}', west) }],
  targets: { zone: { resourceType: 'aws:ec2:subnet', resourceArns: [arn], selectionMode: 'ALL' } },
  actions: {
    disrupt: {
      actionId: 'aws:network:disrupt-connectivity',
      parameters: { scope: 'all', duration },
      targets: { Subnets: 'zone' },
    },
  },
});

const until = async (fis: FisPort, id: string, wanted: FisStatus): Promise<void> => {
  for (;;) {
    const now = await fis.get(id, signal);
    if (now?.status === wanted && (wanted !== 'running' || now.actions['disrupt']?.status === 'running')) return;
    await systemClock.sleep(10, signal);
  }
};

describe('FIS through the official client', () => {
  it('previews without touching anything, runs, stops, and cleans up', async () => {
    const fis = ports.fis(west);
    const ec2 = ports.ec2(west);
    const [subnet] = await ec2.subnets({ zones: ['us-west-2a'] }, signal);
    const subnetIds = [subnet?.id ?? ''];
    const before = await ec2.subnetAcls(subnetIds, signal);
    const id = await fis.createTemplate(templateFor(subnet?.arn ?? '', 'PT12H'), 'token-1', signal);
    expect(await fis.createTemplate(templateFor(subnet?.arn ?? '', 'PT12H'), 'token-1', signal)).toBe(id);
    expect(await fis.listTemplates('blackstart:run', 'run-1', signal)).toEqual([
      { id, tags: { 'blackstart:run': 'run-1' } },
    ]);

    const preview = await fis.preview(id, 'token-1-preview', signal);
    expect(preview).toMatchObject({ status: 'completed', actionsMode: 'skip-all' });
    expect(preview.actions['disrupt']?.status).toBe('skipped');
    expect(await fis.resolvedTargets(preview.id, signal)).toEqual([{ type: 'aws:ec2:subnet', arn: subnet?.arn }]);
    expect(await ec2.subnetAcls(subnetIds, signal)).toEqual(before);
    expect(aws.rules.size).toBe(0);

    const started = await fis.start(id, 'token-1-start', { 'blackstart:run': 'run-1' }, signal);
    await until(fis, started.id, 'running');
    const [during] = await ec2.subnetAcls(subnetIds, signal);
    expect(during?.tags).toEqual({ managedByFIS: 'true' });
    expect([...aws.rules]).toEqual([
      ['aws-zone-us-west-2a', { match: { isolate: ['zone/us-west-2a'] }, effect: { kind: 'blackhole' }, owner: 'aws' }],
    ]);
    const mine = await fis.listExperiments('blackstart:run', 'run-1', signal);
    expect(mine.map((experiment) => experiment.id)).toEqual([started.id]);

    await fis.stop(started.id, signal);
    await until(fis, started.id, 'stopped');
    await fis.stop(started.id, signal);
    await fis.stop('EXPnone', signal);
    const after = await ec2.subnetAcls(subnetIds, signal);
    expect(after[0]?.networkAclId).toBe(before[0]?.networkAclId);
    expect(aws.rules.size).toBe(0);
    await fis.deleteTemplate(id, signal);
    await fis.deleteTemplate(id, signal);
    expect(await fis.listTemplates('blackstart:run', 'run-1', signal)).toEqual([]);
  });

  it('is stopped by the alarm of its stop condition', async () => {
    const fis = ports.fis(west);
    const [subnet] = await ports.ec2(west).subnets({ zones: ['us-west-2b'] }, signal);
    const id = await fis.createTemplate(templateFor(subnet?.arn ?? '', 'PT12H'), 'token-2', signal);
    const started = await fis.start(id, 'token-2-start', {}, signal);
    await until(fis, started.id, 'running');
    const cloudwatch = new CloudWatchClient({
      region: west,
      endpoint: aws.endpoint,
      credentials: { accessKeyId: aws.layout.awsAccessKeyId, secretAccessKey: aws.layout.token },
    });
    const set = (state: 'ALARM' | 'OK') =>
      cloudwatch.send(
        new SetAlarmStateCommand({ AlarmName: 'blackstart-stop', StateValue: state, StateReason: 'test' }),
      );
    await set('ALARM');
    await until(fis, started.id, 'stopped');
    expect(aws.rules.size).toBe(0);
    await set('OK');
    await fis.deleteTemplate(id, signal);
  });

  it('says what AWS refused', async () => {
    const bad = { ...templateFor('arn:aws:ec2:us-west-2:123456789012:subnet/x', 'PT30S') };
    await expect(ports.fis(west).createTemplate(bad, 'token-3', signal)).rejects.toThrow(
      /^AWS FIS CreateExperimentTemplate in us-west-2: ValidationException: .*duration/,
    );
  });

  it('knows the safety lever, and nothing of an experiment that is not there', async () => {
    expect(await ports.fis(west).safetyLever(signal)).toBe('disengaged');
    expect(await ports.fis(west).get('EXPnone', signal)).toBeUndefined();
  });
});

/** A server that answers every request with the next of these; the last one again and again. */
const scripted = async (answers: readonly { status: number; body: unknown; errorType?: string }[]) => {
  const requests: { method: string; path: string; body: string }[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '' } = request;
      const answer = answers[Math.min(requests.length, answers.length - 1)];
      requests.push({ method, path: url, body: Buffer.concat(chunks).toString('utf8') });
      const type = answer?.errorType === undefined ? {} : { 'x-amzn-errortype': answer.errorType };
      response.writeHead(answer?.status ?? 500, { 'content-type': 'application/json', ...type });
      response.end(JSON.stringify(answer?.body ?? {}));
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const fis = createAwsPorts({
    endpoint: `http://127.0.0.1:${port}`,
    credentialsFile: aws.credentialsFile,
    clock: systemClock,
  }).fis(west);
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { fis, requests, stop };
};

const experiment = (status: string, actionsMode: string | undefined) => ({
  experiment: { id: 'EXP1', experimentTemplateId: 'EXT1', state: { status }, experimentOptions: { actionsMode } },
});

describe('a FIS that does not do as it is told', () => {
  it('has its preview stopped at once when the answer does not say skip-all', async () => {
    for (const mode of ['run-all', undefined]) {
      const { fis, requests, stop } = await scripted([{ status: 200, body: experiment('initiating', mode) }]);
      await expect(fis.preview('EXT1', 'token', signal)).rejects.toThrow(/in mode (run-all|\(none\))/);
      expect(requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
        'POST /experiments',
        'DELETE /experiments/EXP1',
      ]);
      expect(JSON.parse(requests[0]?.body ?? '{}')).toEqual({
        clientToken: 'token',
        experimentTemplateId: 'EXT1',
        experimentOptions: { actionsMode: 'skip-all' },
        tags: {},
      });
      stop();
    }
  });

  it('is asked again with the same token when it fails inside', async () => {
    const { fis, requests, stop } = await scripted([
      { status: 503, body: { message: 'later' } },
      { status: 200, body: experiment('initiating', 'run-all') },
    ]);
    await fis.start('EXT1', 'same-token', {}, signal);
    expect(requests.map(({ body }) => JSON.parse(body).clientToken)).toEqual(['same-token', 'same-token']);
    stop();
  });

  it('is given up when the signal says so', async () => {
    const { fis, stop } = await scripted([{ status: 503, body: {} }]);
    const reason = new Error('time is up');
    await expect(fis.get('EXP1', AbortSignal.abort(reason))).rejects.toBe(reason);
    stop();
  });
});

describe('EC2, RDS and Route 53 through the official clients', () => {
  it('finds the main route table of a subnet without one of its own', async () => {
    const ec2 = ports.ec2('us-east-1');
    const subnets = await ec2.subnets({ zones: ['us-east-1a', 'us-east-1b'] }, signal);
    expect(subnets.map(({ zone }) => zone)).toEqual(['us-east-1a', 'us-east-1b']);
    expect(subnets[0]?.tags['blackstart:environment']).toBe('lab');
    const tables = await ec2.subnetRouteTables(
      subnets.map(({ id }) => id),
      signal,
    );
    expect(new Set(tables.map(({ routeTableId }) => routeTableId)).size).toBe(2);
  });

  it('follows a failover, a promotion and a new replica', async () => {
    const primary = 'conversations-us-west-2';
    const replica = 'conversations-us-east-1';
    expect(await ports.rds(west).describe(primary, signal)).toMatchObject({
      status: 'available',
      zone: 'us-west-2a',
      secondaryZone: 'us-west-2b',
      multiZone: true,
      source: null,
      replicas: [replica, 'conversations-eu-central-1'],
    });
    await ports.rds(west).failover(primary, signal);
    expect(await ports.rds(west).describe(primary, signal)).toMatchObject({ zone: 'us-west-2b' });
    await expect(ports.rds('us-east-1').failover(replica, signal)).rejects.toThrow(/not configured for Multi-AZ/);
    expect(await ports.rds('us-east-1').describe(replica, signal)).toMatchObject({ source: primary });
    await ports.rds('us-east-1').promote(replica, signal);
    expect(await ports.rds('us-east-1').describe(replica, signal)).toMatchObject({ source: null });
    await ports.rds('us-east-1').createReplica(replica, primary, signal);
    expect(await ports.rds('us-east-1').describe(replica, signal)).toMatchObject({ source: primary });
    await expect(ports.rds('us-east-1').createReplica(replica, primary, signal)).rejects.toThrow(/exists/);
    expect(await ports.rds(west).describe(replica, signal)).toBeUndefined();
  });

  it('starts an instance that was stopped, and no other', async () => {
    const primary = 'conversations-us-west-2';
    await expect(ports.rds(west).start(primary, signal)).rejects.toThrow(/InvalidDBInstanceState/);
    const stopped = aws.instances.get(primary);
    if (stopped !== undefined) stopped.status = 'stopped';
    await ports.rds(west).start(primary, signal);
    expect(await ports.rds(west).describe(primary, signal)).toMatchObject({ status: 'available' });
  });

  it('reads health, moves the database name and shifts weights', async () => {
    const route53 = ports.route53();
    const { hostedZoneId: zone, databaseHost: name, host } = environment.service;
    aws.healthy.set(west, false);
    const health = await route53.healthChecks(signal);
    expect(health.map(({ region, healthy }) => [region, healthy])).toEqual([
      [west, false],
      ['us-east-1', true],
      ['eu-central-1', true],
    ]);
    expect(health[0]).toMatchObject({
      configured: 'every 10 s, 3 failures',
      reports: [{ checker: 'us-east-1 127.0.0.1', healthy: false, checkedAtMs: 1_500_000_000_250 }],
    });
    const before = await route53.getRecord(zone, name, signal);
    expect(before).toEqual({ name, type: 'CNAME', value: 'conversations-us-west-2.rds.platform.lab', ttlSeconds: 2 });
    const value = 'conversations-us-east-1.rds.platform.lab';
    await route53.putRecord(zone, { name, type: 'CNAME', value, ttlSeconds: 2 }, signal);
    expect(aws.records.get(name)?.value).toBe(value);
    expect((await route53.getRecord(zone, name, signal))?.value).toBe(value);
    expect(await route53.getRecord(zone, 'nothing.platform.lab', signal)).toBeUndefined();
    expect(await route53.getWeight(zone, host, west, signal)).toBe(100);
    await route53.putWeight(zone, host, west, 25, signal);
    expect(aws.weights.get(west)).toBe(25);
    expect(await route53.getWeight(zone, host, west, signal)).toBe(25);
    await expect(route53.putWeight(zone, host, west, 200, signal)).rejects.toThrow(/InvalidChangeBatch/);
  });

  it('says when nobody is there, or the keys are wrong', async () => {
    const nobody = createAwsPorts({
      endpoint: 'http://127.0.0.1:9',
      credentialsFile: aws.credentialsFile,
      clock: systemClock,
    });
    await expect(nobody.ec2(west).subnets({ zones: ['x'] }, signal)).rejects.toMatchObject({ code: 'UNREACHABLE' });
    const missing = createAwsPorts({ endpoint: aws.endpoint, credentialsFile: '/nowhere', clock: systemClock });
    await expect(missing.rds(west).describe('x', signal)).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
});
