import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import { type LabLayout, regionPlace, scaled } from '../layout.ts';
import { markUsed } from '../used.ts';
import { ApiError } from './api-error.ts';
import { createControllers } from './controllers.ts';
import { initialDeployments } from './initial-objects.ts';
import { isReady, type NodeObject, nodeLeaseNamespace, type PodObject, timestamp, zoneLabel } from './objects.ts';
import { deployments, namespaces, nodes, pods } from './resources.ts';
import { createApiServer } from './server.ts';
import { createStore, type Store } from './store.ts';

/** Real: dozens of processes start at once, on whatever machine this is. */
const startupGraceMs = 30_000;
const logTimeoutMs = 5000;
const logBytesMax = 16 * 1024 * 1024;

/** An HTTP GET to a node's agent, over the region's egress, so that a cut zone's logs cannot be read either. */
const askNode = (
  layout: LabLayout,
  region: string,
  node: NodeObject,
  url: string,
  signal: AbortSignal,
): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const zone = node.metadata.labels?.[zoneLabel] ?? '';
    const port = node.status.daemonEndpoints?.kubeletEndpoint.Port ?? 0;
    const socket = connect({ host: '127.0.0.1', port: layout.egress[regionPlace(region)] ?? 0 });
    const chunks: Buffer[] = [];
    let bytes = 0;
    const fail = (why: string): void => {
      socket.destroy();
      reject(new ApiError(504, 'Timeout', `Get "https://${node.metadata.name}:${port}${url}": ${why}`));
    };
    const limit = setTimeout(() => fail('context deadline exceeded'), logTimeoutMs);
    const onAbort = (): void => fail('context canceled');
    signal.addEventListener('abort', onAbort, { once: true });
    socket.setNoDelay(true);
    // The egress answers CONNECT first, then carries the request; in HTTP/1.0 the log ends where the stream ends.
    socket.write(`CONNECT ${zone}.zone.lab:${port} HTTP/1.1\r\nHost: ${zone}.zone.lab:${port}\r\n\r\n`);
    socket.once('data', () => {
      socket.write(`GET ${url} HTTP/1.0\r\nAuthorization: Bearer ${layout.token}\r\n\r\n`);
      socket.on('data', (chunk) => {
        bytes += chunk.length;
        if (bytes > logBytesMax) fail('the log is too long');
        else chunks.push(chunk);
      });
    });
    socket.on('error', (error) => fail(error.message));
    socket.on('close', () => {
      clearTimeout(limit);
      signal.removeEventListener('abort', onAbort);
      const answer = Buffer.concat(chunks);
      const headEnd = answer.indexOf('\r\n\r\n');
      if (!answer.subarray(0, 12).toString().endsWith(' 200')) fail('the node did not answer with a log');
      else resolve(answer.subarray(headEnd + 4));
    });
  });

/** What the API says of a pod's readiness, at the instant it begins to say so. */
const watchReadiness = (store: Store, region: string, context: ComponentContext): void => {
  store.subscribe(({ resource, object, previous, type }) => {
    if (resource !== (pods as unknown)) return;
    // Objects under `pods` are pods.
    const pod = object as PodObject;
    const before = previous !== undefined && isReady(previous as PodObject);
    const now = type !== 'DELETED' && pod.metadata.deletionTimestamp === undefined && isReady(pod);
    const wasDeleting = previous?.metadata.deletionTimestamp !== undefined;
    if (before && !wasDeleting === now) return;
    if (!before && !now) return;
    const { name, uid } = pod.metadata;
    context.truth(now ? 'pod.ready' : 'pod.not-ready', name, { uid, region, node: pod.spec.nodeName ?? '' });
  });
};

const startRegion = async (
  context: ComponentContext,
  region: LabLayout['environment']['regions'][number],
): Promise<void> => {
  const { layout, signal } = context;
  const { kubernetes } = layout.settings;
  const nowMs = systemClock.nowMs;
  const store = createStore(() => timestamp(nowMs()), { firstRevision: 1000 });
  for (const name of ['default', 'kube-system', nodeLeaseNamespace, region.kubernetes.namespace]) {
    if (store.get(namespaces, '', name) !== undefined) continue;
    const labels = { 'kubernetes.io/metadata.name': name };
    store.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
  }
  watchReadiness(store, region.name, context);
  const controllers = createControllers({
    store,
    times: {
      nodeGracePeriodMs: scaled(layout, kubernetes.nodeGracePeriod),
      evictionAfterMs: scaled(layout, kubernetes.evictionAfter),
      startupGraceMs,
      returnEveryMs: scaled(layout, kubernetes.leaseRenewal),
    },
    monotonicMs: systemClock.monotonicMs,
    nowMs,
    log: (line) => context.log(`${region.name}: ${line}`),
  });
  for (const draft of initialDeployments(layout, region)) store.create(deployments, deployments.prepare(draft));
  runControllers(store, controllers.sync, scaled(layout, kubernetes.nodeGracePeriod) / 20, signal);

  const endpoint = layout.endpoints.find(({ id }) => id === `kubernetes/${region.name}`);
  if (endpoint === undefined) throw new Error(`the layout has no endpoint kubernetes/${region.name}`);
  const server = createApiServer({
    store,
    token: layout.token,
    tls: {
      certificate: readFileSync(path.join(layout.stateDir, 'tls.crt')),
      key: readFileSync(path.join(layout.stateDir, 'tls.key')),
    },
    nowMs,
    signal,
    onUse: () => markUsed(layout.stateDir),
    log: (line) => context.log(`${region.name}: ${line}`),
    podLog: async (pod, query, requestSignal) => {
      const node = pod.spec.nodeName === undefined ? undefined : store.get(nodes, '', pod.spec.nodeName);
      if (node === undefined)
        throw new ApiError(400, 'BadRequest', `pod ${pod.metadata.name} does not have a host assigned`);
      const { namespace, name } = pod.metadata;
      const url = `/containerLogs/${namespace}/${name}/${query.get('container')}?${query}`;
      return await askNode(layout, region.name, node, url, requestSignal);
    },
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(endpoint.port, '127.0.0.1', resolve);
  });
};

/** Syncs right after a change that matters, and now and then for what only time brings about. */
const runControllers = (store: Store, sync: () => void, everyMs: number, signal: AbortSignal): void => {
  let due = false;
  const soon = (): void => {
    if (due) return;
    due = true;
    setImmediate(() => {
      due = false;
      if (!signal.aborted) sync();
    });
  };
  const concerned: readonly unknown[] = [pods, nodes, deployments];
  store.subscribe(({ resource }) => {
    if (concerned.includes(resource)) soon();
  });
  const ticker = setInterval(soon, everyMs);
  signal.addEventListener('abort', () => clearInterval(ticker), { once: true });
  soon();
};

/** The Kubernetes API of every region: one HTTPS listener each, and the controllers behind it. */
export const component: Component = {
  kind: 'kubernetes',
  async start(context) {
    await Promise.all(context.layout.environment.regions.map((region) => startRegion(context, region)));
    return { clusters: context.layout.environment.regions.length };
  },
};
