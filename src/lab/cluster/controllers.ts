import { randomSuffix } from './api.ts';
import {
  type Condition,
  type DeploymentObject,
  type EventObject,
  initialAnnotation,
  isReady,
  microTimestamp,
  type NodeObject,
  nodeLeaseNamespace,
  type PodObject,
  timestamp,
  withCondition,
  zoneLabel,
} from './objects.ts';
import { deployments, events, leases, nodes, pods } from './resources.ts';
import { parseLabelSelector } from './selectors.ts';
import type { Store } from './store.ts';

/** Real milliseconds: the documented constants, divided by the time scale. */
export interface ControllerTimes {
  readonly nodeGracePeriodMs: number;
  readonly evictionAfterMs: number;
  /** Between two pods that are taken away from a zone they only stood in for. */
  readonly returnEveryMs: number;
}

export interface ControllerOptions {
  readonly store: Store;
  readonly times: ControllerTimes;
  readonly monotonicMs: () => number;
  readonly nowMs: () => number;
  log(line: string): void;
}

export interface Controllers {
  /** Brings the cluster one step nearer to what its objects ask for. Cheap when there is nothing to do. */
  sync(): void;
}

const unreachableTaint = 'node.kubernetes.io/unreachable';

const zoneOf = (node: NodeObject | undefined): string | undefined => node?.metadata.labels?.[zoneLabel];

const homeZoneOf = (spec: PodObject['spec']): string | undefined =>
  spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution
    ?.flatMap(({ preference }) => preference.matchExpressions ?? [])
    .find(({ key }) => key === zoneLabel)?.values?.[0];

const usable = (node: NodeObject): boolean =>
  isReady(node) && node.spec.unschedulable !== true && (node.spec.taints ?? []).length === 0;

const isActive = (pod: PodObject): boolean =>
  pod.metadata.deletionTimestamp === undefined && pod.status.phase !== 'Succeeded' && pod.status.phase !== 'Failed';

const ownedBy = (pod: PodObject, uid: string): boolean =>
  (pod.metadata.ownerReferences ?? []).some((owner) => owner.uid === uid && owner.controller === true);

/** The real server forgets events after an hour; here the newest stay. */
const eventsKept = 500;
const byLastSeen = (left: EventObject, right: EventObject): number =>
  (left.lastTimestamp ?? '').localeCompare(right.lastTimestamp ?? '');

/** An event about an object; the same one again is counted instead. */
export const recordEvent = (
  store: Store,
  nowMs: number,
  about: PodObject | NodeObject,
  event: {
    readonly type: 'Normal' | 'Warning';
    readonly reason: string;
    readonly message: string;
    readonly from: string;
  },
): void => {
  const now = timestamp(nowMs);
  const namespace = about.metadata.namespace ?? 'default';
  const { name, uid } = about.metadata;
  const same = store
    .list(events, namespace)
    .find((one) => one.involvedObject.uid === uid && one.reason === event.reason && one.message === event.message);
  if (same !== undefined) {
    const count = (same.count ?? 1) + 1;
    store.update(events, namespace, same.metadata.name, (current) => ({ ...current, count, lastTimestamp: now }));
    return;
  }
  const [oldest] = store.list(events, namespace).toSorted(byLastSeen).slice(0, -eventsKept);
  if (oldest !== undefined) store.remove(events, namespace, oldest.metadata.name);
  store.create(events, {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: `${name}.${randomSuffix()}${randomSuffix()}`, namespace },
    involvedObject: { kind: about.kind, name, namespace, uid },
    type: event.type,
    reason: event.reason,
    message: event.message,
    count: 1,
    firstTimestamp: now,
    lastTimestamp: now,
    source: { component: event.from },
  });
};

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

/** Marks a pod for its node to end gracefully; one that no node runs goes at once. */
const terminate = (store: Store, pod: PodObject, nowMs: number): void => {
  const { namespace = '', name } = pod.metadata;
  if (pod.spec.nodeName === undefined) {
    store.remove(pods, namespace, name);
    return;
  }
  const graceSeconds = pod.spec.terminationGracePeriodSeconds ?? 30;
  const deletionTimestamp = timestamp(nowMs + graceSeconds * 1000);
  store.update(pods, namespace, name, (current) => ({
    ...current,
    metadata: { ...current.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds },
  }));
};

