import { randomSuffix } from './api.ts';
import { type ControllerOptions, isActive, recordEvent, terminate } from './controller-actions.ts';
import { nodeLifecycle } from './node-lifecycle.ts';
import {
  type Condition,
  type DeploymentObject,
  initialAnnotation,
  isReady,
  microTimestamp,
  type NodeObject,
  type PodObject,
  timestamp,
  withCondition,
  zoneLabel,
} from './objects.ts';
import { deployments, nodes, pods } from './resources.ts';
import { parseLabelSelector } from './selectors.ts';
import type { Store } from './store.ts';

export interface Controllers {
  /** Brings the cluster one step nearer to what its objects ask for. Cheap when there is nothing to do. */
  sync(): void;
}

const zoneOf = (node: NodeObject | undefined): string | undefined => node?.metadata.labels?.[zoneLabel];

const homeZoneOf = (spec: PodObject['spec']): string | undefined =>
  spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution
    ?.flatMap(({ preference }) => preference.matchExpressions ?? [])
    .find(({ key }) => key === zoneLabel)?.values?.[0];

const usable = (node: NodeObject): boolean =>
  isReady(node) && node.spec.unschedulable !== true && (node.spec.taints ?? []).length === 0;

const ownedBy = (pod: PodObject, uid: string): boolean =>
  (pod.metadata.ownerReferences ?? []).some((owner) => owner.uid === uid && owner.controller === true);

/** Replacing pods, scheduling, and noticing dead nodes: what the real control plane does, in three small loops. */
export const createControllers = (options: ControllerOptions): Controllers => {
  const lifecycle = nodeLifecycle(options);
  const schedule = scheduler(options);
  const replicate = deploymentController(options);
  return {
    sync() {
      lifecycle();
      collectOrphans(options.store, options.nowMs());
      replicate();
      schedule();
    },
  };
};

/** Pods whose owner is gone go too. */
const collectOrphans = (store: Store, nowMs: number): void => {
  const owners = new Set(store.list(deployments, '').map((deployment) => deployment.metadata.uid));
  for (const pod of store.list(pods, '')) {
    const owner = pod.metadata.ownerReferences?.find(({ kind }) => kind === 'Deployment');
    if (owner !== undefined && !owners.has(owner.uid) && isActive(pod)) terminate(store, pod, nowMs);
  }
};

/** Binds pods to nodes: what the selector demands; of those the preferred zone while its node can take pods. */
const scheduler = ({ store, nowMs, monotonicMs, times }: ControllerOptions): (() => void) => {
  const complained = new Set<string>();
  const firstSeenMs = new Map<string, number>();

  const choose = (pod: PodObject): NodeObject | undefined => {
    const demanded = parseLabelSelector(
      Object.entries(pod.spec.nodeSelector ?? {})
        .map(([key, value]) => `${key}=${value}`)
        .join(','),
    );
    const all = store.list(nodes, '').filter((node) => demanded(node.metadata.labels ?? {}));
    const home = homeZoneOf(pod.spec);
    const homeNodes = all.filter((node) => zoneOf(node) === home);
    const candidates = all.filter(usable);
    const preferred = candidates.filter((node) => zoneOf(node) === home);
    if (preferred.length > 0) return leastLoaded(preferred);
    // At the start the home zone's node is about to register: its pods are not strewn over the others meanwhile.
    const waitedMs = monotonicMs() - (firstSeenMs.get(pod.metadata.uid) ?? monotonicMs());
    if (home !== undefined && homeNodes.length === 0 && waitedMs < times.startupGraceMs) return undefined;
    return leastLoaded(candidates);
  };

  const leastLoaded = (candidates: readonly NodeObject[]): NodeObject | undefined => {
    const load = (node: NodeObject): number =>
      store.list(pods, '').filter((pod) => pod.spec.nodeName === node.metadata.name && isActive(pod)).length;
    return candidates.length < 2 ? candidates[0] : candidates.toSorted((left, right) => load(left) - load(right))[0];
  };

  return () => {
    for (const pod of store.list(pods, '')) {
      if (pod.spec.nodeName !== undefined || !isActive(pod)) continue;
      const { uid, name, namespace = '' } = pod.metadata;
      if (!firstSeenMs.has(uid)) firstSeenMs.set(uid, monotonicMs());
      const node = choose(pod);
      if (node === undefined) {
        const waitedMs = monotonicMs() - (firstSeenMs.get(uid) ?? 0);
        if (complained.has(uid) || waitedMs < times.startupGraceMs) continue;
        complained.add(uid);
        const message = `0/${store.list(nodes, '').length} nodes are available`;
        recordEvent(store, nowMs(), pod, {
          type: 'Warning',
          reason: 'FailedScheduling',
          message,
          from: 'default-scheduler',
        });
        continue;
      }
      firstSeenMs.delete(uid);
      complained.delete(uid);
      const scheduled = { type: 'PodScheduled', status: 'True' as const };
      store.update(pods, namespace, name, (current) => ({
        ...current,
        spec: { ...current.spec, nodeName: node.metadata.name },
        status: {
          ...current.status,
          conditions: withCondition(current.status.conditions, scheduled, timestamp(nowMs())),
        },
      }));
      const message = `Successfully assigned ${namespace}/${name} to ${node.metadata.name}`;
      recordEvent(store, nowMs(), pod, { type: 'Normal', reason: 'Scheduled', message, from: 'default-scheduler' });
    }
  };
};

