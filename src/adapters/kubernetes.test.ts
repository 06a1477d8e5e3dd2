import { readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { isBlackstartError } from '../core/errors.ts';
import { zoneLabel } from '../lab/cluster/objects.ts';
import { nodes, pods } from '../lab/cluster/resources.ts';
import { startApi, type TestApi } from '../lab/cluster/testing.ts';
import { labEnvironment, testLayout } from '../lab/testing.ts';
import { createKubernetesPort } from './kubernetes.ts';
import type { KubernetesPort, PodEvent } from './ports.ts';

const namespace = 'platform';
const within = (ms = 5000): AbortSignal => AbortSignal.timeout(ms);

const makePod = (api: TestApi, name: string, labels: Record<string, string> = { app: 'llm' }, ready = true) => {
  const lastTransitionTime = '2025-01-01T00:00:00Z';
  api.store.create(
    pods,
    pods.prepare({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace, labels },
      spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'nothing:1' }] },
      status: { phase: 'Pending' },
    }),
  );
  return api.store.update(pods, namespace, name, (pod) => ({
    ...pod,
    status: {
      phase: 'Running' as const,
      conditions: [{ type: 'Ready', status: ready ? ('True' as const) : ('False' as const), lastTransitionTime }],
      containerStatuses: [
        {
          name: 'main',
          image: 'nothing:1',
          imageID: '',
          containerID: 'lab://abc',
          ready,
          started: true,
          restartCount: 2,
          state: { running: { startedAt: '2025-01-01T00:00:05Z' } },
          lastState: {},
        },
      ],
    },
  }));
};

let api: TestApi;
let port: KubernetesPort;
beforeAll(async () => {
  api = await startApi();
  const metadata = { name: 'n1', labels: { [zoneLabel]: 'z1' } };
  api.store.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata, spec: {}, status: {} });
  port = createKubernetesPort({ kubeconfig: api.kubeconfig, context: 'test', clock: systemClock });
});
afterAll(() => api.stop());

/** What a call is refused with. */
const refusal = async (call: Promise<unknown>) => {
  const error: unknown = await call.then(
    () => new Error('it was not refused'),
    (thrown) => thrown,
  );
  if (!isBlackstartError(error)) throw error;
  return error;
};

describe('a cluster through the port', () => {
  it('shows pods with their zone, readiness and containers', async () => {
    const made = makePod(api, 'one');
    const [pod] = await port.listPods(namespace, 'app=llm', within());
    expect(pod).toMatchObject({
      name: 'one',
      namespace,
      uid: made.metadata.uid,
      node: 'n1',
      zone: 'z1',
      ready: true,
      deleting: false,
      phase: 'Running',
      labels: { app: 'llm' },
      containers: [
        { name: 'main', id: 'lab://abc', ready: true, restartCount: 2, startedAt: '2025-01-01T00:00:05.000Z' },
      ],
    });
    expect(await port.listPods(namespace, 'app=other', within())).toEqual([]);
    expect(await port.getPod(namespace, 'one', within())).toEqual(pod);
    expect(await port.getPod(namespace, 'none', within())).toBeUndefined();
    expect(await port.listNodes(within())).toEqual([{ name: 'n1', zone: 'z1', ready: false }]);
    expect(await port.podLog(namespace, 'one', within())).toBe('log of one main\n');
  });

  it('deletes exactly the pod that was meant', async () => {
    const { uid } = makePod(api, 'victim').metadata;
    const error = await refusal(
      port.deletePod(namespace, 'victim', { uid: 'another', gracePeriodSeconds: 0 }, within()),
    );
    expect(error.code).toBe('CONFLICT');
    expect(error.message).toContain('Precondition failed: UID');
    expect(api.store.get(pods, namespace, 'victim')).toBeDefined();
    await port.deletePod(namespace, 'victim', { uid, gracePeriodSeconds: 5 }, within());
    expect((await port.getPod(namespace, 'victim', within()))?.deleting).toBe(true);
    await port.deletePod(namespace, 'victim', { uid, gracePeriodSeconds: 0 }, within());
    expect(api.store.get(pods, namespace, 'victim')).toBeUndefined();
    await port.deletePod(namespace, 'victim', { uid, gracePeriodSeconds: 0 }, within());
  });

  it('makes helper pods that run on their node whatever its state, and end by themselves', async () => {
    const helper = {
      name: 'helper-1',
      namespace,
      node: 'n1',
      labels: { a: 'b' },
      annotations: { c: 'd' },
      script: 'echo hello',
      env: { WHO: 'you' },
      activeDeadlineSeconds: 60,
    };
    const made = await port.createHelperPod(helper, within());
    expect(made).toMatchObject({ name: 'helper-1', node: 'n1', labels: { a: 'b' }, annotations: { c: 'd' } });
    expect(api.store.get(pods, namespace, 'helper-1')?.spec).toMatchObject({
      nodeName: 'n1',
      hostPID: true,
      restartPolicy: 'Never',
      activeDeadlineSeconds: 60,
      tolerations: [{ operator: 'Exists' }],
      containers: [{ command: ['/bin/sh', '-c', 'echo hello'], env: [{ name: 'WHO', value: 'you' }] }],
    });
    expect((await refusal(port.createHelperPod(helper, within()))).code).toBe('CONFLICT');
    api.store.remove(pods, namespace, 'helper-1');
  });

  it('asks what it may do', async () => {
    expect(await port.canI('delete', 'pods', namespace, within())).toBe(true);
    expect(await port.canI('get', 'pods/log', namespace, within())).toBe(true);
    expect(await port.canI('list', 'deployments.apps', namespace, within())).toBe(true);
    expect(await port.canI('delete', 'unicorns', namespace, within())).toBe(false);
    expect(await port.canI('explode', 'pods', namespace, within())).toBe(false);
  });

  it('follows pods over broken connections without losing or repeating anything', async () => {
    const seen: string[] = [];
    const stopping = new AbortController();
    const onEvent = ({ type, pod }: PodEvent): number => seen.push(`${type} ${pod.name} ${pod.zone}`);
    const watching = port.watchPods(namespace, 'app=watched', stopping.signal, onEvent);
    const until = async (count: number): Promise<void> => {
      const signal = within();
      while (seen.length < count) await systemClock.sleep(10, signal);
    };
    const labels = { app: 'watched' };
    makePod(api, 'w1', labels);
    await until(1);
    makePod(api, 'w2', labels);
    await until(3);
    api.disconnect();
    makePod(api, 'w3', labels);
    api.store.remove(pods, namespace, 'w1');
    await until(5);
    api.store.remove(pods, namespace, 'w2');
    await until(6);
    stopping.abort(new Error('enough'));
    await watching;
    const last = (name: string): string | undefined => seen.findLast((one) => one.includes(name));
    expect(last('w1')).toBe('deleted w1 z1');
    expect(last('w2')).toBe('deleted w2 z1');
    expect(last('w3')).toMatch(/(added|modified) w3 z1/);
    expect(seen.filter((one) => one.startsWith('added w3'))).toHaveLength(1);
    api.store.remove(pods, namespace, 'w3');
  });
});

