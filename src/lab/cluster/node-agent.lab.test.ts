import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { callControl } from '../control.ts';
import { regionOfZone } from '../layout.ts';
import { type ClusterClient, createClusterClient } from './client.ts';
import type { EventObject, PodObject } from './objects.ts';
import { conditionOf, isReady, type NodeObject } from './objects.ts';
import { smallEnvironment, startCluster, type TestCluster } from './testing.ts';

const withinMs = 20_000;
const zone = 'us-west-2a';

let cluster: TestCluster;
let client: ClusterClient;
beforeAll(async () => {
  cluster = await startCluster(smallEnvironment(2), { timeScale: 30 });
  client = createClusterClient(cluster.layout, 'operator', regionOfZone(cluster.layout.environment, zone));
  await until('all pods ready', async () => ((await pods()).filter(isReady).length === 6 ? true : undefined));
}, 60_000);
afterAll(() => cluster.stop(), 30_000);

const until = async <T>(what: string, look: () => Promise<T | undefined>): Promise<T> => {
  const lastMs = systemClock.monotonicMs() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (systemClock.monotonicMs() > lastMs) throw new Error(`${what} did not happen: ${cluster.log().slice(-5)}`);
    await systemClock.sleep(20);
  }
};

const get = async <T>(url: string): Promise<T> => (await client.request('GET', url, { timeoutMs: 3000 })) as T;
const pods = async (query = ''): Promise<readonly PodObject[]> =>
  (await get<{ items: PodObject[] }>(`/api/v1/namespaces/platform/pods${query}`)).items;
const llmOf = async (wanted: string): Promise<readonly PodObject[]> =>
  (await pods('?labelSelector=app%3Dllm')).filter((pod) => pod.spec.nodeName === `${wanted}-node`);
const podNamed = async (name: string): Promise<PodObject | undefined> =>
  (await pods(`?fieldSelector=metadata.name%3D${name}`))[0];
const reasonsOf = async (uid: string): Promise<readonly string[]> => {
  const query = `?fieldSelector=${encodeURIComponent(`involvedObject.uid=${uid}`)}`;
  const { items } = await get<{ items: EventObject[] }>(`/api/v1/namespaces/platform/events${query}`);
  return items.map(({ reason = '' }) => reason);
};
const truthOf = (event: string, uid: string) =>
  cluster.truth().filter((truth) => truth.event === event && truth['uid'] === uid);
const firstPod = async (wanted = zone): Promise<PodObject> => {
  const [pod] = await until('a ready pod', async () => {
    const ready = (await llmOf(wanted)).filter((one) => isReady(one) && one.metadata.deletionTimestamp === undefined);
    return ready.length === 2 ? ready : undefined;
  });
  if (pod === undefined) throw new Error('there is no pod');
  return pod;
};
const steer = (pod: PodObject, what: string): void =>
  writeFileSync(path.join(cluster.layout.stateDir, `${pod.metadata.name}.${what}`), '');

