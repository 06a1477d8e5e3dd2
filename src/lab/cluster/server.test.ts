import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  AppsV1Api,
  CoordinationV1Api,
  CoreV1Api,
  KubeConfig,
  PatchStrategy,
  setHeaderOptions,
  Watch,
} from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { timestamp } from './objects.ts';
import { deployments, events, nodes, pods } from './resources.ts';
import { startApi, type TestApi } from './testing.ts';

const podBody = (name: string, labels: Record<string, string> = {}) => ({
  metadata: { name, labels },
  spec: { containers: [{ name: 'main', image: 'nothing:1' }] },
});

/** The `Status` a refused call carries. */
const refusal = async (call: Promise<unknown>): Promise<Record<string, unknown>> => {
  const error: unknown = await call.then(
    () => new Error('it was not refused'),
    (thrown) => thrown,
  );
  if (!(error instanceof Error) || !('body' in error)) throw error;
  return typeof error.body === 'string' ? JSON.parse(error.body) : (error.body as Record<string, unknown>);
};

let api: TestApi;
const client = (bearer?: string): KubeConfig => {
  const made = new KubeConfig();
  made.loadFromString(api.kubeconfigText(bearer));
  return made;
};

let core: CoreV1Api;
let apps: AppsV1Api;
beforeAll(async () => {
  api = await startApi();
  core = client().makeApiClient(CoreV1Api);
  apps = client().makeApiClient(AppsV1Api);
});
afterAll(() => api.stop());

const namespace = 'platform';

