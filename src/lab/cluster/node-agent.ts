import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import { regionOfZone, scaled, scaledTimeout, zonePlace } from '../layout.ts';
import { layoutFileOf, mainModule } from '../process.ts';
import { type ClusterClient, ClusterClientError, createClusterClient, follow } from './client.ts';
import type { ContainerHost } from './container.ts';
import { leaseSpec } from './controllers.ts';
import { kubeletVersion } from './discovery-documents.ts';
import { startKubeletServer } from './kubelet-server.ts';
import { nodeLeaseNamespace, type PodObject, regionLabel, timestamp, zoneLabel } from './objects.ts';
import { type PodWorker, startPod } from './pod-worker.ts';
import { watchProcessStates } from './process-truth.ts';
import { createTurns } from './turns.ts';

/** Real milliseconds. Work takes what it takes; these are far above it, and are only met when a link is cut. */
const requestTimeoutMs = 2000;
const retryMs = 50;
const silentMs = 25_000;
const renewalsInFlightMax = 4;
const statusEveryBeats = 5;
/** Processes of one node that start at the same time: more would only take the processor from those that run. */
const startsAtOnceMax = 2;
const startTurnMaxMs = 3000;
/** Beyond this, events are dropped rather than kept in memory while the API cannot be reached. */
const eventsPendingMax = 64;

const nodeNameOf = (zone: string): string => `${zone}-node`;