describe('a node', () => {
  it('runs its pods as processes that answer at the port the pod names', async () => {
    const pod = await firstPod();
    const port = Number(pod.metadata.annotations?.['lab.blackstart.dev/port']);
    const answer = await (await fetch(`http://127.0.0.1:${port}/`)).text();
    const id = pod.status.containerStatuses?.[0]?.containerID ?? '';
    expect(id).toMatch(/^lab:\/\/[0-9a-f]{32}$/);
    expect(answer).toContain(`llm {"container-id":"${id.slice('lab://'.length)}"`);
    expect(answer).toContain(`"region":"us-west-2","zone":"${zone}","pod":"${pod.metadata.name}","app":"llm"`);
    expect(answer).toContain('"initial":"1"');
    expect(await reasonsOf(pod.metadata.uid)).toEqual(expect.arrayContaining(['Scheduled', 'Started']));
  });

  it('starts a container again when its process dies, not ready in between, and in the same pod', async () => {
    const pod = await firstPod();
    const pid = Number(truthOf('process.started', pod.metadata.uid).at(-1)?.['pid']);
    process.kill(pid, 'SIGKILL');
    const again = await until('the restart', async () => {
      const now = await podNamed(pod.metadata.name);
      return now?.status.containerStatuses?.[0]?.restartCount === 1 && isReady(now) ? now : undefined;
    });
    expect(again.metadata.uid).toBe(pod.metadata.uid);
    expect(again.metadata.annotations).not.toEqual(pod.metadata.annotations);
    expect(again.status.containerStatuses?.[0]?.lastState.terminated).toMatchObject({ exitCode: 137, signal: 9 });
    expect(truthOf('process.exited', pod.metadata.uid)).toMatchObject([{ pid, signal: 'SIGKILL' }]);
    const [exited] = truthOf('process.exited', pod.metadata.uid);
    const [notReady] = truthOf('pod.not-ready', pod.metadata.uid);
    expect((notReady?.atMs ?? 0) - (exited?.atMs ?? 0)).toBeLessThan(500);
    // A restarted container has to load its model: only the lab's first ones count as having done so.
    const port = Number(again.metadata.annotations?.['lab.blackstart.dev/port']);
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).not.toContain('initial');
  });

  it('finds a stopped process by its liveness check, kills it and starts another', async () => {
    const pod = await firstPod('us-west-2b');
    const pid = Number(truthOf('process.started', pod.metadata.uid).at(-1)?.['pid']);
    process.kill(pid, 'SIGSTOP');
    const stoppedMs = systemClock.monotonicMs();
    await until('the restart', async () => {
      const now = await podNamed(pod.metadata.name);
      return now?.status.containerStatuses?.[0]?.restartCount === 1 && isReady(now) ? now : undefined;
    });
    const [exited] = truthOf('process.exited', pod.metadata.uid);
    // Three checks of a hundred milliseconds (the floor of time-outs), then a moment of grace.
    expect((exited?.atMs ?? 0) - stoppedMs).toBeGreaterThan(250);
    expect((exited?.atMs ?? 0) - stoppedMs).toBeLessThan(2000);
    expect(truthOf('process.signalled', pod.metadata.uid).map((truth) => truth['signal'])).toEqual([
      'SIGTERM',
      'SIGKILL',
    ]);
    expect(await reasonsOf(pod.metadata.uid)).toEqual(expect.arrayContaining(['Unhealthy', 'Killing']));
  });

  it('takes a pod whose readiness check fails out of rotation and leaves it alone', async () => {
    const pod = await firstPod('us-west-2b');
    steer(pod, 'unready');
    const unready = await until('not ready', async () => {
      const now = await podNamed(pod.metadata.name);
      return now !== undefined && !isReady(now) ? now : undefined;
    });
    expect(unready.status.phase).toBe('Running');
    await systemClock.sleep(500);
    const before = pod.status.containerStatuses?.[0]?.restartCount;
    expect((await podNamed(pod.metadata.name))?.status.containerStatuses?.[0]?.restartCount).toBe(before);
    await client.request('DELETE', `/api/v1/namespaces/platform/pods/${pod.metadata.name}`, { timeoutMs: 3000 });
    await firstPod('us-west-2b');
  });

  it('ends a deleted pod with SIGTERM, and with SIGKILL when its grace is over', async () => {
    const pod = await firstPod();
    steer(pod, 'slow-stop');
    const url = `/api/v1/namespaces/platform/pods/${pod.metadata.name}`;
    await client.request('DELETE', url, { timeoutMs: 3000, body: { gracePeriodSeconds: 15 } });
    expect((await podNamed(pod.metadata.name))?.metadata.deletionGracePeriodSeconds).toBe(15);
    await until('the end', async () => ((await podNamed(pod.metadata.name)) === undefined ? true : undefined));
    const [term, kill] = truthOf('process.signalled', pod.metadata.uid);
    expect([term?.['signal'], kill?.['signal']]).toEqual(['SIGTERM', 'SIGKILL']);
    // Fifteen seconds of documented time.
    expect((kill?.atMs ?? 0) - (term?.atMs ?? 0)).toBeGreaterThan(480);
    expect((kill?.atMs ?? 0) - (term?.atMs ?? 0)).toBeLessThan(900);
    await firstPod();
  });

  it('kills at once what is deleted by force', async () => {
    const pod = await firstPod();
    const url = `/api/v1/namespaces/platform/pods/${pod.metadata.name}`;
    await client.request('DELETE', url, { timeoutMs: 3000, body: { gracePeriodSeconds: 0 } });
    expect(await podNamed(pod.metadata.name)).toBeUndefined();
    const [signalled] = await until('the kill', async () => {
      const found = truthOf('process.exited', pod.metadata.uid);
      return found.length > 0 ? truthOf('process.signalled', pod.metadata.uid) : undefined;
    });
    expect(signalled?.['signal']).toBe('SIGKILL');
    await firstPod();
  });

  it('runs helper pods on the host, keeps what they print, and ends them at their deadline', async () => {
    const run = async (name: string, script: string, more: object): Promise<PodObject> => {
      const spec = {
        nodeName: `${zone}-node`,
        hostPID: true,
        restartPolicy: 'Never',
        containers: [
          { name: 'helper', image: 'any', command: ['/bin/sh', '-c', script], env: [{ name: 'WHO', value: 'you' }] },
        ],
        ...more,
      };
      const body = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec };
      await client.request('POST', '/api/v1/namespaces/platform/pods', { body, timeoutMs: 3000 });
      return await until('its end', async () => {
        const now = await podNamed(name);
        return now?.status.phase === 'Succeeded' || now?.status.phase === 'Failed' ? now : undefined;
      });
    };
    expect((await run('h1', 'echo "hello $WHO"', {})).status.phase).toBe('Succeeded');
    expect(readLog('h1')).toBe('hello you\n');
    const failed = await run('h2', 'echo no >&2; exit 3', {});
    expect(failed.status.phase).toBe('Failed');
    expect(failed.status.containerStatuses?.[0]?.state.terminated?.exitCode).toBe(3);
    const script = 'trap "echo ending; exit 0" TERM; sleep 60 & wait $!';
    const late = await run('h3', script, { activeDeadlineSeconds: 15, terminationGracePeriodSeconds: 5 });
    expect(late.status).toMatchObject({ phase: 'Failed', reason: 'DeadlineExceeded' });
    expect(readLog('h3')).toContain('ending\n');
    const notHost = {
      hostPID: false,
      containers: [{ name: 'helper', image: 'any', command: ['/bin/sh', '-c', 'true'] }],
    };
    const body = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'h4' },
      spec: { nodeName: `${zone}-node`, ...notHost },
    };
    await client.request('POST', '/api/v1/namespaces/platform/pods', { body, timeoutMs: 3000 });
    const refused = await until('a refusal', async () => {
      const now = await podNamed('h4');
      return now?.status.containerStatuses?.[0]?.state.waiting === undefined ? undefined : now;
    });
    expect(refused.status.containerStatuses?.[0]?.state.waiting?.reason).toBe('ErrImagePull');
    for (const name of ['h1', 'h2', 'h3', 'h4']) {
      await client.request('DELETE', `/api/v1/namespaces/platform/pods/${name}`, { timeoutMs: 3000 });
    }
  });
});