describe('objects, by the official client', () => {
  it('are created, read, listed by labels and fields, and deleted', async () => {
    for (const name of ['a1', 'a2', 'b1']) {
      await core.createNamespacedPod({ namespace, body: podBody(name, { app: name.slice(0, 1) }) });
    }
    const names = async (query: object): Promise<(string | undefined)[]> =>
      (await core.listNamespacedPod({ namespace, ...query })).items.map(({ metadata }) => metadata?.name);
    expect(await names({})).toEqual(['a1', 'a2', 'b1']);
    expect(await names({ labelSelector: 'app=a' })).toEqual(['a1', 'a2']);
    expect(await names({ labelSelector: 'app notin (a)' })).toEqual(['b1']);
    expect(await names({ fieldSelector: 'metadata.name=a2' })).toEqual(['a2']);
    expect(await names({ fieldSelector: 'status.phase=Running' })).toEqual([]);
    const read = await core.readNamespacedPod({ namespace, name: 'a1' });
    expect(read.status?.phase).toBe('Pending');
    expect(read.spec?.restartPolicy).toBe('Always');
    for (const name of ['a1', 'a2', 'b1']) await core.deleteNamespacedPod({ namespace, name });
    expect(await names({})).toEqual([]);
  });

  it('get generated names', async () => {
    const body = { ...podBody(''), metadata: { generateName: 'job-' } };
    const made = await core.createNamespacedPod({ namespace, body });
    expect(made.metadata?.name).toMatch(/^job-[a-z0-9]{5}$/);
    await core.deleteNamespacedPod({ namespace, name: made.metadata?.name ?? '' });
  });

  it('are listed page by page, as they were when the first page was read', async () => {
    for (let index = 0; index < 7; index += 1)
      await core.createNamespacedPod({ namespace, body: podBody(`p${index}`) });
    const first = await core.listNamespacedPod({ namespace, limit: 3 });
    expect(first.items.map(({ metadata }) => metadata?.name)).toEqual(['p0', 'p1', 'p2']);
    expect(first.metadata?.remainingItemCount).toBe(4);
    await core.deleteNamespacedPod({ namespace, name: 'p5' });
    const token = first.metadata?._continue ?? '';
    const second = await core.listNamespacedPod({ namespace, limit: 3, _continue: token });
    const rest = await core.listNamespacedPod({ namespace, limit: 3, _continue: second.metadata?._continue ?? '' });
    const names = [...second.items, ...rest.items].map(({ metadata }) => metadata?.name);
    expect(names).toEqual(['p3', 'p4', 'p5', 'p6']);
    expect(rest.metadata?._continue).toBeUndefined();
    for (let index = 0; index < 60; index += 1) {
      await core.createNamespacedPod({ namespace, body: podBody('again') });
      await core.deleteNamespacedPod({ namespace, name: 'again' });
    }
    const late = await refusal(core.listNamespacedPod({ namespace, limit: 3, _continue: token }));
    expect(late).toMatchObject({ code: 410, reason: 'Expired' });
    await core.deleteCollectionNamespacedPod({ namespace });
  });

  it('are refused with the words of the real server', async () => {
    await core.createNamespacedPod({ namespace, body: podBody('there') });
    const { metadata } = await core.readNamespacedPod({ namespace, name: 'there' });
    expect(await refusal(core.readNamespacedPod({ namespace, name: 'x' }))).toMatchObject({
      kind: 'Status',
      status: 'Failure',
      code: 404,
      reason: 'NotFound',
      message: 'pods "x" not found',
      details: { name: 'x', kind: 'pods' },
    });
    expect(await refusal(core.createNamespacedPod({ namespace, body: podBody('there') }))).toMatchObject({
      code: 409,
      reason: 'AlreadyExists',
    });
    expect(await refusal(core.createNamespacedPod({ namespace: 'nowhere', body: podBody('x') }))).toMatchObject({
      code: 404,
      message: 'namespaces "nowhere" not found',
    });
    const empty = { metadata: { name: 'x' }, spec: { containers: [] } };
    expect(await refusal(core.createNamespacedPod({ namespace, body: empty }))).toMatchObject({
      code: 422,
      reason: 'Invalid',
      message: 'Pod "x" is invalid: spec.containers: Required value',
      details: { causes: [{ reason: 'FieldValueRequired', field: 'spec.containers' }] },
    });
    const body = { preconditions: { uid: 'another' } };
    expect(await refusal(core.deleteNamespacedPod({ namespace, name: 'there', body }))).toMatchObject({ code: 409 });
    const stale = { ...podBody('there'), metadata: { ...metadata, resourceVersion: '1' } };
    expect(await refusal(core.replaceNamespacedPod({ namespace, name: 'there', body: stale }))).toMatchObject({
      code: 409,
      reason: 'Conflict',
      message: expect.stringContaining('the object has been modified'),
    });
    expect(await refusal(core.listNamespacedPod({ namespace, labelSelector: 'a b' }))).toMatchObject({ code: 400 });
    expect(await refusal(core.listNamespacedPod({ namespace, fieldSelector: 'spec.color=red' }))).toMatchObject({
      code: 400,
      message: 'field label not supported: spec.color',
    });
    await core.deleteNamespacedPod({ namespace, name: 'there' });
    const stranger = client('wrong').makeApiClient(CoreV1Api);
    await expect(stranger.listNode()).rejects.toMatchObject({ code: 401 });
  });

  it('wait for their node when it has to end them, and not when they are forced', async () => {
    const spec = { ...podBody('graced').spec, nodeName: 'n1' };
    const made = await core.createNamespacedPod({ namespace, body: { ...podBody('graced'), spec } });
    await core.deleteNamespacedPod({ namespace, name: 'graced', gracePeriodSeconds: 7 });
    const ending = await core.readNamespacedPod({ namespace, name: 'graced' });
    expect(ending.metadata?.deletionGracePeriodSeconds).toBe(7);
    expect(ending.metadata?.deletionTimestamp).toBeInstanceOf(Date);
    const body = { gracePeriodSeconds: 0, preconditions: { uid: made.metadata?.uid ?? '' } };
    await core.deleteNamespacedPod({ namespace, name: 'graced', body });
    expect(await refusal(core.readNamespacedPod({ namespace, name: 'graced' }))).toMatchObject({ code: 404 });
  });

  it('are patched in each of the ways there are', async () => {
    await core.createNamespacedPod({ namespace, body: podBody('patched', { a: '1' }) });
    const patch = (type: string, body: object) =>
      core.patchNamespacedPod({ namespace, name: 'patched', body }, setHeaderOptions('Content-Type', type));
    const merged = await patch(PatchStrategy.MergePatch, { metadata: { labels: { b: '2' } } });
    expect(merged.metadata?.labels).toEqual({ a: '1', b: '2' });
    const pointed = await patch(PatchStrategy.JsonPatch, [{ op: 'remove', path: '/metadata/labels/a' }]);
    expect(pointed.metadata?.labels).toEqual({ b: '2' });
    const image = { spec: { containers: [{ name: 'main', image: 'nothing:2' }] } };
    const joined = await patch(PatchStrategy.StrategicMergePatch, image);
    expect(joined.spec?.containers).toMatchObject([{ name: 'main', image: 'nothing:2' }]);
    expect(await refusal(patch(PatchStrategy.MergePatch, { spec: { nodeName: 'n2' } }))).toMatchObject({ code: 422 });
    expect(await refusal(patch('text/plain', {}))).toMatchObject({ code: 415 });
    // The main path leaves status alone, the status path everything else.
    const both = { metadata: { labels: { c: '3' } }, status: { phase: 'Running' } };
    expect((await patch(PatchStrategy.MergePatch, both)).status?.phase).toBe('Pending');
    const status = await core.patchNamespacedPodStatus(
      { namespace, name: 'patched', body: { ...both, metadata: { labels: { d: '4' } } } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
    expect(status.status?.phase).toBe('Running');
    expect(status.metadata?.labels).toEqual({ b: '2', c: '3' });
    await core.deleteNamespacedPod({ namespace, name: 'patched' });
  });

  it('are scaled, with their generation counted', async () => {
    const labels = { app: 'web' };
    const template = { metadata: { labels }, spec: podBody('').spec };
    const spec = { replicas: 2, selector: { matchLabels: labels }, template };
    await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: 'web' }, spec } });
    const scaled = await apps.patchNamespacedDeploymentScale(
      { namespace, name: 'web', body: { spec: { replicas: 5 } } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
    expect(scaled.spec?.replicas).toBe(5);
    const deployment = await apps.readNamespacedDeployment({ namespace, name: 'web' });
    expect(deployment.spec?.replicas).toBe(5);
    expect(deployment.metadata?.generation).toBe(2);
    const wrong = { metadata: { name: 'bad' }, spec: { ...spec, selector: { matchLabels: { app: 'other' } } } };
    expect(await refusal(apps.createNamespacedDeployment({ namespace, body: wrong }))).toMatchObject({
      code: 422,
      message: expect.stringContaining('`selector` does not match template `labels`'),
    });
    await apps.deleteNamespacedDeployment({ namespace, name: 'web' });
  });

  it('give their logs, leases are kept, and events are found by whom they are about', async () => {
    const made = await core.createNamespacedPod({ namespace, body: podBody('talker') });
    expect(await core.readNamespacedPodLog({ namespace, name: 'talker' })).toBe('log of talker main\n');
    const leases = client().makeApiClient(CoordinationV1Api);
    const body = { metadata: { name: 'lock' }, spec: { holderIdentity: 'me', leaseDurationSeconds: 15 } };
    await leases.createNamespacedLease({ namespace, body });
    const uid = made.metadata?.uid ?? '';
    const event = { metadata: { name: 'e1' }, involvedObject: { kind: 'Pod', name: 'talker', uid }, reason: 'Killing' };
    await core.createNamespacedEvent({ namespace, body: event });
    const about = (wanted: string) =>
      core.listNamespacedEvent({ namespace, fieldSelector: `involvedObject.uid=${wanted}` });
    expect((await about(uid)).items.map(({ reason }) => reason)).toEqual(['Killing']);
    expect((await about('nobody')).items).toEqual([]);
    await core.deleteNamespacedPod({ namespace, name: 'talker' });
  });
});

