import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAwsPorts } from '../../../adapters/aws-client.ts';
import { createKubernetesPort } from '../../../adapters/kubernetes.ts';
import type { Pod, Ports } from '../../../adapters/ports.ts';
import { poll, systemClock } from '../../../core/clock.ts';
import { smallEnvironment, startCluster, type TestCluster } from '../../../lab/cluster/testing.ts';
import { egressAgent, fetchText, podHost } from '../../../lab/platform/http.ts';
import { type ComponentProcess, startComponent } from '../../../lab/process.ts';
import type { FaultContext } from '../../fault.ts';
import { podNetworkLatency } from './index.ts';

const environment = smallEnvironment(2);
const timeScale = 60;
const delayMs = 400;

let cluster: TestCluster;
let aws: ComponentProcess;
let ports: Ports;

beforeAll(async () => {
  cluster = await startCluster(environment, { timeScale });
  const { layout, kubeconfig } = cluster;
  aws = startComponent({ stateDir: layout.stateDir, name: 'aws', kind: 'aws', options: {} });
  await aws.ready;
  const credentialsFile = path.join(layout.stateDir, 'test-credentials');
  const keys = `aws_access_key_id = ${layout.awsAccessKeyId}\naws_secret_access_key = ${layout.token}\n`;
  writeFileSync(credentialsFile, `[default]\n${keys}`, { mode: 0o600 });
  const endpoint = `http://127.0.0.1:${layout.control.aws}`;
  const kubernetes = createKubernetesPort({ kubeconfig, context: 'us-west-2', clock: systemClock });
  ports = {
    ...createAwsPorts({ endpoint, credentialsFile, clock: systemClock }),
    kubernetes: () => kubernetes,
  } as unknown as Ports;
});
afterAll(async () => {
  await aws?.stop();
  await cluster?.stop();
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

const podsOf = (app: string): Promise<readonly Pod[]> =>
  poll(systemClock, 50, AbortSignal.timeout(30_000), async () => {
    const pods = await ports.kubernetes('').listPods('platform', `app=${app}`, AbortSignal.timeout(5000));
    return pods.length > 0 && pods.every(({ ready }) => ready) ? pods : undefined;
  });

/** How long a pod takes to answer over the links, on one connection that is kept. */
const askerOf = (pod: Pod): (() => Promise<number>) => {
  const agent = egressAgent(cluster.layout, 'operator', 10_000);
  const port = Number(pod.annotations['lab.blackstart.dev/port']);
  const target = { agent, host: podHost(pod.zone ?? ''), port, method: 'GET', path: '/healthz', headMs: 10_000 };
  return async () => {
    const startMs = systemClock.monotonicMs();
    await fetchText(target);
    return systemClock.monotonicMs() - startMs;
  };
};

describe('pod.network-latency on real links and pods', () => {
  it('makes exactly the chosen pod late, also on connections that stand, until it is reverted', async () => {
    const pods = await podsOf('llm');
    const context = contextFor('slow');
    const params = { workload: 'llm', delay: `${delayMs}ms` };
    const [planned] = await podNetworkLatency.plan(params, context);
    const chosen = pods.find(({ name }) => planned?.target.endsWith(name) === true);
    const other = pods.find((pod) => pod !== chosen && pod.zone === chosen?.zone);
    if (planned === undefined || chosen === undefined || other === undefined) throw new Error('no plan');
    const ask = askerOf(chosen);
    const askOther = askerOf(other);
    await ask();
    await askOther();
    expect(await ask()).toBeLessThan(delayMs);

    await podNetworkLatency.prepare?.(planned, params, context);
    await podNetworkLatency.inject(planned, params, context);
    expect(await podNetworkLatency.bites(planned, context)).toContain('aws:eks:pod-network-latency');
    const tookMs = await ask();
    expect(tookMs).toBeGreaterThanOrEqual(delayMs - 5);
    expect(tookMs).toBeLessThan(2 * delayMs);
    expect(await askOther()).toBeLessThan(delayMs);

    await podNetworkLatency.revert(planned.undo, context);
    expect(await podNetworkLatency.isReverted(planned.undo, context)).toEqual({ state: 'reverted' });
    expect(await ask()).toBeLessThan(delayMs);
  });

  it('ends by itself after the duration when nobody is left', async () => {
    await podsOf('llm');
    const context = contextFor('expires', 60_000);
    const params = { workload: 'llm', delay: `${delayMs}ms` };
    const [planned] = await podNetworkLatency.plan(params, context);
    if (planned === undefined) throw new Error('no plan');
    const startMs = systemClock.monotonicMs();
    await podNetworkLatency.inject(planned, params, context);
    await poll(systemClock, 50, AbortSignal.timeout(20_000), async () =>
      (await podNetworkLatency.isReverted(planned.undo, context)).state === 'reverted' ? true : undefined,
    );
    expect(systemClock.monotonicMs() - startMs).toBeGreaterThan(60_000 / timeScale);
    const removed = cluster
      .truth()
      .filter(({ event, subject }) => event === 'link.rule-removed' && subject.includes('pod'));
    expect(removed.length).toBeGreaterThan(0);
    await podNetworkLatency.revert(planned.undo, context);
  });
});