/** Posts events, best effort: they are for people, and for nobody to wait for. */
const createEventPoster = (client: ClusterClient, node: string, signal: AbortSignal): ContainerHost['event'] => {
  let pending = 0;
  return (pod, type, reason, message) => {
    if (pending >= eventsPendingMax || signal.aborted) return;
    pending += 1;
    const now = timestamp(systemClock.nowMs());
    const { namespace = 'default', name, uid } = pod.metadata;
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${name}.${randomBytes(8).toString('hex')}`, namespace },
      involvedObject: { kind: 'Pod', namespace, name, uid, apiVersion: 'v1' },
      type,
      reason,
      message,
      count: 1,
      firstTimestamp: now,
      lastTimestamp: now,
      source: { component: 'kubelet', host: node },
    };
    client
      .request('POST', `/api/v1/namespaces/${namespace}/events`, { body, timeoutMs: requestTimeoutMs, signal })
      .catch(() => undefined)
      .finally(() => {
        pending -= 1;
      });
  };
};

const hostOf = (context: ComponentContext, zone: string, region: string, client: ClusterClient): ContainerHost => {
  const { layout, options, signal } = context;
  const logFolder = path.join(layout.stateDir, 'logs', 'pods');
  mkdirSync(logFolder, { recursive: true, mode: 0o700 });
  return {
    clock: systemClock,
    program: {
      executable: process.execPath,
      main: options['main'] ?? mainModule,
      layoutFile: layoutFileOf(layout.stateDir),
    },
    region,
    zone,
    logFolder,
    scaled: (documentedMs) => scaled(layout, documentedMs),
    scaledTimeout: (documentedMs) => scaledTimeout(layout, documentedMs),
    newContainerId: () => randomBytes(16).toString('hex'),
    truth: context.truth,
    event: createEventPoster(client, nodeNameOf(zone), signal),
    startTurn: createTurns(startsAtOnceMax, startTurnMaxMs, systemClock),
    onHostProcess: () => undefined,
  };
};

/** Makes the node known, or takes up its old place; again and again until the API answers. */
const register = async (
  client: ClusterClient,
  names: { readonly node: string; readonly zone: string; readonly region: string },
  status: () => Record<string, unknown>,
  signal: AbortSignal,
): Promise<void> => {
  const labels = {
    'kubernetes.io/hostname': names.node,
    'kubernetes.io/os': process.platform,
    'kubernetes.io/arch': process.arch,
    [regionLabel]: names.region,
    [zoneLabel]: names.zone,
  };
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: names.node, labels }, spec: {}, status: status() };
  for (;;) {
    try {
      await client.request('POST', '/api/v1/nodes', { body: node, timeoutMs: requestTimeoutMs, signal });
      return;
    } catch (error) {
      if (error instanceof ClusterClientError && error.status === 409) {
        const url = `/api/v1/nodes/${names.node}/status`;
        await client.request('PATCH', url, { body: { status: status() }, timeoutMs: requestTimeoutMs, signal });
        return;
      }
      if (signal.aborted) throw error;
      await systemClock.sleep(retryMs, signal);
    }
  }
};

/**
 * Renews the node's lease for ever, on a fixed rhythm that does not wait for answers, so that a slow one costs no beat;
 * and says that the node is well after every silence and now and then.
 */
const keepLease = (
  client: ClusterClient,
  node: string,
  status: () => Record<string, unknown>,
  { layout, signal, log }: ComponentContext,
): void => {
  const { leaseRenewal, nodeGracePeriod } = layout.settings.kubernetes;
  const collection = `/apis/coordination.k8s.io/v1/namespaces/${nodeLeaseNamespace}/leases`;
  const durationSeconds = Math.max(1, Math.round(nodeGracePeriod / 1000));
  const timeoutMs = requestTimeoutMs;
  let exists = false;
  let failing = true;
  let inFlight = 0;
  let beats = 0;

  const renew = async (): Promise<void> => {
    const spec = leaseSpec(node, systemClock.nowMs(), durationSeconds);
    if (exists) {
      await client.request('PATCH', `${collection}/${node}`, { body: { spec }, timeoutMs, signal });
    } else {
      const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: node }, spec };
      await client.request('POST', collection, { body, timeoutMs, signal });
      exists = true;
    }
    if (!failing && beats % statusEveryBeats !== 0) return;
    failing = false;
    await client.request('PATCH', `/api/v1/nodes/${node}/status`, { body: { status: status() }, timeoutMs, signal });
  };

  const beat = (): void => {
    beats += 1;
    if (inFlight >= renewalsInFlightMax) return;
    inFlight += 1;
    renew()
      .catch((error: unknown) => {
        if (error instanceof ClusterClientError) exists = error.status === 409 || (exists && error.status !== 404);
        if (!failing && !signal.aborted) log(`the lease could not be renewed: ${String(error)}`);
        failing = true;
      })
      .finally(() => {
        inFlight -= 1;
      });
  };
  const ticker = setInterval(beat, scaled(layout, leaseRenewal));
  signal.addEventListener('abort', () => clearInterval(ticker), { once: true });
  beat();
};

const nodeStatus = (kubeletPort: number): (() => Record<string, unknown>) => {
  const since = timestamp(systemClock.nowMs());
  const ready = { reason: 'KubeletReady', message: 'kubelet is posting ready status', lastTransitionTime: since };
  return () => ({
    conditions: [{ type: 'Ready', status: 'True', ...ready }],
    addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
    nodeInfo: { kubeletVersion, operatingSystem: process.platform, architecture: process.arch },
    daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
  });
};

/** Runs the pods the API binds to this node, and keeps them running while the API cannot be reached. */
const runPods = (context: ComponentContext, host: ContainerHost, client: ClusterClient, node: string): PodRunner => {
  const { signal, log } = context;
  const workers = new Map<string, PodWorker>();
  let hostProcesses = 0;
  let stateWatch: { stop(): void } | undefined;

  const podOf = (pid: number): string | undefined =>
    [...workers.entries()].find(([, worker]) => worker.pids.includes(pid))?.[0];
  const names = new Map<string, string>();

  const podHost: ContainerHost = {
    ...host,
    onHostProcess(running) {
      hostProcesses += running ? 1 : -1;
      if (running && stateWatch === undefined) {
        stateWatch = watchProcessStates(
          () => [...workers.values()].flatMap((worker) => worker.pids),
          (pid, stopped) => {
            const uid = podOf(pid) ?? '';
            context.truth(stopped ? 'process.stopped' : 'process.continued', names.get(uid) ?? '', { pid, uid });
          },
        );
      } else if (hostProcesses === 0) {
        stateWatch?.stop();
        stateWatch = undefined;
      }
    },
  };

  const see = (pod: PodObject): void => {
    const { uid, name, deletionTimestamp } = pod.metadata;
    const known = workers.get(uid);
    if (known !== undefined) {
      known.update(pod);
      return;
    }
    if (pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed') {
      if (deletionTimestamp === undefined) return;
    }
    names.set(uid, name);
    const onFinished = (): void => {
      workers.delete(uid);
      names.delete(uid);
    };
    const worker = startPod(pod, { host: podHost, client, requestTimeoutMs, retryMs, signal, onFinished, log });
    workers.set(uid, worker);
    if (deletionTimestamp !== undefined) worker.update(pod);
  };

  const lose = (uid: string): void => {
    const worker = workers.get(uid);
    worker?.abandon().catch((error: unknown) => log(`pod ${uid}: ${String(error)}`));
  };

  const done = follow<PodObject>(
    client,
    `/api/v1/pods?fieldSelector=${encodeURIComponent(`spec.nodeName=${node}`)}`,
    { timeoutMs: requestTimeoutMs, retryMs, silentMs, signal },
    {
      onList(pods) {
        const there = new Set(pods.map((pod) => pod.metadata.uid));
        for (const uid of workers.keys()) if (!there.has(uid)) lose(uid);
        for (const pod of pods) see(pod);
      },
      onEvent(type, pod) {
        if (type === 'DELETED') lose(pod.metadata.uid);
        else see(pod);
      },
      onTrouble: (error) =>
        log(`the API cannot be followed: ${error instanceof Error ? error.message : String(error)}`),
      sleep: (durationMs, sleepSignal) => systemClock.sleep(durationMs, sleepSignal).catch(() => undefined),
    },
  );
  done.catch((error: unknown) => log(`bug: ${error instanceof Error ? error.stack : String(error)}`));
  return {
    async stop() {
      await Promise.all([...workers.values()].map((worker) => worker.abandon()));
    },
  };
};

interface PodRunner {
  /** Ends every pod of the node. */
  stop(): Promise<void>;
}

/** A zone's node: what a kubelet does, with operating-system processes for containers. */
export const component: Component = {
  kind: 'node-agent',
  async start(context) {
    const { layout, options, signal } = context;
    const zone = options['zone'] ?? '';
    const region = regionOfZone(layout.environment, zone);
    const node = nodeNameOf(zone);
    const client = createClusterClient(layout, zonePlace(zone), region);
    const host = hostOf(context, zone, region, client);
    const kubeletPort = await startKubeletServer({ token: layout.token, logFolder: host.logFolder, signal });
    const status = nodeStatus(kubeletPort);
    await register(client, { node, zone, region }, status, signal);
    keepLease(client, node, status, context);
    const runner = runPods(context, host, client, node);
    context.onStop?.(() => runner.stop());
    return { port: kubeletPort };
  },
};
