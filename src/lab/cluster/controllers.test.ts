import { beforeEach, describe, expect, it } from 'vitest';
import { testLayout } from '../testing.ts';
import { createControllers } from './controllers.ts';
import { initialDeployments } from './initial-objects.ts';
import {
  type Condition,
  conditionOf,
  isReady,
  nodeLeaseNamespace,
  type PodObject,
  timestamp,
  zoneLabel,
} from './objects.ts';
import { deployments, leases, nodes, pods } from './resources.ts';
import { createStore, type Store } from './store.ts';
import { smallEnvironment } from './testing.ts';

const graceMs = 1000;
const evictionMs = 2000;
const returnMs = 300;

/** A region whose time only moves when it is told to, with nodes that do what they are told. */
const createRegion = async () => {
  const environment = smallEnvironment(2);
  const { layout, remove } = await testLayout(environment);
  remove();
  let nowMs = 1_700_000_000_000;
  const store: Store = createStore(() => timestamp(nowMs));
  const controllers = createControllers({
    store,
    times: { nodeGracePeriodMs: graceMs, evictionAfterMs: evictionMs, startupGraceMs: 10_000, returnEveryMs: returnMs },
    monotonicMs: () => nowMs,
    nowMs: () => nowMs,
    log: () => undefined,
  });
  const dead = new Set<string>();
  const zones = environment.regions.flatMap((region) => region.zones.map((zone) => zone.name));
  const [region] = layout.environment.regions;
  if (region === undefined) throw new Error('no region');
  for (const draft of initialDeployments(layout, region)) store.create(deployments, deployments.prepare(draft));

  const ready: Omit<Condition, 'lastTransitionTime'> = { type: 'Ready', status: 'True' };
  const conditions = (): readonly Condition[] => [{ ...ready, lastTransitionTime: timestamp(nowMs) }];
  /** What the zone's node agent does when it can: renew, run what is bound to it, end what is to end. */
  const nodeWork = (zone: string): void => {
    const name = `${zone}-node`;
    const renewTime = String(nowMs);
    if (store.get(nodes, '', name) === undefined) {
      const metadata = { name, labels: { [zoneLabel]: zone } };
      store.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata, spec: {}, status: { conditions: conditions() } });
      const lease = { name, namespace: nodeLeaseNamespace };
      store.create(leases, {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: lease,
        spec: { renewTime },
      });
    }
    store.update(leases, nodeLeaseNamespace, name, (lease) => ({ ...lease, spec: { renewTime } }));
    store.update(nodes, '', name, (node) =>
      isReady(node) ? node : { ...node, status: { ...node.status, conditions: conditions() } },
    );
    for (const pod of store.list(pods, '').filter((one) => one.spec.nodeName === name)) {
      const { namespace = '' } = pod.metadata;
      if (pod.metadata.deletionTimestamp !== undefined) store.remove(pods, namespace, pod.metadata.name);
      else if (!isReady(pod)) {
        store.update(pods, namespace, pod.metadata.name, (now) => ({
          ...now,
          status: { ...now.status, phase: 'Running' as const, conditions: conditions() },
        }));
      }
    }
  };
  /** Lets time pass in small steps. */
  const pass = (durationMs: number): void => {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 50) {
      nowMs += 50;
      for (const zone of zones) if (!dead.has(zone)) nodeWork(zone);
      for (let round = 0; round < 5; round += 1) controllers.sync();
    }
  };
  /** Nobody gets to do anything: then the control plane before everybody else. */
  const stall = (durationMs: number): void => {
    nowMs += durationMs;
    controllers.sync();
  };
  const active = (): readonly PodObject[] =>
    store.list(pods, '').filter((pod) => pod.metadata.deletionTimestamp === undefined);
  const inZone = (zone: string): number => active().filter((pod) => pod.spec.nodeName === `${zone}-node`).length;
  return { store, pass, stall, dead, active, inZone, zones };
};