const readLog = (name: string): string => {
  // The answer is text, which the JSON client cannot take: the kubelet's file is what it consists of.
  return readFileSync(path.join(cluster.layout.stateDir, 'logs', 'pods', `platform_${name}_helper.log`), 'utf8');
};

describe('a zone that is cut off', () => {
  const rule = (id: string) => `/rules/${id}`;

  it('keeps its pods running, is replaced elsewhere, and comes home', { timeout: 60_000 }, async () => {
    const before = await llmOf(zone);
    const pids = before.map((pod) => Number(truthOf('process.started', pod.metadata.uid).at(-1)?.['pid']));
    const body = { match: { isolate: [`zone/${zone}`] }, effect: { kind: 'blackhole' }, owner: 'test' };
    await callControl(cluster.layout, 'links', 'PUT', rule('dark'), { body });
    const node = () => get<NodeObject>(`/api/v1/nodes/${zone}-node`);
    await until('NotReady', async () => (conditionOf(await node(), 'Ready')?.status === 'Unknown' ? true : undefined));
    expect((await llmOf(zone)).some(isReady)).toBe(false);
    // The processes know nothing of it.
    for (const pid of pids) expect(() => process.kill(pid, 0)).not.toThrow();
    await until('replacements', async () => {
      const standIns = (await llmOf('us-west-2b')).filter(isReady);
      return standIns.length === 4 ? true : undefined;
    });
    await callControl(cluster.layout, 'links', 'DELETE', rule('dark'));
    await until('everything home', async () => {
      const all = (await pods()).filter((pod) => pod.metadata.deletionTimestamp === undefined);
      const home = (await llmOf(zone)).filter(isReady);
      return all.length === 6 && home.length === 2 && (await llmOf('us-west-2b')).length === 2 ? true : undefined;
    });
    await until('the old processes gone', async () => {
      const gone = before.every((pod) => truthOf('process.exited', pod.metadata.uid).length > 0);
      return gone ? true : undefined;
    });
  });
});
