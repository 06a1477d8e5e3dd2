import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubernetesPort } from '../../adapters/kubernetes.ts';
import type { KubernetesPort, Pod, Ports } from '../../adapters/ports.ts';
import { systemClock } from '../../core/clock.ts';
import type { Environment } from '../../core/environment.ts';
import { smallEnvironment, startCluster, type TestCluster } from '../../lab/cluster/testing.ts';
import { faultContract } from '../../testing/fault-contract.ts';
import type { Fault, FaultContext, Planned } from '../fault.ts';
import { podHang } from './pod-hang/index.ts';
import { podKill } from './pod-kill/index.ts';

const timeScale = 30;
const withinMs = 30_000;

interface World {
  readonly cluster: TestCluster;
  readonly port: KubernetesPort;
  readonly environment: Environment;
  context(more?: Partial<FaultContext>): FaultContext;
  pods(): Promise<readonly Pod[]>;
}

const until = async <T>(what: string, look: () => Promise<T | undefined>): Promise<T> => {
  const lastMs = systemClock.monotonicMs() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (systemClock.monotonicMs() > lastMs) throw new Error(`${what} did not happen`);
    await systemClock.sleep(20);
  }
};

const startWorld = async (): Promise<World> => {
  const environment = smallEnvironment(3);
  const cluster = await startCluster(environment, { timeScale });
  const port = createKubernetesPort({ kubeconfig: cluster.kubeconfig, context: 'us-west-2', clock: systemClock });
  // Faults on pods use nothing but Kubernetes.
  const ports = { kubernetes: () => port } as unknown as Ports;
  const pods = (): Promise<readonly Pod[]> => port.listPods('platform', 'app=llm', AbortSignal.timeout(withinMs));
  await until('six ready pods', async () =>
    (await pods()).filter((pod) => pod.ready).length === 6 ? true : undefined,
  );
  return {
    cluster,
    port,
    environment,
    pods,
    context: (more) => ({
      runId: 'run-1',
      environment,
      timeScale,
      clock: systemClock,
      ports,
      signal: AbortSignal.timeout(withinMs),
      random: () => 0.5,
      expiryMs: 20 * 60_000,
      ...more,
    }),
  };
};

const exampleOf = async (fault: Fault, params: Record<string, unknown>) => {
  const world = await startWorld();
  return {
    fault,
    params,
    context: (signal: AbortSignal) => world.context({ signal }),
    state: async () => {
      const pods = await world.port.listPods('platform', '', AbortSignal.timeout(withinMs));
      return pods
        .filter((pod) => !pod.deleting)
        .map(({ labels, ready, zone, phase }) => ({ labels, ready, zone, phase }))
        .toSorted((left, right) => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1));
    },
    discoverable: fault.name === 'pod.hang',
    stop: () => world.cluster.stop(),
  };
};

faultContract('pod.kill', () => exampleOf(podKill, { workload: 'llm', count: 2 }));
faultContract('pod.hang', () => exampleOf(podHang, { workload: 'llm', zone: 'primary', count: 2 }));