/**
 * Keeps as many pods as a Deployment asks for. Pods that stand in for another zone are not counted once that zone can
 * take its own again: those are started there first, and the stand-ins go one by one as they become ready.
 */
const deploymentController = ({ store, times, monotonicMs, nowMs }: ControllerOptions): (() => void) => {
  const returnedAtMs = new Map<string, number>();

  const nodeOf = (pod: PodObject): NodeObject | undefined =>
    pod.spec.nodeName === undefined ? undefined : store.get(nodes, '', pod.spec.nodeName);

  const started = new Set<string>();

  const create = (deployment: DeploymentObject): void => {
    const { name, namespace = '', uid } = deployment.metadata;
    const initial = !started.has(uid) && deployment.metadata.annotations?.[initialAnnotation] === 'true';
    const { metadata, spec } = deployment.spec.template;
    store.create(
      pods,
      pods.prepare({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name: `${name}-${randomSuffix()}`,
          namespace,
          generateName: `${name}-`,
          labels: metadata?.labels ?? {},
          annotations: { ...metadata?.annotations, ...(initial ? { [initialAnnotation]: 'true' } : {}) },
          ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name, uid, controller: true }],
        },
        spec,
        status: { phase: 'Pending' },
      }),
    );
  };

  /** The least useful first: not ready, then the youngest. */
  const byWorth = (left: PodObject, right: PodObject): number =>
    Number(isReady(left)) - Number(isReady(right)) ||
    right.metadata.creationTimestamp.localeCompare(left.metadata.creationTimestamp);

  const balance = (deployment: DeploymentObject, active: readonly PodObject[]): void => {
    const { replicas, template } = deployment.spec;
    const home = homeZoneOf(template.spec);
    const homeUsable = store.list(nodes, '').some((node) => zoneOf(node) === home && usable(node));
    const standsIn = (pod: PodObject): boolean =>
      homeUsable && nodeOf(pod) !== undefined && zoneOf(nodeOf(pod)) !== home;
    const own = active.filter((pod) => !standsIn(pod));
    const others = active.filter(standsIn);
    for (let missing = replicas - own.length; missing > 0; missing -= 1) create(deployment);
    started.add(deployment.metadata.uid);
    for (const pod of own.toSorted(byWorth).slice(0, Math.max(0, own.length - replicas)))
      terminate(store, pod, nowMs());
    const spare = own.filter(isReady).length + others.length - replicas;
    const { uid } = deployment.metadata;
    const waitedMs = monotonicMs() - (returnedAtMs.get(uid) ?? Number.NEGATIVE_INFINITY);
    const [leaving] = others.toSorted(byWorth);
    if (leaving !== undefined && spare > 0 && waitedMs >= times.returnEveryMs) {
      returnedAtMs.set(uid, monotonicMs());
      terminate(store, leaving, nowMs());
    }
  };

  const publish = (deployment: DeploymentObject, active: readonly PodObject[]): void => {
    const { name, namespace = '', generation = 1 } = deployment.metadata;
    const ready = active.filter(isReady).length;
    const { replicas } = deployment.spec;
    const now = timestamp(nowMs());
    const available: Omit<Condition, 'lastTransitionTime'> = {
      type: 'Available',
      status: ready >= replicas ? 'True' : 'False',
      reason: ready >= replicas ? 'MinimumReplicasAvailable' : 'MinimumReplicasUnavailable',
    };
    store.update(deployments, namespace, name, (current) => ({
      ...current,
      status: {
        observedGeneration: generation,
        replicas: active.length,
        updatedReplicas: active.length,
        readyReplicas: ready,
        availableReplicas: ready,
        unavailableReplicas: Math.max(0, replicas - ready),
        conditions: withCondition(current.status.conditions, available, now),
      },
    }));
  };

  return () => {
    const all = store.list(pods, '').filter(isActive);
    for (const deployment of store.list(deployments, '')) {
      balance(
        deployment,
        all.filter((pod) => ownedBy(pod, deployment.metadata.uid)),
      );
      const now = store.list(pods, deployment.metadata.namespace ?? '').filter(isActive);
      publish(
        deployment,
        now.filter((pod) => ownedBy(pod, deployment.metadata.uid)),
      );
    }
  };
};

/** The lease a node renews to say that it is alive. */
export const leaseSpec = (node: string, nowMs: number, durationSeconds: number): Record<string, unknown> => ({
  holderIdentity: node,
  leaseDurationSeconds: durationSeconds,
  renewTime: microTimestamp(nowMs),
});
