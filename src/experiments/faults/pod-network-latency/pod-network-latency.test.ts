import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAwsPorts } from '../../../adapters/aws-client.ts';
import type { Pod, Ports } from '../../../adapters/ports.ts';
import { systemClock } from '../../../core/clock.ts';
import { labEnvironment } from '../../../lab/testing.ts';
import { type AwsStandIn, type StubPod, startAws } from '../../../testing/aws.ts';
import { faultContract } from '../../../testing/fault-contract.ts';
import type { FaultContext } from '../../fault.ts';
import { podNetworkLatency } from './index.ts';

const environment = labEnvironment();
const region = 'us-west-2';
const timeScale = 600;

const stubPods = (): StubPod[] =>
  ['us-west-2a', 'us-west-2b'].flatMap((zone, index) =>
    [0, 1, 2].map((number) => ({
      name: `llm-${zone}-${number}`,
      region,
      zone,
      app: 'llm',
      port: 5000 + 10 * index + number,
    })),
  );

const podOf = ({ name, zone }: StubPod): Pod => ({
  name,
  namespace: 'platform',
  uid: `uid-${name}`,
  resourceVersion: '1',
  node: `node-${zone}`,
  zone,
  labels: { app: 'llm' },
  annotations: {},
  phase: 'Running',
  ready: true,
  deleting: false,
  createdAt: '2026-01-01T00:00:00Z',
  containers: [{ name: 'llm', id: 'lab://1', ready: true, restartCount: 0, startedAt: '2026-01-01T00:00:00Z' }],
});

const contextFor = (aws: AwsStandIn, signal: AbortSignal, more: Partial<FaultContext> = {}): FaultContext => ({
  runId: 'run-1',
  environment,
  timeScale,
  clock: systemClock,
  ports: {
    ...createAwsPorts({ endpoint: aws.endpoint, credentialsFile: aws.credentialsFile, clock: systemClock }),
    kubernetes: () => ({ canI: async () => true, listPods: async () => aws.pods.map(podOf) }),
  } as unknown as Ports,
  signal,
  random: () => 0,
  expiryMs: 12 * 3_600_000,
  ...more,
});

const start = async (): Promise<AwsStandIn> => {
  const aws = await startAws(environment, timeScale);
  aws.pods.push(...stubPods());
  return aws;
};

faultContract(podNetworkLatency.name, async () => {
  const aws = await start();
  const context = (signal: AbortSignal): FaultContext => contextFor(aws, signal);
  return {
    fault: podNetworkLatency,
    params: { workload: 'llm', count: 2 },
    context,
    state: async () => {
      const { ports, signal } = context(AbortSignal.timeout(10_000));
      const templates = await ports.fis(region).listTemplates('blackstart:run', 'run-1', signal);
      return { templates: templates.length, rules: [...aws.rules].sort() };
    },
    discoverable: true,
    stop: async () => aws.stop(),
  };
});

describe('pod.network-latency', () => {
  let aws: AwsStandIn;
  beforeEach(async () => {
    aws = await start();
  });
  afterEach(() => aws.stop());

  it('delays what the chosen pods send, by real time, and loses no capacity beyond them', async () => {
    const context = contextFor(aws, AbortSignal.timeout(50_000));
    const params = { workload: 'llm', count: 2, delay: '750ms' };
    const planned = await podNetworkLatency.plan(params, context);
    expect(planned.map(({ target, blast }) => [target, blast.workloads['llm']])).toEqual([
      [`pod/${region}/platform/llm-us-west-2a-0`, { ready: 6, surviving: 4 }],
      [`pod/${region}/platform/llm-us-west-2a-1`, { ready: 6, surviving: 4 }],
    ]);
    for (const one of planned) await podNetworkLatency.prepare?.(one, params, context);
    expect(aws.rules.size).toBe(0);
    for (const one of planned) await podNetworkLatency.inject(one, params, context);
    expect([...aws.rules.values()].map(({ match, effect }) => ({ match, effect }))).toEqual([
      { match: { fromPod: 'us-west-2a:5000' }, effect: { kind: 'delay', delayMs: 750 } },
      { match: { fromPod: 'us-west-2a:5001' }, effect: { kind: 'delay', delayMs: 750 } },
    ]);
    for (const { undo } of planned) await podNetworkLatency.revert(undo, context);
    expect(aws.rules.size).toBe(0);
  });

  it('is over by itself after its duration', async () => {
    const context = contextFor(aws, AbortSignal.timeout(50_000), { expiryMs: 60_000 });
    const params = { workload: 'llm' };
    const [planned] = await podNetworkLatency.plan(params, context);
    if (planned === undefined) throw new Error('no plan');
    await podNetworkLatency.inject(planned, params, context);
    expect(aws.rules.size).toBe(1);
    while (aws.rules.size > 0) await systemClock.sleep(20, context.signal);
    expect(await podNetworkLatency.isReverted(planned.undo, context)).toEqual({ state: 'reverted' });
  });

  it('refuses a pod that is no more when it comes to it', async () => {
    const context = contextFor(aws, AbortSignal.timeout(50_000));
    const [planned] = await podNetworkLatency.plan({ workload: 'llm' }, context);
    if (planned === undefined) throw new Error('no plan');
    aws.pods.shift();
    await expect(podNetworkLatency.inject(planned, { workload: 'llm' }, context)).rejects.toMatchObject({
      code: 'INJECT_FAILED',
      message: expect.stringContaining('could not resolve'),
    });
    await podNetworkLatency.revert(planned.undo, context);
    expect(aws.rules.size).toBe(0);
  });
});
