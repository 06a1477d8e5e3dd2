import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { HelperPod, Pod } from '../../../adapters/ports.ts';
import { deadline, poll } from '../../../core/clock.ts';
import { durationMs } from '../../../core/duration.ts';
import { BlackstartError, isBlackstartError } from '../../../core/errors.ts';
import { defineFault, type FaultContext } from '../../fault.ts';
import {
  choosePods,
  namesPods,
  namesPodsProblem,
  podParamsShape,
  podPermissions,
  workloadSchema,
  workloadState,
} from '../pods.ts';
import { continueScript, stopScript } from './script.ts';

const undoSchema = z.strictObject({
  pod: z.string(),
  uid: z.string(),
  node: z.string(),
  /** `runtime://id` of the container that is stopped. */
  containerId: z.string(),
  helper: z.string(),
  workload: workloadSchema,
});
type Undo = z.output<typeof undoSchema>;

const permissions = podPermissions([
  ['create', 'pods'],
  ['delete', 'pods'],
  ['get', 'pods/log'],
]);

const managedLabel = 'app.kubernetes.io/managed-by';
const runLabel = 'blackstart.dev/run';
const expiresLabel = 'blackstart.dev/expires';
/** The undo record, kept with the helper: enough to put things back when there is no journal. */
const undoAnnotation = 'blackstart.dev/undo';

const lookEveryMs = 100;
/** Real milliseconds a helper may take to end once told, beyond its grace period. */
const helperEndsWithinMs = 30_000;
const continueSeconds = 60;

const digest = (...parts: readonly string[]): string =>
  createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 12);

/** Run ids are chosen to be label values; one that is not is still found by its digest. */
const runLabelValue = (runId: string): string =>
  /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(runId) ? runId : digest(runId);

