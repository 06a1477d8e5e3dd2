import type { Pod } from '../../adapters/ports.ts';
import type { Observation } from '../../core/observation.ts';
import { compareLooks, type Observer } from './observer.ts';

type Bracket = { readonly minMs: number; readonly maxMs: number };
type Pods = ReadonlyMap<string, Pod>;

const isServing = (pod: Pod): boolean => pod.ready && !pod.deleting;
const restartsOf = (pod: Pod): number => pod.containers.reduce((sum, container) => sum + container.restartCount, 0);
const appOf = (pod: Pod): string => pod.labels['app'] ?? '';

const podChange = (before: Pod | undefined, now: Pod | undefined, bracket: Bracket): readonly Observation[] => {
  const pod = now ?? before;
  if (pod === undefined) return [];
  const data = { app: appOf(pod), zone: pod.zone, uid: pod.uid };
  const seen = (name: Observation['name']): Observation => ({
    name,
    subject: pod.name,
    ...bracket,
    source: 'kubernetes',
    data,
  });
  const changes: Observation[] = [];
  const served = before !== undefined && isServing(before);
  const serves = now !== undefined && isServing(now);
  if (served && !serves) changes.push(seen('pod.not-ready'));
  if (before !== undefined && now === undefined) changes.push(seen('pod.deleted'));
  if (before !== undefined && now !== undefined && restartsOf(now) > restartsOf(before)) {
    changes.push(seen('pod.restarted'));
    // A restart between two looks was out of rotation in between, even where both looks found it ready.
    if (served && serves) changes.push(seen('pod.not-ready'), seen('pod.ready'));
  }
  if (!served && serves) changes.push(seen('pod.ready'));
  return changes;
};

const readyByZone = (pods: Pods): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>();
  for (const pod of pods.values()) {
    const key = `${appOf(pod)} ${pod.zone ?? ''}`;
    counts.set(key, (counts.get(key) ?? 0) + (isServing(pod) ? 1 : 0));
  }
  return counts;
};

/** What changed between two listings of pods by uid. Pure. */
export const podChanges = (before: Pods, now: Pods, bracket: Bracket): readonly Observation[] => {
  const uids = new Set([...before.keys(), ...now.keys()]);
  const changes = [...uids].flatMap((uid) => podChange(before.get(uid), now.get(uid), bracket));
  const earlier = readyByZone(before);
  const later = readyByZone(now);
  for (const key of new Set([...earlier.keys(), ...later.keys()])) {
    const ready = later.get(key) ?? 0;
    if ((earlier.get(key) ?? 0) === ready) continue;
    const [app = '', zone = ''] = key.split(' ');
    const data = { app, ready, before: earlier.get(key) ?? 0 };
    changes.push({ name: 'replicas.changed', subject: zone, ...bracket, source: 'kubernetes', data });
  }
  return changes;
};

/** Pods of the primary region, where the documented failures are, are looked at more often than the others. */
const finestMs = { primary: 150, active: 1000 };

/** Follows the pods of every workload in every region through its Kubernetes API. */
export const kubernetesObserver: Observer = {
  name: 'kubernetes',
  async watch(session, signal, see, lost) {
    const watches = session.environment.regions.map(async ({ name, role, kubernetes }) => {
      const port = session.ports.kubernetes(kubernetes.context);
      const look = async (callSignal: AbortSignal): Promise<Pods> =>
        new Map((await port.listPods(kubernetes.namespace, 'app', callSignal)).map((pod) => [pod.uid, pod]));
      await compareLooks(session, `kubernetes ${name}`, signal, lost, finestMs[role], look, (before, now, bracket) => {
        for (const change of podChanges(before, now, bracket)) see(change);
      });
    });
    await Promise.all(watches);
  },
};