/**
 * A node that stops renewing its lease is NotReady after the grace period, and so are its pods; after the eviction time
 * its pods are deleted, and stay Terminating until the node can be asked. As in the real one, a lease's age is counted
 * from when its last change was *seen*, never from the node's own clock.
 */
const nodeLifecycle = ({ store, times, monotonicMs, nowMs, log }: ControllerOptions): (() => void) => {
  const seen = new Map<string, { readonly revision: string; readonly atMs: number }>();
  const lostAtMs = new Map<string, number>();

  const setReady = (node: NodeObject, condition: Omit<Condition, 'lastTransitionTime'>): void => {
    const now = timestamp(nowMs());
    store.update(nodes, '', node.metadata.name, (current) => ({
      ...current,
      spec: {
        ...current.spec,
        taints: [
          ...(current.spec.taints ?? []).filter(({ key }) => key !== unreachableTaint),
          ...(condition.status === 'True' ? [] : [{ key: unreachableTaint, effect: 'NoExecute', timeAdded: now }]),
        ],
      },
      status: { ...current.status, conditions: withCondition(current.status.conditions, condition, now) },
    }));
  };

  const lose = (node: NodeObject): void => {
    const { name } = node.metadata;
    log(`node ${name} stopped renewing its lease: NotReady`);
    lostAtMs.set(name, monotonicMs());
    const message = 'Kubelet stopped posting node status.';
    setReady(node, { type: 'Ready', status: 'Unknown', reason: 'NodeStatusUnknown', message });
    recordEvent(store, nowMs(), node, {
      type: 'Normal',
      reason: 'NodeNotReady',
      message: `Node ${name} status is now: NodeNotReady`,
      from: 'node-controller',
    });
    const now = timestamp(nowMs());
    for (const pod of store.list(pods, '').filter((one) => one.spec.nodeName === name && isReady(one))) {
      store.update(pods, pod.metadata.namespace ?? '', pod.metadata.name, (current) => ({
        ...current,
        status: {
          ...current.status,
          conditions: withCondition(
            current.status.conditions,
            { type: 'Ready', status: 'False', reason: 'NodeNotReady' },
            now,
          ),
        },
      }));
    }
  };

  const evict = (name: string): void => {
    for (const pod of store.list(pods, '').filter((one) => one.spec.nodeName === name && isActive(one))) {
      const message = `Marking for deletion Pod ${pod.metadata.namespace}/${pod.metadata.name}`;
      recordEvent(store, nowMs(), pod, {
        type: 'Normal',
        reason: 'TaintManagerEviction',
        message,
        from: 'taint-eviction-controller',
      });
      terminate(store, pod, nowMs());
    }
  };

  return () => {
    for (const node of store.list(nodes, '')) {
      const { name } = node.metadata;
      const revision = store.get(leases, nodeLeaseNamespace, name)?.metadata.resourceVersion ?? '';
      const before = seen.get(name);
      if (before === undefined || before.revision !== revision) {
        seen.set(name, { revision, atMs: monotonicMs() });
        lostAtMs.delete(name);
        // The node's own word that it is ready again takes the taint away.
      } else if (isReady(node) && monotonicMs() - before.atMs > times.nodeGracePeriodMs) {
        lose(node);
      }
      const lost = lostAtMs.get(name);
      if (lost !== undefined && monotonicMs() - lost > times.evictionAfterMs) evict(name);
      const tainted = (node.spec.taints ?? []).some(({ key }) => key === unreachableTaint);
      if (isReady(node) && tainted) {
        setReady(node, {
          type: 'Ready',
          status: 'True',
          reason: 'KubeletReady',
          message: 'kubelet is posting ready status',
        });
      }
    }
  };
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
    if (home !== undefined && homeNodes.length === 0 && waitedMs < times.nodeGracePeriodMs) return undefined;
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
        if (complained.has(uid) || waitedMs < times.nodeGracePeriodMs) continue;
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
