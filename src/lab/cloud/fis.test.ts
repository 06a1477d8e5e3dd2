import { beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { labEnvironment } from '../testing.ts';
import { AwsError } from './aws-error.ts';
import { createFis, type Fis } from './fis.ts';
import type { ReplicationPause } from './fis-actions.ts';
import { subnetResources } from './fis-targets.ts';
import { createWorld, isDark, type World } from './world.ts';

const environment = labEnvironment();
const region = 'us-west-2';
const alarm = environment.aws.stopAlarm.replaceAll('{region}', region);
const arn = (zone: string): string =>
  world.regions.get(region)?.subnets.find((subnet) => subnet.zone === zone)?.arn ?? '';

let world: World;
let fis: Fis;
let states: string[];
let failApply: boolean;
let paused: ReplicationPause[];
const bucket = {
  arn: 'arn:aws:s3:::documents-us-west-2',
  tags: { 'blackstart:environment': 'lab' },
  attributes: {},
  parameters: {},
};

beforeEach(() => {
  paused = [];
  failApply = false;
  world = createWorld(environment, 0, async () => {
    if (failApply) throw new Error('the links do not answer');
  });
  states = [];
  fis = createFis({
    world,
    clock: systemClock,
    experimentRole: environment.aws.experimentRole,
    real: (documentedMs) => documentedMs / 1000,
    resources: async (one, type) => {
      if (type === 'aws:s3:bucket') return [bucket];
      return type === 'aws:ec2:subnet' ? subnetResources(one) : [];
    },
    rebootDatabase: async () => undefined,
    sendCommand: async () => ({ isDone: true, cancel: async () => undefined }),
    async pauseReplication(_region, request) {
      if (request.region === 'none') throw new Error('it has no rule to there');
      paused.push(request);
      return async () => void paused.splice(paused.indexOf(request), 1);
    },
    onState: (experiment) => states.push(experiment.state.status),
  });
});

type Json = Record<string, unknown>;

const call = async (method: string, target: string, body?: unknown): Promise<Json> => {
  const [path = '', query = ''] = target.split('?');
  const answer = await fis.answer({
    method,
    target,
    path,
    query: new URLSearchParams(query),
    headers: {},
    body: Buffer.from(body === undefined ? '' : JSON.stringify(body)),
    region,
    requestId: 'request',
  });
  return JSON.parse(String(answer.body));
};

const template = (change: Json = {}): Json => ({
  clientToken: 'token',
  description: 'test',
  roleArn: environment.aws.experimentRole,
  stopConditions: [{ source: 'aws:cloudwatch:alarm', value: alarm }],
  targets: { zone: { resourceType: 'aws:ec2:subnet', resourceArns: [arn('us-west-2a')], selectionMode: 'ALL' } },
  actions: { cut: cut() },
  ...change,
});

const cut = (change: Json = {}): Json => ({
  actionId: 'aws:network:disrupt-connectivity',
  parameters: { duration: 'PT12H', scope: 'all' },
  targets: { Subnets: 'zone' },
  ...change,
});

const wait = (duration: string, startAfter?: string[]): Json => ({
  actionId: 'aws:fis:wait',
  parameters: { duration },
  ...(startAfter === undefined ? {} : { startAfter }),
});

const target = (change: Json): Json => ({
  targets: { zone: { resourceType: 'aws:ec2:subnet', selectionMode: 'ALL', ...change } },
});
const byTag = { resourceTags: { 'blackstart:environment': 'lab' } };

const create = async (change: Json = {}): Promise<string> => {
  const made = await call('POST', '/experimentTemplates', template(change));
  return (made as { experimentTemplate: { id: string } }).experimentTemplate.id;
};

interface ExperimentJson {
  readonly id: string;
  readonly state: { readonly status: string; readonly reason: string; readonly error?: { readonly code: string } };
  readonly actions: Record<string, { readonly state: { readonly status: string; readonly reason: string } }>;
  readonly experimentOptions: { readonly actionsMode: string };
}

const experimentOf = (answer: Json): ExperimentJson => (answer as { experiment: ExperimentJson }).experiment;
const start = async (id: string, more: Json = {}): Promise<ExperimentJson> =>
  experimentOf(await call('POST', '/experiments', { clientToken: `start ${id}`, experimentTemplateId: id, ...more }));

const until = async (id: string, ...wanted: string[]): Promise<ExperimentJson> => {
  for (let look = 0; look < 500; look += 1) {
    const now = experimentOf(await call('GET', `/experiments/${id}`));
    const running = Object.values(now.actions).every(({ state }) => state.status !== 'initiating');
    if (wanted.includes(now.state.status) && running) return now;
    await systemClock.sleep(5);
  }
  throw new Error(`not ${wanted}`);
};

const isCut = (zone: string): boolean => {
  const one = world.regions.get(region);
  const subnet = one?.subnets.find((candidate) => candidate.zone === zone);
  return one !== undefined && subnet !== undefined && isDark(one, subnet.id);
};

const many = (count: number, make: (index: number) => Json): Json =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, make(index)]));

