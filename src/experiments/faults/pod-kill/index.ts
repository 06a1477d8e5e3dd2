import { z } from 'zod';
import { defineFault } from '../../fault.ts';
import {
  choosePods,
  namesPods,
  namesPodsProblem,
  podParamsShape,
  podPermissions,
  workloadSchema,
  workloadState,
} from '../pods.ts';

const permissions = podPermissions([
  ['delete', 'pods'],
  ['list', 'events'],
]);

/** How long the node's own word that it killed the pod is waited for; events are best effort. Real milliseconds. */
const reportWithinMs = 2000;
const lookEveryMs = 20;

/** Deletes pods through the API, by default without grace: the process is killed as by a crash of its hardware. */
export const podKill = defineFault({
  name: 'pod.kill',
  summary: 'Deletes pods at random, by default without a grace period: their processes die at once.',
  params: z
    .strictObject({
      ...podParamsShape,
      gracePeriodSeconds: z
        .int()
        .nonnegative()
        .max(3600)
        .default(0)
        .meta({ description: 'Seconds a pod gets to end by itself; 0 kills it.' }),
    })
    .refine(namesPods, namesPodsProblem),
  undo: z.strictObject({ pod: z.string(), uid: z.string(), node: z.string().nullable(), workload: workloadSchema }),
  isOneShot: true,
  expiry: 'nothing to end: the pod is gone, and its Deployment starts another',

  permissions: () => permissions,

  async plan(params, context) {
    const chosen = await choosePods(params, context, permissions);
    return chosen.map(({ pod, workload, target, blast }) => ({
      target,
      undo: { pod: pod.name, uid: pod.uid, node: pod.node, workload },
      blast,
    }));
  },

  async inject({ undo }, { gracePeriodSeconds }, { ports, signal }) {
    const { context, namespace } = undo.workload;
    await ports.kubernetes(context).deletePod(namespace, undo.pod, { uid: undo.uid, gracePeriodSeconds }, signal);
  },

  // A forced delete takes the object away before the node acts on it, so the node's report is waited for as well.
  async bites({ undo }, { ports, clock, signal }) {
    const { context, namespace } = undo.workload;
    const port = ports.kubernetes(context);
    if ((await port.getPod(namespace, undo.pod, signal))?.uid === undo.uid) return undefined;
    const lastMs = clock.monotonicMs() + reportWithinMs;
    do {
      const reports = await port.podEvents(namespace, undo.uid, signal);
      if (reports.some(({ reason }) => reason === 'Killing')) return `${undo.pod} is gone, and its node killed it`;
      await clock.sleep(lookEveryMs, signal);
    } while (clock.monotonicMs() < lastMs);
    return `${undo.pod} is gone`;
  },

  /** Nothing to put back by hand: the platform replaces the pod, and `isReverted` waits for it. */
  async revert() {},

  async isReverted(undo, context) {
    const { namespace } = undo.workload;
    const pod = await context.ports.kubernetes(undo.workload.context).getPod(namespace, undo.pod, context.signal);
    if (pod?.uid === undo.uid && pod.deleting) return { state: 'pending', detail: `${undo.pod} is still ending` };
    return await workloadState(undo.workload, context);
  },

  // A deleted pod leaves nothing behind.
  discover: async () => [],
});
