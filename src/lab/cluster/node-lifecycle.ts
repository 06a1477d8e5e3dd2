import { type ControllerOptions, isActive, recordEvent, terminate } from './controller-actions.ts';
import { type Condition, isReady, type NodeObject, nodeLeaseNamespace, timestamp, withCondition } from './objects.ts';
import { leases, nodes, pods } from './resources.ts';

const unreachableTaint = 'node.kubernetes.io/unreachable';

interface Silence {
  /** Revision of the lease when it last changed. */
  revision: string;
  silentMs: number;
  /** Since the node was called NotReady; undefined while it is not. */
  lostMs: number | undefined;
  readonly knownSinceMs: number;
  /** Whether its first pods came up: until then a busy machine is no reason to give it up. */
  settled: boolean;
}

/**
 * A node that stops renewing its lease is NotReady after the grace period, and so are its pods; after the eviction time
 * its pods are deleted, and stay Terminating until the node can be asked. As in the real one, a lease's age is counted
 * from when its last change was *seen*, never from the node's own clock; and time in which this process itself was
 * held up does not count against a node, whose renewals may be waiting to be read.
 */
export const nodeLifecycle = ({ store, times, monotonicMs, nowMs, log }: ControllerOptions): (() => void) => {
  const silences = new Map<string, Silence>();
  const countedMaxMs = times.nodeGracePeriodMs / 5;
  let lastMs = monotonicMs();

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

  const look = (node: NodeObject, countedMs: number): void => {
    const { name } = node.metadata;
    const revision = store.get(leases, nodeLeaseNamespace, name)?.metadata.resourceVersion ?? '';
    const known = silences.get(name);
    if (known === undefined) {
      silences.set(name, { revision, silentMs: 0, lostMs: undefined, knownSinceMs: monotonicMs(), settled: false });
      return;
    }
    if (known.revision !== revision) Object.assign(known, { revision, silentMs: 0, lostMs: undefined });
    else known.silentMs += countedMs;
    if (!known.settled) {
      const own = store.list(pods, '').filter((pod) => pod.spec.nodeName === name);
      const waitedMs = monotonicMs() - known.knownSinceMs;
      known.settled = waitedMs > times.startupGraceMs || (own.length > 0 && own.every(isReady));
      return;
    }
    if (isReady(node) && known.silentMs > times.nodeGracePeriodMs) {
      lose(node);
      known.lostMs = 0;
    } else if (known.lostMs !== undefined) {
      known.lostMs += countedMs;
      if (known.lostMs > times.evictionAfterMs) evict(name);
    }
    // The node's own word that it is ready again takes the taint away.
    const tainted = (node.spec.taints ?? []).some(({ key }) => key === unreachableTaint);
    const now = store.get(nodes, '', name);
    if (now !== undefined && isReady(now) && tainted) {
      const message = 'kubelet is posting ready status';
      setReady(now, { type: 'Ready', status: 'True', reason: 'KubeletReady', message });
    }
  };

  return () => {
    const elapsedMs = monotonicMs() - lastMs;
    lastMs = monotonicMs();
    for (const node of store.list(nodes, '')) look(node, Math.min(elapsedMs, countedMaxMs));
  };
};
