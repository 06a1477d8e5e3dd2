import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { systemClock } from '../../core/clock.ts';
import type { Environment } from '../../core/environment.ts';
import { writeClientFiles } from '../client-files.ts';
import type { ComponentContext, Truth } from '../component.ts';
import type { LabLayout } from '../layout.ts';
import { labEnvironment, startComponents, testLayout } from '../testing.ts';
import { appendTruth, readTruth } from '../truth.ts';
import { component as kubernetes } from './kubernetes.ts';
import { component as nodeAgent } from './node-agent.ts';
import { timestamp } from './objects.ts';
import { namespaces } from './resources.ts';
import { createApiServer } from './server.ts';
import { createStore, type Store } from './store.ts';

/** A cluster for tests: the real API, node agents and links, and pods that are tiny real processes. */
export interface TestCluster {
  readonly layout: LabLayout;
  /** Path of a kubeconfig with one context per region. */
  readonly kubeconfig: string;
  truth(): readonly Truth[];
  log(): readonly string[];
  /** Stops pods, agents and API, and removes the state folder. */
  stop(): Promise<void>;
}

const stopWithinMs = 10_000;

/** The documented platform cut down to its primary region with few pods, and with constants that tests count on. */
export const smallEnvironment = (llmPodsPerZone = 2): Environment => {
  // Billing needs a second region.
  const { billing: _billing, ...environment } = labEnvironment();
  const [region] = environment.regions;
  if (region === undefined) throw new Error('the environment has no region');
  const zones = region.zones.map((zone) => ({
    ...zone,
    pods: { gateway: 1, orchestrator: 0, rag: 0, llm: llmPodsPerZone },
  }));
  return { ...environment, regions: [{ ...region, zones }], lab: briskLab(environment.lab) };
};

/** Short constants, whatever the shipped environment has: these tests look at rules, not at how long they take. */
const briskLab = (lab: Environment['lab']): Environment['lab'] => {
  if (lab === undefined) return undefined;
  const liveness = { period: 2000, failures: 3, timeout: 1000 };
  const readiness = { period: 3000, failures: 1, timeout: 1000 };
  return {
    ...lab,
    timeoutFloor: 100,
    llm: { ...lab.llm, liveness, readiness },
    kubernetes: { ...lab.kubernetes, evictionAfter: 60_000 },
  };
};

/** Starts links, the API of every region, and the agents of the zones named (all of them by default). */
export const startCluster = async (
  environment: Environment,
  options: { readonly timeScale?: number; readonly zones?: readonly string[] } = {},
): Promise<TestCluster> => {
  const links = await startComponents(environment, ['links'], { timeScale: options.timeScale ?? 30 });
  const { layout } = links;
  writeClientFiles(layout);
  const controller = new AbortController();
  const lines: string[] = [];
  const stopWork: (() => Promise<void>)[] = [];
  const context = (componentOptions: Record<string, string>): ComponentContext => ({
    layout,
    options: componentOptions,
    signal: controller.signal,
    log: (line) => lines.push(line),
    truth: (event, subject, detail) => appendTruth(layout.stateDir, event, subject, detail),
    onStop: (work) => stopWork.push(work),
  });
  await kubernetes.start(context({}));
  const main = path.join(import.meta.dirname, 'fixtures', 'pod-main.mjs');
  const zones = environment.regions.flatMap((region) => region.zones.map((zone) => zone.name));
  const wanted = options.zones ?? zones;
  await Promise.all(wanted.map((zone) => nodeAgent.start(context({ zone, main }))));
  return {
    layout,
    kubeconfig: path.join(layout.stateDir, 'kubeconfig'),
    truth: () => readTruth(layout.stateDir),
    log: () => lines,
    async stop() {
      controller.abort(new Error('the test is over'));
      await Promise.race([
        Promise.all(stopWork.map((work) => work())),
        new Promise((_, reject) => setTimeout(() => reject(new Error('the pods do not stop')), stopWithinMs).unref()),
      ]);
      await links.stop();
    },
  };
};

/** One cluster's API without anybody behind it, for tests: objects stay as they are made. */
export interface TestApi {
  readonly store: Store;
  readonly port: number;
  readonly token: string;
  readonly ca: Buffer;
  /** Path of a kubeconfig with the context `test`. */
  readonly kubeconfig: string;
  kubeconfigText(bearer?: string): string;
  /** How often somebody outside the lab has asked. */
  uses(): number;
  /** Breaks every connection. */
  disconnect(): void;
  stop(): Promise<void>;
}

const apiToken = 'secret-token';

export const startApi = async (): Promise<TestApi> => {
  const { layout, remove } = await testLayout(smallEnvironment());
  const store: Store = createStore(() => timestamp(systemClock.nowMs()), { changesKept: 50 });
  for (const name of ['default', 'platform']) {
    store.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  }
  const stopping = new AbortController();
  const read = (name: string): Buffer => readFileSync(path.join(layout.stateDir, name));
  const uses: number[] = [];
  const server = createApiServer({
    store,
    token: apiToken,
    tls: { certificate: read('tls.crt'), key: read('tls.key') },
    nowMs: systemClock.nowMs,
    signal: stopping.signal,
    podLog: async (pod, query) => Buffer.from(`log of ${pod.metadata.name} ${query.get('container')}\n`),
    onUse: () => uses.push(1),
    log: (line) => {
      throw new Error(line);
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const kubeconfig = path.join(layout.stateDir, 'kubeconfig');
  const config = (bearer: string): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      clusters: [
        {
          name: 'test',
          cluster: {
            server: `https://127.0.0.1:${port}`,
            'certificate-authority-data': read('ca.pem').toString('base64'),
          },
        },
      ],
      users: [{ name: 'test', user: { token: bearer } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace: 'platform' } }],
    });
  writeFileSync(kubeconfig, config(apiToken));
  return {
    store,
    port,
    kubeconfig,
    uses: () => uses.length,
    kubeconfigText: (bearer = apiToken) => config(bearer),
    token: apiToken,
    disconnect: () => server.closeAllConnections(),
    ca: read('ca.pem'),
    stop: async () => {
      stopping.abort(new Error('the test is over'));
      server.closeAllConnections();
      remove();
    },
  };
};