describe('a watch', () => {
  const listen = async (
    query: Record<string, string | number | boolean>,
    wanted: number,
  ): Promise<readonly string[]> => {
    const seen: string[] = [];
    await new Promise<void>((resolve, reject) => {
      const url = `/api/v1/namespaces/${namespace}/pods`;
      new Watch(client())
        .watch(
          url,
          query,
          (type, object) => {
            seen.push(`${type} ${object.metadata?.name ?? object.reason}`);
            if (seen.length >= wanted) resolve();
          },
          (error) => (error === null ? resolve() : reject(error)),
        )
        .catch(reject);
    });
    return seen;
  };

  it('goes on from a revision, and tells those who select what begins and ends to match', async () => {
    const { metadata } = await core.listNamespacedPod({ namespace });
    const since = metadata?.resourceVersion ?? '';
    const heard = listen({ resourceVersion: since, labelSelector: 'color=red' }, 3);
    await core.createNamespacedPod({ namespace, body: podBody('plain', { color: 'blue' }) });
    const paint = (color: string) =>
      core.patchNamespacedPod(
        { namespace, name: 'plain', body: { metadata: { labels: { color } } } },
        setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
      );
    await paint('red');
    await core.patchNamespacedPod(
      { namespace, name: 'plain', body: { metadata: { annotations: { note: '1' } } } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
    await paint('blue');
    const expected = ['ADDED plain', 'MODIFIED plain', 'DELETED plain'];
    expect(await heard).toEqual(expected);
    // The same again from the past.
    expect(await listen({ resourceVersion: since, labelSelector: 'color=red', timeoutSeconds: 1 }, 3)).toEqual(
      expected,
    );
    await core.deleteNamespacedPod({ namespace, name: 'plain' });
  });

  it('begins with what there is when no revision is named', async () => {
    await core.createNamespacedPod({ namespace, body: podBody('present') });
    expect(await listen({}, 1)).toEqual(['ADDED present']);
    const initial = { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan', allowWatchBookmarks: true };
    expect(await listen(initial, 2)).toEqual(['ADDED present', 'BOOKMARK undefined']);
    await core.deleteNamespacedPod({ namespace, name: 'present' });
  });

  it('from a revision that is forgotten is told 410, as an event', async () => {
    for (let index = 0; index < 110; index += 1) {
      api.store.create(
        pods,
        pods.prepare({
          ...podBody('churn'),
          apiVersion: 'v1',
          kind: 'Pod',
          status: { phase: 'Pending' },
          metadata: { name: 'churn', namespace },
        }),
      );
      api.store.remove(pods, namespace, 'churn');
    }
    expect(await listen({ resourceVersion: '5' }, 1)).toEqual(['ERROR Expired']);
  });
});

const run = promisify(execFile);
const kubectl = async (...words: string[]): Promise<string> =>
  (await run('kubectl', ['--kubeconfig', api.kubeconfig, ...words], { timeout: 20_000 })).stdout;
const hasKubectl = await run('kubectl', ['version', '--client']).then(
  () => true,
  () => false,
);

describe.skipIf(!hasKubectl)('kubectl', () => {
  it('gets, describes, labels, cordons, scales, applies and deletes', { timeout: 60_000 }, async () => {
    const now = timestamp(systemClock.nowMs());
    const ready = { type: 'Ready', status: 'True' as const, lastTransitionTime: now };
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } };
    api.store.create(nodes, { ...node, spec: {}, status: { conditions: [ready], nodeInfo: { kubeletVersion: 'v1' } } });
    const manifest = path.join(path.dirname(api.kubeconfig), 'web.json');
    const labels = { app: 'web' };
    const template = { metadata: { labels }, spec: podBody('').spec };
    const web = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace },
      spec: { selector: { matchLabels: labels }, template },
    };
    writeFileSync(manifest, JSON.stringify(web));
    expect(await kubectl('apply', '-f', manifest)).toContain('deployment.apps/web created');
    expect(await kubectl('apply', '-f', manifest)).toMatch(/deployment.apps\/web (unchanged|configured)/);
    expect(await kubectl('apply', '--server-side', '--force-conflicts', '-f', manifest)).toContain(
      'serverside-applied',
    );
    await core.createNamespacedPod({ namespace, body: podBody('web-1', labels) });
    expect(await kubectl('get', 'pods')).toMatch(/NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\nweb-1\s+0\/1\s+Pending\s+0/);
    expect(await kubectl('get', 'po', '-o', 'wide', '-l', 'app=web')).toContain('NOMINATED NODE');
    expect(await kubectl('get', 'pod', 'web-1', '-o', 'jsonpath={.metadata.labels.app}')).toBe('web');
    expect(await kubectl('get', 'nodes')).toMatch(/n1\s+Ready/);
    expect(await kubectl('cordon', 'n1')).toContain('node/n1 cordoned');
    expect(await kubectl('get', 'nodes')).toMatch(/n1\s+Ready,SchedulingDisabled/);
    expect(await kubectl('describe', 'pod', 'web-1')).toContain('Name:');
    expect(await kubectl('describe', 'deployment', 'web')).toContain('Replicas:');
    expect(await kubectl('label', 'pod', 'web-1', 'tier=front')).toContain('labeled');
    expect(await kubectl('scale', 'deployment/web', '--replicas=3')).toContain('scaled');
    expect(api.store.get(deployments, namespace, 'web')?.spec.replicas).toBe(3);
    expect(await kubectl('logs', 'web-1')).toBe('log of web-1 main\n');
    expect(await kubectl('delete', 'pod', 'web-1', '--grace-period=0', '--force')).toContain('deleted');
    expect(await kubectl('get', 'events')).toContain('Killing');
    expect(await kubectl('api-resources')).toMatch(/pods\s+po\s+v1\s+true\s+Pod/);
    await expect(kubectl('get', 'pod', 'web-1')).rejects.toThrow('pods "web-1" not found');
    expect(api.uses()).toBeGreaterThan(0);
    expect(api.store.list(events, namespace).length).toBeGreaterThan(0);
  });
});