describe('CreateExperimentTemplate is as strict as FIS', () => {
  const validation = 'ValidationException';
  const quota = 'ServiceQuotaExceededException';
  const bad: readonly (readonly [string, () => Json, string, RegExp])[] = [
    ['no description', () => ({ description: undefined }), validation, /'description'.*must not be null/],
    ['an empty description', () => ({ description: '' }), validation, /'description'.*greater than or equal to 1/],
    ['a long description', () => ({ description: 'x'.repeat(513) }), validation, /less than or equal to 512/],
    ['no client token', () => ({ clientToken: undefined }), validation, /'clientToken'/],
    ['no actions', () => ({ actions: {} }), validation, /At least one action/],
    ['no stop conditions', () => ({ stopConditions: [] }), validation, /stop condition/],
    ['a short role', () => ({ roleArn: 'r' }), validation, /'roleArn'/],
    ['an unknown member', () => ({ descriptions: 'x' }), validation, /Unknown member descriptions/],
    ['an unknown member below', () => ({ actions: { cut: cut({ target: 'x' }) } }), validation, /actions.cut.*target/],
    ['a number for a text', () => ({ description: 1 }), validation, /must be a string/],
    ['an unknown mode', () => ({ experimentOptions: { emptyTargetResolutionMode: 'x' } }), validation, /enum/],
    [
      'an unknown action',
      () => ({ actions: { cut: cut({ actionId: 'aws:x:y' }) } }),
      'ResourceNotFoundException',
      /Action with ID aws:x:y not found/,
    ],
    [
      'a wrong slot',
      () => ({ actions: { cut: cut({ targets: { Clusters: 'zone' } }) } }),
      validation,
      /Unexpected target "Clusters"/,
    ],
    [
      'a missing slot',
      () => ({ actions: { cut: cut({ targets: {} }) } }),
      validation,
      /missing the required target "Subnets"/,
    ],
    [
      'an undefined target',
      () => ({ actions: { cut: cut({ targets: { Subnets: 'x' } }) } }),
      validation,
      /not defined/,
    ],
    [
      'a target of another type',
      () => target({ resourceType: 'aws:rds:db', ...byTag }),
      validation,
      /must be of type aws:ec2:subnet/,
    ],
    [
      'ARNs and tags',
      () => target({ resourceArns: [arn('us-west-2a')], ...byTag }),
      validation,
      /both resource ARNs and resource tags/,
    ],
    [
      'six ARNs',
      () => target({ resourceArns: Array(6).fill(arn('us-west-2a')) }),
      validation,
      /less than or equal to 5/,
    ],
    ['no way to choose', () => target({}), validation, /must specify/],
    ['a bad selection mode', () => target({ ...byTag, selectionMode: 'COUNT(0)' }), validation, /selection mode/],
    [
      'PT30S',
      () => ({ actions: { cut: cut({ parameters: { scope: 'all', duration: 'PT30S' } }) } }),
      validation,
      /"duration": PT30S/,
    ],
    [
      'P1D',
      () => ({ actions: { cut: cut({ parameters: { scope: 'all', duration: 'P1D' } }) } }),
      validation,
      /"duration": P1D/,
    ],
    [
      'a bad scope',
      () => ({ actions: { cut: cut({ parameters: { scope: 'x', duration: 'PT1M' } }) } }),
      validation,
      /"scope": x/,
    ],
    [
      'no duration',
      () => ({ actions: { cut: cut({ parameters: { scope: 'all' } }) } }),
      validation,
      /required parameter "duration"/,
    ],
    [
      'an unknown parameter',
      () => ({ actions: { cut: cut({ parameters: { scope: 'all', duration: 'PT1M', x: '1' } }) } }),
      validation,
      /Unexpected parameter "x"/,
    ],
    [
      'a prefix list without its scope',
      () => ({
        actions: { cut: cut({ parameters: { scope: 'all', duration: 'PT1M', prefixListIdentifier: 'pl-1' } }) },
      }),
      validation,
      /prefixListIdentifier/,
    ],
    ['an unknown predecessor', () => ({ actions: { cut: cut({ startAfter: ['x'] }) } }), validation, /starts after x/],
    [
      'a circle',
      () => ({ actions: { a: wait('PT1M', ['b']), b: wait('PT1M', ['a']) } }),
      validation,
      /wait for each other/,
    ],
    [
      'an alarm without its ARN',
      () => ({ stopConditions: [{ source: 'aws:cloudwatch:alarm' }] }),
      validation,
      /stop condition/,
    ],
    [
      '21 actions',
      () => ({ actions: many(21, (index) => wait('PT1M', index === 0 ? undefined : [`a${index - 1}`])) }),
      quota,
      /20/,
    ],
    ['11 at once', () => ({ actions: many(11, () => wait('PT1M')) }), quota, /10/],
    ['6 stop conditions', () => ({ stopConditions: Array(6).fill({ source: 'none' }) }), quota, /5/],
  ];
  it.each(bad)('and refuses %s', async (_what, change, code, message) => {
    const refused = await create(change()).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(AwsError);
    expect(refused).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('and replays the same token, but not for another body', async () => {
    const id = await create();
    expect(await create()).toBe(id);
    await expect(create({ description: 'other' })).rejects.toMatchObject({ code: 'ConflictException', status: 409 });
    await call('DELETE', `/experimentTemplates/${id}`);
    await expect(call('GET', `/experimentTemplates/${id}`)).rejects.toMatchObject({ status: 404 });
  });
});

describe('an experiment', () => {
  it('moves through its states and puts back what it changed', async () => {
    const id = await create({ actions: { cut: cut({ parameters: { scope: 'all', duration: 'PT2M' } }) } });
    const { id: experiment } = await start(id);
    await until(experiment, 'running');
    expect(isCut('us-west-2a')).toBe(true);
    expect(isCut('us-west-2b')).toBe(false);
    const end = await until(experiment, 'completed');
    expect(end.actions['cut']?.state.status).toBe('completed');
    expect(isCut('us-west-2a')).toBe(false);
    expect(world.regions.get(region)?.acls.size).toBe(1);
    expect(states).toEqual(['pending', 'initiating', 'running', 'completed']);
  });

  it('stops when asked, and what had not begun is cancelled', async () => {
    const id = await create({ actions: { cut: cut(), later: wait('PT1M', ['cut']) } });
    const { id: experiment } = await start(id);
    await until(experiment, 'running');
    expect(experimentOf(await call('DELETE', `/experiments/${experiment}`)).state.status).toBe('stopping');
    const end = await until(experiment, 'stopped');
    expect([end.actions['cut']?.state.status, end.actions['later']?.state.status]).toEqual(['stopped', 'cancelled']);
    expect(isCut('us-west-2a')).toBe(false);
  });

  it('is stopped by its alarm, and by an alarm that was there before', async () => {
    const id = await create();
    const { id: first } = await start(id);
    await until(first, 'running');
    fis.alarmFired(region, alarm);
    await until(first, 'stopped');
    const watched = world.regions.get(region)?.alarms.get('blackstart-stop');
    if (watched !== undefined) watched.state = 'ALARM';
    const { id: second } = await start(id, { clientToken: 'again' });
    const end = await until(second, 'stopped');
    expect(end.actions['cut']?.state.status).toBe('cancelled');
    expect(isCut('us-west-2a')).toBe(false);
  });

  it('is stopped by the safety lever, which then cancels new ones', async () => {
    const id = await create();
    const { id: first } = await start(id);
    await until(first, 'running');
    const engage = { state: { status: 'engaged', reason: 'test' } };
    await call('PATCH', '/safetyLevers/default/state', engage);
    await expect(call('PATCH', '/safetyLevers/default/state', engage)).rejects.toMatchObject({ status: 409 });
    await until(first, 'stopped');
    expect(isCut('us-west-2a')).toBe(false);
    const { id: second } = await start(id, { clientToken: 'again' });
    await until(second, 'cancelled');
    await systemClock.sleep(30);
    const lever = await call('GET', '/safetyLevers/default');
    expect(lever).toMatchObject({ safetyLever: { state: { status: 'engaged' } } });
    await call('PATCH', '/safetyLevers/default/state', { state: { status: 'disengaged', reason: 'test' } });
    const { id: third } = await start(id, { clientToken: 'third' });
    await until(third, 'running');
  });

  it('touches nothing in mode skip-all', async () => {
    const started = await start(await create(), { experimentOptions: { actionsMode: 'skip-all' } });
    expect(started.experimentOptions.actionsMode).toBe('skip-all');
    const end = await until(started.id, 'completed');
    expect(end.actions['cut']?.state.status).toBe('skipped');
    expect(isCut('us-west-2a')).toBe(false);
    const resolved = await call('GET', `/experiments/${started.id}/resolvedTargets`);
    expect(resolved).toMatchObject({ resolvedTargets: [{ targetInformation: { arn: arn('us-west-2a') } }] });
  });

  it('fails on empty targets or an ARN that does not exist, and skips empty ones when told to', async () => {
    const nothing = { resourceTags: { no: 'such' } };
    const { id: first } = await start(await create(target(nothing)));
    expect((await until(first, 'failed')).state.error?.code).toBe('InvalidTarget');
    const skip = { ...target(nothing), experimentOptions: { emptyTargetResolutionMode: 'skip' }, clientToken: 'b' };
    const { id: second } = await start(await create(skip));
    expect((await until(second, 'completed')).actions['cut']?.state.status).toBe('skipped');
    const missing = { ...target({ resourceArns: [`${arn('us-west-2a')}x`] }), clientToken: 'c' };
    const { id: third } = await start(await create(missing));
    expect((await until(third, 'failed')).state.error?.code).toBe('InvalidTarget');
  });

  it('chooses by tags, filters and parameters', async () => {
    const filters = [{ path: 'AvailabilityZone', values: ['us-west-2b'] }];
    const { id: first } = await start(await create(target({ ...byTag, filters })));
    await until(first, 'running');
    expect([isCut('us-west-2a'), isCut('us-west-2b')]).toEqual([false, true]);
    await call('DELETE', `/experiments/${first}`);
    await until(first, 'stopped');
    const parameters = { availabilityZoneIdentifier: 'usw2-az1' };
    const { id: second } = await start(await create({ ...target({ ...byTag, parameters }), clientToken: 'b' }));
    await until(second, 'running');
    expect([isCut('us-west-2a'), isCut('us-west-2b')]).toEqual([true, false]);
  });

  it('fails, and overwrites nothing, when somebody else changed the subnet meanwhile', async () => {
    const { id } = await start(
      await create({ actions: { cut: cut({ parameters: { scope: 'all', duration: 'PT3M' } }) } }),
    );
    await until(id, 'running');
    const one = world.regions.get(region);
    const association = [...(one?.aclAssociations.values() ?? [])].find(({ aclId }) => {
      return one?.acls.get(aclId)?.tags['managedByFIS'] === 'true';
    });
    const theirs = { id: 'acl-theirs', vpcId: one?.vpcId ?? '', isDefault: false, entries: [], tags: {} };
    one?.acls.set(theirs.id, theirs);
    if (association !== undefined) one?.aclAssociations.set(association.id, { ...association, aclId: theirs.id });
    const end = await until(id, 'failed');
    expect(end.actions['cut']?.state.reason).toMatch(/was changed during the experiment/);
    expect([...(one?.aclAssociations.values() ?? [])].map(({ aclId }) => aclId)).toContain('acl-theirs');
  });

  it('fails and leaves nothing when the links do not follow', async () => {
    const id = await create();
    failApply = true;
    const { id: experiment } = await start(id);
    const end = await until(experiment, 'failed');
    expect(end.actions['cut']?.state.reason).toMatch(/links do not answer/);
    expect(isCut('us-west-2a')).toBe(false);
  });

  it('does not take a subnet that another one has', async () => {
    const id = await create();
    const { id: first } = await start(id);
    await until(first, 'running');
    const { id: second } = await start(id, { clientToken: 'again' });
    expect((await until(second, 'failed')).actions['cut']?.state.reason).toMatch(/managed by another experiment/);
    expect(isCut('us-west-2a')).toBe(true);
  });

  it('is one of five at most', async () => {
    const id = await create({ targets: {}, actions: { wait: wait('PT12H') } });
    for (let index = 0; index < 5; index += 1) await start(id, { clientToken: `token ${index}` });
    await expect(start(id, { clientToken: 'sixth' })).rejects.toMatchObject({ status: 402 });
    expect(await start(id, { clientToken: 'token 0' })).toMatchObject({ id: expect.stringMatching(/^EXP/) });
  });

  it('cuts several regions with one managed route table, and gives the old one back after the last', async () => {
    const to = (other: string): Json => ({
      actionId: 'aws:network:route-table-disrupt-cross-region-connectivity',
      parameters: { region: other, duration: other === 'us-east-1' ? 'PT1M' : 'PT3M' },
      targets: { Subnets: 'zone' },
    });
    const one = world.regions.get(region);
    const before = [...(one?.routeAssociations.values() ?? [])].map(({ routeTableId }) => routeTableId).sort();
    const id = await create({ actions: { east: to('us-east-1'), europe: to('eu-central-1') } });
    const { id: experiment } = await start(id);
    await until(experiment, 'running');
    const managed = [...(one?.routeTables.values() ?? [])].filter(({ tags }) => tags['managedByFIS'] === 'true');
    expect(managed).toHaveLength(1);
    const blackholes = managed[0]?.routes.filter(({ state }) => state === 'blackhole') ?? [];
    expect(blackholes).toHaveLength(2);
    await until(experiment, 'completed');
    const after = [...(one?.routeAssociations.values() ?? [])].map(({ routeTableId }) => routeTableId).sort();
    expect(after).toEqual(before);
    expect(one?.routeTables.size).toBe(3);
  });
});

describe('tags and lists', () => {
  it('are changed and read by ARN', async () => {
    const id = await create({ tags: { a: '1' } });
    const tagged = encodeURIComponent(`arn:aws:fis:${region}:${environment.aws.account}:experiment-template/${id}`);
    await call('POST', `/tags/${tagged}`, { tags: { b: '2', c: '3' } });
    await call('DELETE', `/tags/${tagged}?tagKeys=a&tagKeys=b`);
    expect(await call('GET', `/tags/${tagged}`)).toEqual({ tags: { c: '3' } });
  });

  it('are paged', async () => {
    for (const clientToken of ['a', 'b', 'c']) await create({ clientToken });
    const first = await call('GET', '/experimentTemplates?maxResults=2');
    expect(first['experimentTemplates']).toHaveLength(2);
    const second = await call('GET', `/experimentTemplates?maxResults=2&nextToken=${first['nextToken']}`);
    expect(second['experimentTemplates']).toHaveLength(1);
    expect(second['nextToken']).toBeUndefined();
    await expect(call('GET', '/experimentTemplates?maxResults=101')).rejects.toThrow(/maxResults/);
  });
});

describe('a pause of replication', () => {
  const buckets = { resourceType: 'aws:s3:bucket', selectionMode: 'ALL', ...byTag };
  const pause = (parameters: Json = {}): Json => ({
    actionId: 'aws:s3:bucket-pause-replication',
    parameters: { duration: 'PT12H', region: 'us-east-1', ...parameters },
    targets: { Buckets: 'buckets' },
  });
  const pausing = (parameters: Json = {}): Json => ({ targets: { buckets }, actions: { pause: pause(parameters) } });

  it('lasts until the experiment is stopped', async () => {
    const { id } = await start(await create(pausing({ destinationBuckets: 'one, two' })));
    await until(id, 'running');
    expect(paused).toMatchObject([
      { arn: bucket.arn, region: 'us-east-1', destinationBuckets: ['one', 'two'], durationMs: 12 * 60 * 60_000 },
    ]);
    await call('DELETE', `/experiments/${id}`);
    await until(id, 'stopped');
    expect(paused).toEqual([]);
  });

  it('ends by itself after its duration, and fails where there is nothing to pause', async () => {
    const { id } = await start(await create(pausing({ duration: 'PT1M' })));
    await until(id, 'completed');
    expect(paused).toEqual([]);
    const none = await start(await create({ ...pausing({ region: 'none' }), clientToken: 'none' }));
    expect((await until(none.id, 'failed')).actions['pause']?.state.reason).toBe('it has no rule to there');
  });

  it('is refused without a region, and on buckets that are not chosen by their tags', async () => {
    const noRegion = { ...pause(), parameters: { duration: 'PT1M' } };
    await expect(create({ ...pausing(), actions: { pause: noRegion } })).rejects.toThrow(/"region"/);
    const { resourceTags: _, ...byArn } = { ...buckets, resourceArns: [bucket.arn] };
    await expect(create({ ...pausing(), targets: { buckets: byArn } })).rejects.toThrow(/tags alone/);
  });
});