describe('what cannot be reached', () => {
  /** An HTTPS server that answers as it is told. */
  const startServer = async (answer: (request: number, response: ServerResponse) => void) => {
    const { layout, remove } = await testLayout(labEnvironment());
    const read = (name: string): Buffer => readFileSync(path.join(layout.stateDir, name));
    let requests = 0;
    const server = https.createServer({ cert: read('tls.crt'), key: read('tls.key') }, (_, response) => {
      requests += 1;
      answer(requests, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const kubeconfig = path.join(layout.stateDir, 'kubeconfig');
    const text = api
      .kubeconfigText()
      .replace(/https:\/\/127\.0\.0\.1:\d+/, `https://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`);
    const authority = read('ca.pem').toString('base64');
    writeFileSync(
      kubeconfig,
      text.replace(/"certificate-authority-data":"[^"]*"/, `"certificate-authority-data":"${authority}"`),
    );
    return {
      port: createKubernetesPort({ kubeconfig, context: 'test', clock: systemClock }),
      requests: () => requests,
      async stop() {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
        remove();
      },
    };
  };
  const json = (response: ServerResponse, code: number, body: object): void => {
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };

  it('is asked again where asking changes nothing, and only there', async () => {
    const server = await startServer((request, response) =>
      request <= 2
        ? json(response, 503, { kind: 'Status', code: 503, message: 'the server is busy' })
        : json(response, 200, { kind: 'NodeList', apiVersion: 'v1', metadata: {}, items: [] }),
    );
    expect(await server.port.listNodes(within())).toEqual([]);
    expect(server.requests()).toBe(3);
    await server.stop();
    const busy = await startServer((_, response) =>
      json(response, 503, { kind: 'Status', message: 'the server is busy' }),
    );
    const error = await refusal(busy.port.deletePod(namespace, 'x', { uid: 'u', gracePeriodSeconds: 0 }, within()));
    expect(error.code).toBe('UNREACHABLE');
    expect(error.message).toContain('the server is busy');
    expect(busy.requests()).toBe(1);
    await busy.stop();
  });

  it('is given up as soon as the signal says so, with its reason', async () => {
    const server = await startServer(() => undefined);
    const stopping = new AbortController();
    const call = server.port.listPods(namespace, '', stopping.signal);
    setTimeout(() => stopping.abort(new Error('pressed Ctrl-C')), 100);
    const startMs = systemClock.monotonicMs();
    await expect(call).rejects.toThrow('pressed Ctrl-C');
    expect(systemClock.monotonicMs() - startMs).toBeLessThan(1000);
    await server.stop();
  });

  it('is named in one line, with what to do', async () => {
    const server = await startServer((_, response) => json(response, 403, { message: 'pods is forbidden' }));
    const forbidden = await refusal(server.port.listPods(namespace, '', within()));
    expect(forbidden).toMatchObject({ code: 'PLAN_REFUSED' });
    expect(forbidden.message).toBe('Kubernetes context test: list pods of platform: 403 pods is forbidden');
    await server.stop();
    const gone = await refusal(server.port.listPods(namespace, '', within()));
    expect(gone.code).toBe('UNREACHABLE');
    expect(gone.message).toMatch(/^Kubernetes context test: list pods of platform: .*ECONNREFUSED/);
    expect(gone.hint).toContain('kubectl --context test');
    const absent = { kubeconfig: '/nonexistent/kubeconfig', context: 'x', clock: systemClock };
    expect(() => createKubernetesPort(absent)).toThrow(/kubeconfig .* cannot be read/);
    const unknown = { kubeconfig: api.kubeconfig, context: 'x', clock: systemClock };
    expect(() => createKubernetesPort(unknown)).toThrow('the kubeconfig has no context "x"');
  });
});
