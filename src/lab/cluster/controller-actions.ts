import { randomSuffix } from './api.ts';
import { type EventObject, type NodeObject, type PodObject, timestamp } from './objects.ts';
import { events, pods } from './resources.ts';
import type { Store } from './store.ts';

/** Real milliseconds: the documented constants, divided by the time scale. */
export interface ControllerTimes {
  readonly nodeGracePeriodMs: number;
  readonly evictionAfterMs: number;
  /** Not scaled: how long a node may take until it and its first pods are up, whatever the machine is busy with. */
  readonly startupGraceMs: number;
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

export const isActive = (pod: PodObject): boolean =>
  pod.metadata.deletionTimestamp === undefined && pod.status.phase !== 'Succeeded' && pod.status.phase !== 'Failed';

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

/** Marks a pod for its node to end gracefully; one that no node runs goes at once. */
export const terminate = (store: Store, pod: PodObject, nowMs: number): void => {
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