const continueHelperOf = (undo: Undo): string => `${undo.helper}-continue`;
const bareId = (containerId: string): string => containerId.replace(/^.*:\/\//, '');

const helperPod = (
  undo: Undo,
  context: FaultContext,
  what: { readonly name: string; readonly script: string; readonly seconds: number; readonly holdSeconds: number },
): HelperPod => {
  const labels = {
    [managedLabel]: 'blackstart',
    [runLabel]: runLabelValue(context.runId),
    [expiresLabel]: String(Math.ceil(context.clock.nowMs() / 1000 + what.seconds)),
  };
  return {
    name: what.name,
    namespace: undo.workload.namespace,
    node: undo.node,
    labels,
    annotations: { [undoAnnotation]: JSON.stringify(undo) },
    script: what.script,
    env: { TARGET: bareId(undo.containerId), HOLD_SECONDS: what.holdSeconds.toFixed(3) },
    activeDeadlineSeconds: what.seconds,
  };
};

const getPod = (undo: Undo, name: string, { ports, signal }: FaultContext): Promise<Pod | undefined> =>
  ports.kubernetes(undo.workload.context).getPod(undo.workload.namespace, name, signal);

/**
 * Deletes a helper and waits until it is gone, so that what it does at its end is done. False when there was none: then
 * nobody knows how it ended, if it ever was.
 */
const removeHelper = async (undo: Undo, name: string, context: FaultContext): Promise<boolean> => {
  const { ports, signal, clock } = context;
  const { namespace } = undo.workload;
  const helper = await getPod(undo, name, context);
  if (helper === undefined) return false;
  const port = ports.kubernetes(undo.workload.context);
  if (!helper.deleting) await port.deletePod(namespace, name, { uid: helper.uid, gracePeriodSeconds: 5 }, signal);
  const reason = new BlackstartError(
    'UNREACHABLE',
    `helper pod ${name} on node ${undo.node} does not end`,
    'Is its node reachable? The node continues the process and ends the helper by itself at its deadline.',
  );
  const limit = deadline(clock, helperEndsWithinMs, reason, signal);
  try {
    await poll(clock, lookEveryMs, limit.signal, async () => {
      const now = await port.getPod(namespace, name, limit.signal);
      return now?.uid === helper.uid ? undefined : true;
    });
    return true;
  } finally {
    limit.dispose();
  }
};

/**
 * Whether the very container that was stopped is still there. It may be stopped although its pod is still called ready:
 * that is found out only by the next check.
 */
const isSameContainer = async (undo: Undo, context: FaultContext): Promise<boolean> => {
  const pod = await getPod(undo, undo.pod, context);
  return pod?.uid === undo.uid && !pod.deleting && pod.containers.some(({ id }) => id === undo.containerId);
};

const continueIt = async (undo: Undo, context: FaultContext): Promise<void> => {
  const { ports, signal, clock } = context;
  const name = continueHelperOf(undo);
  const what = { name, script: continueScript, seconds: continueSeconds, holdSeconds: 0 };
  const port = ports.kubernetes(undo.workload.context);
  if ((await getPod(undo, name, context)) === undefined) {
    await port.createHelperPod(helperPod(undo, context, what), signal);
  }
  const reason = new BlackstartError(
    'UNREACHABLE',
    `${undo.pod} could not be continued: helper pod ${name} did not run on ${undo.node}`,
    `Send SIGCONT to the processes of container ${undo.containerId} on that node.`,
  );
  const limit = deadline(clock, helperEndsWithinMs, reason, signal);
  try {
    await poll(clock, lookEveryMs, limit.signal, async () => {
      const helper = await port.getPod(undo.workload.namespace, name, limit.signal);
      return helper === undefined || helper.phase === 'Succeeded' || helper.phase === 'Failed' ? true : undefined;
    });
  } finally {
    limit.dispose();
    await removeHelper(undo, name, context);
  }
};

const isAlreadyThere = (error: unknown): boolean => isBlackstartError(error) && error.code === 'CONFLICT';

/** Stops the processes of pods without ending them: only liveness checks find out. */
export const podHang = defineFault({
  name: 'pod.hang',
  summary: 'Stops (SIGSTOP) the processes of pods chosen at random: they hang, and only a liveness check finds out.',
  params: z
    .strictObject({
      ...podParamsShape,
      for: durationMs
        .optional()
        .meta({ description: 'Continue after this documented time; by default at the end of the fault.' }),
    })
    .refine(namesPods, namesPodsProblem),
  undo: undoSchema,
  expiry: "the helper pod's activeDeadlineSeconds: the node ends it, and it continues the process as it ends",

  permissions: () => permissions,

  async plan(params, context) {
    const chosen = await choosePods(params, context, permissions);
    return chosen.map(({ pod, container, workload, target, blast }) => {
      if (pod.node === null || container.id === '') {
        throw new BlackstartError('PLAN_REFUSED', `${pod.name} runs on no node yet`, 'Wait until it runs.');
      }
      const helper = `blackstart-hang-${digest(context.runId, pod.uid)}`;
      const { name, uid, node } = pod;
      return { target, undo: { pod: name, uid, node, containerId: container.id, helper, workload }, blast };
    });
  },

  async inject({ undo }, params, context) {
    const { ports, signal, timeScale, expiryMs } = context;
    const holdSeconds = Math.min(params.for ?? expiryMs, expiryMs) / timeScale / 1000;
    // The node counts its deadline in the platform's own, documented time.
    const seconds = Math.max(1, Math.ceil(expiryMs / 1000));
    const helper = helperPod(undo, context, { name: undo.helper, script: stopScript, seconds, holdSeconds });
    try {
      await ports.kubernetes(undo.workload.context).createHelperPod(helper, signal);
    } catch (error) {
      // An attempt whose answer was lost made it already: the same run, fault and target give the same name.
      if (!isAlreadyThere(error)) throw error;
    }
  },

  async bites({ undo }, context) {
    const { ports, signal } = context;
    const helper = await getPod(undo, undo.helper, context);
    if (helper === undefined || helper.phase === 'Pending') return undefined;
    const log = await ports.kubernetes(undo.workload.context).podLog(undo.workload.namespace, undo.helper, signal);
    const stopped = /^stopped (.+)$/m.exec(log);
    if (stopped !== null) return `helper ${undo.helper} on ${undo.node} stopped process ${stopped[1]} of ${undo.pod}`;
    if (helper.phase !== 'Running') {
      const said = log.trim().split('\n').at(-1) ?? '';
      throw new BlackstartError(
        'INJECT_FAILED',
        `helper ${undo.helper} on ${undo.node} could not stop ${undo.pod}: ${said || helper.phase}`,
        'See "kubectl describe pod" of the helper: its image needs a shell, its namespace must allow privileged pods.',
      );
    }
    return undefined;
  },

  async revert(undo, context) {
    const continued = await removeHelper(undo, undo.helper, context);
    await removeHelper(undo, continueHelperOf(undo), context);
    if (!continued && (await isSameContainer(undo, context))) await continueIt(undo, context);
  },

  async isReverted(undo, context) {
    for (const name of [undo.helper, continueHelperOf(undo)]) {
      if ((await getPod(undo, name, context)) !== undefined) return { state: 'pending', detail: `${name} is ending` };
    }
    return await workloadState(undo.workload, context);
  },

  async discover(runId, { environment, ports, signal }) {
    const run = runId === undefined ? runLabel : `${runLabel}=${runLabelValue(runId)}`;
    const found: Undo[] = [];
    for (const { kubernetes } of environment.regions) {
      const { context, namespace } = kubernetes;
      const helpers = await ports.kubernetes(context).listPods(namespace, `${managedLabel}=blackstart,${run}`, signal);
      for (const { annotations } of helpers) {
        const text = annotations[undoAnnotation];
        const undo = text === undefined ? undefined : undoSchema.safeParse(JSON.parse(text)).data;
        if (undo !== undefined && !found.some(({ helper }) => helper === undo.helper)) found.push(undo);
      }
    }
    return found;
  },
});