describe('faults on pods', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld();
  }, withinMs * 2);
  afterAll(() => world.cluster.stop(), withinMs);

  /** Injects one fault; its bracket is what a run would call the instant it became effective. */
  const strike = async (fault: Fault, params: Record<string, unknown>, context = world.context()) => {
    const [planned] = (await fault.plan(params, context)) as readonly Planned<{ pod: string; uid: string }>[];
    if (planned === undefined) throw new Error('nothing was planned');
    const minMs = systemClock.monotonicMs();
    await fault.inject(planned, params, context);
    const evidence = await until('the proof', () => fault.bites(planned, context));
    return { planned, evidence, minMs, maxMs: systemClock.monotonicMs() };
  };
  const truthOf = (uid: string, event: string): readonly number[] =>
    world.cluster
      .truth()
      .filter((truth) => truth.event === event && truth['uid'] === uid)
      .map((truth) => truth.atMs);
  const backAgain = (fault: Fault, undo: unknown) =>
    until('the way back', async () =>
      (await fault.isReverted(undo, world.context())).state === 'reverted' ? true : undefined,
    );

  it('pod.kill: the proof brackets the instant the process died, and another pod takes its place', async () => {
    const before = new Set((await world.pods()).map((pod) => pod.uid));
    const { planned, evidence, minMs, maxMs } = await strike(podKill, { workload: 'llm' });
    expect(evidence).toContain('its node killed it');
    const [died] = truthOf(planned.undo.uid, 'process.exited');
    expect(died).toBeGreaterThan(minMs);
    expect(died).toBeLessThan(maxMs);
    await backAgain(podKill, planned.undo);
    const after = await world.pods();
    expect(after.filter((pod) => !before.has(pod.uid))).toHaveLength(1);
    expect(after.some((pod) => pod.uid === planned.undo.uid)).toBe(false);
  });

  it('pod.hang: the proof brackets the stop, liveness finds it and the container is started again', async () => {
    const { planned, minMs, maxMs } = await strike(podHang, { workload: 'llm' });
    const { uid, pod: name } = planned.undo;
    const [stopped = 0] = await until('the truth', async () => {
      const found = truthOf(uid, 'process.stopped');
      return found.length > 0 ? found : undefined;
    });
    // The lab looks every few milliseconds: the stop itself was before it was seen.
    expect(stopped).toBeGreaterThan(minMs);
    expect(stopped).toBeLessThan(maxMs + 20);
    const pod = await until('a restart', async () => {
      const now = await world.port.getPod('platform', name, AbortSignal.timeout(withinMs));
      return now?.ready === true && now.containers[0]?.restartCount === 1 ? now : undefined;
    });
    expect(pod.uid).toBe(uid);
    await podHang.revert(planned.undo, world.context());
    await backAgain(podHang, planned.undo);
  });

  it('pod.hang: a helper that nobody takes away ends by itself, and the process goes on', async () => {
    // Liveness would restart it first: with a short hold the process is the same before and after.
    const params = { workload: 'llm', for: '3s' };
    const { planned } = await strike(podHang, params);
    await until('the truth', async () => {
      const found = truthOf(planned.undo.uid, 'process.continued');
      return found.length > 0 ? found : undefined;
    });
    const expired = await strike(podHang, { workload: 'llm' }, world.context({ runId: 'run-2', expiryMs: 40_000 }));
    await until('the deadline', async () => {
      const helpers = await world.port.listPods('platform', 'blackstart.dev/run=run-2', AbortSignal.timeout(withinMs));
      return helpers[0]?.phase === 'Failed' ? true : undefined;
    });
    expect(truthOf(expired.planned.undo.uid, 'process.continued').length).toBeGreaterThan(0);
    for (const undo of [planned.undo, expired.planned.undo]) {
      await podHang.revert(undo, world.context());
      await backAgain(podHang, undo);
    }
  });

  it('pod.hang: a process left stopped by a helper that was killed is continued by the revert', async () => {
    const { planned } = await strike(podHang, { workload: 'llm' }, world.context({ timeScale: 1 }));
    const helper = planned.undo as unknown as { readonly helper: string };
    const found = await world.port.getPod('platform', helper.helper, AbortSignal.timeout(withinMs));
    if (found === undefined) throw new Error('there is no helper');
    // Without grace its trap does not run.
    const options = { uid: found.uid, gracePeriodSeconds: 0 };
    await world.port.deletePod('platform', helper.helper, options, AbortSignal.timeout(withinMs));
    await podHang.revert(planned.undo, world.context());
    await backAgain(podHang, planned.undo);
  });

  it('refuses what cannot be meant', async () => {
    const plan = async (params: Record<string, unknown>) => podKill.plan(params, world.context());
    await expect(plan({})).rejects.toThrow(/either a workload or a selector/);
    await expect(plan({ workload: 'llm', selector: 'app=llm' })).rejects.toThrow(/either a workload or a selector/);
    await expect(plan({ workload: 'nope' })).rejects.toThrow(/no workload "nope"/);
    await expect(plan({ workload: 'llm', count: 50 })).rejects.toThrow(/50 ready pods of llm are wanted/);
    await expect(plan({ workload: 'llm', zone: 'moon-1' })).rejects.toThrow(/no zone "moon-1"/);
    await expect(plan({ selector: 'app=unheard-of' })).rejects.toThrow(/0 are there/);
  });

  it('names what a workload loses and what survives', async () => {
    const planned = await podKill.plan({ workload: 'llm', count: 2 }, world.context());
    expect(planned.map(({ blast }) => blast)).toEqual(
      Array(2).fill({ pods: 1, zones: [], regions: [], workloads: { llm: { ready: 6, surviving: 4 } } }),
    );
    expect(new Set(planned.map(({ target }) => target)).size).toBe(2);
  });
});