describe('the control plane', () => {
  let region: Awaited<ReturnType<typeof createRegion>>;
  beforeEach(async () => {
    region = await createRegion();
    region.pass(500);
  });

  it('runs what each zone asks for in that zone', () => {
    expect(region.zones.map(region.inZone)).toEqual([3, 3]);
    expect(region.active().every(isReady)).toBe(true);
    const [one] = region.store.list(deployments, '').filter(({ metadata }) => metadata.name.startsWith('llm'));
    expect(one?.status).toMatchObject({ replicas: 2, readyReplicas: 2, unavailableReplicas: 0 });
  });

  it('replaces a deleted pod in its own zone', () => {
    const [pod] = region.active().filter(({ metadata }) => metadata.name.startsWith('llm-us-west-2a'));
    region.store.remove(pods, 'platform', pod?.metadata.name ?? '');
    region.pass(200);
    expect(region.zones.map(region.inZone)).toEqual([3, 3]);
    expect(region.active().some(({ metadata }) => metadata.uid === pod?.metadata.uid)).toBe(false);
  });

  it('calls a silent node and its pods not ready after the grace period, and not before', () => {
    region.dead.add('us-west-2a');
    const ofNode = () => region.active().filter((pod) => pod.spec.nodeName === 'us-west-2a-node');
    region.pass(graceMs - 100);
    expect(ofNode().every(isReady)).toBe(true);
    region.pass(200);
    const node = region.store.get(nodes, '', 'us-west-2a-node');
    expect(node && conditionOf(node, 'Ready')?.status).toBe('Unknown');
    expect(ofNode().some(isReady)).toBe(false);
    expect(region.inZone('us-west-2b')).toBe(3);
  });

  it('does not count the time in which it was held up itself', () => {
    region.stall(graceMs * 3);
    region.pass(50);
    expect(region.active().every(isReady)).toBe(true);
  });

  it('takes the node back as it was when it is heard again in time', () => {
    const before = new Set(region.active().map(({ metadata }) => metadata.uid));
    region.dead.add('us-west-2a');
    region.pass(graceMs + evictionMs - 300);
    region.dead.delete('us-west-2a');
    region.pass(200);
    expect(new Set(region.active().map(({ metadata }) => metadata.uid))).toEqual(before);
    expect(region.active().every(isReady)).toBe(true);
    expect(region.store.get(nodes, '', 'us-west-2a-node')?.spec.taints).toEqual([]);
  });

  it('replaces its pods in the other zone after the eviction time, and brings them home one by one', () => {
    region.dead.add('us-west-2a');
    region.pass(graceMs + evictionMs + 300);
    expect(region.inZone('us-west-2b')).toBe(6);
    expect(region.inZone('us-west-2a')).toBe(0);
    const ending = region.store.list(pods, '').filter(({ metadata }) => metadata.deletionTimestamp !== undefined);
    expect(ending.map((pod) => pod.spec.nodeName)).toEqual(Array(3).fill('us-west-2a-node'));
    region.dead.delete('us-west-2a');
    const readyLeast: number[] = [];
    for (let round = 0; round < 40; round += 1) {
      region.pass(50);
      readyLeast.push(region.active().filter(isReady).length);
    }
    expect(region.zones.map(region.inZone)).toEqual([3, 3]);
    expect(Math.min(...readyLeast)).toBeGreaterThanOrEqual(6);
  });

  it('scales both ways', () => {
    const scale = (replicas: number): void => {
      region.store.update(deployments, 'platform', 'llm-us-west-2a', (now) => ({
        ...now,
        spec: { ...now.spec, replicas },
      }));
      region.pass(300);
    };
    scale(5);
    expect(region.inZone('us-west-2a')).toBe(6);
    scale(1);
    expect(region.inZone('us-west-2a')).toBe(2);
  });

  it('ends the pods of a deployment that is deleted', () => {
    region.store.remove(deployments, 'platform', 'llm-us-west-2b');
    region.pass(200);
    expect(region.inZone('us-west-2b')).toBe(1);
  });
});