describe('requests that make no sense', () => {
  const raw = (method: string, url: string, body?: string, type = 'application/json') =>
    new Promise<number>((resolve, reject) => {
      const headers = { authorization: `Bearer ${api.token}`, 'content-type': type };
      const options = {
        host: '127.0.0.1',
        port: api.port,
        path: url,
        method,
        ca: api.ca,
        headers,
        agent: false as const,
      };
      const request = https.request(options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on('error', reject);
      request.end(body);
    });

  it.each([
    ['GET', '/apis/unheard.of/v1/things', undefined, 404],
    ['GET', '/api/v1/namespaces/platform/unicorns', undefined, 404],
    ['GET', '/api/v1/namespaces/platform/pods/x/exec', undefined, 404],
    ['POST', '/api/v1/namespaces/platform/pods', '{', 400],
    ['POST', '/api/v1/namespaces/platform/pods', '[]', 400],
    ['POST', '/api/v1/namespaces/platform/pods', '{"kind":"Service","apiVersion":"v1"}', 400],
    ['POST', '/api/v1/namespaces/platform/pods', '{"metadata":{}}', 422],
    ['POST', '/api/v1/namespaces/platform/pods', '{"metadata":{"name":"Not Valid"},"spec":{}}', 422],
    ['POST', '/api/v1/namespaces/platform/pods', '{"metadata":{"name":"x","namespace":"default"}}', 400],
    ['PUT', '/api/v1/namespaces/platform/pods', '{}', 405],
    ['GET', '/api/v1/pods?resourceVersion=abc&watch=true', undefined, 400],
    ['GET', '/api/v1/pods?continue=abc', undefined, 400],
    ['GET', '/api/v1/pods?resourceVersion=99999999&resourceVersionMatch=Exact', undefined, 504],
    ['DELETE', '/api/v1/namespaces/platform/pods/x?gracePeriodSeconds=soon', undefined, 400],
  ])('%s %s %j is %d', async (method, url, body, expected) => {
    expect(await raw(method, url, body)).toBe(expected);
  });

  it('of other media types are refused', async () => {
    const type = 'application/vnd.kubernetes.protobuf';
    expect(await raw('POST', '/api/v1/namespaces/platform/pods', 'k8s', type)).toBe(415);
  });
});
