import { z } from 'zod';
import type { FisTemplate } from '../../../adapters/ports.ts';
import { durationMs } from '../../../core/duration.ts';
import type { Environment } from '../../../core/environment.ts';
import { defineFault, type FaultContext } from '../../fault.ts';
import {
  assertLever,
  endExperiments,
  experimentsOf,
  type FisUse,
  faultTag,
  fisPermissions,
  isActive,
  isoDuration,
  prepareTemplate,
  refused,
  runningExperiment,
  runTag,
  startTemplate,
  tagsOfUse,
  targetTag,
  templateBase,
  templatesOf,
} from '../fis.ts';
import { choosePods, namesPods, namesPodsProblem, podParamsShape, podPermissions } from '../pods.ts';

const name = 'pod.network-latency';
const actionId = 'aws:eks:pod-network-latency';

const undoSchema = z.strictObject({
  /** With `target`, what the tags of templates and experiments say. */
  run: z.string(),
  target: z.string(),
  region: z.string(),
});
type Undo = z.output<typeof undoSchema>;

const params = z
  .strictObject({
    ...podParamsShape,
    delay: durationMs.prefault('800ms').meta({
      description: 'Real time by which everything the pod sends comes later, such as 800ms.',
    }),
  })
  .refine(namesPods, namesPodsProblem);

const useOf = ({ run, target, region }: Undo): FisUse => ({ fault: name, run, target, region });

const regionOf = (environment: Environment, region: string): Environment['regions'][number] => {
  const found = environment.regions.find((one) => one.name === region);
  if (found !== undefined) return found;
  throw refused(`environment ${environment.name} has no region ${region}`, 'Plan again, with this environment.');
};

/** FIS adds the delay inside the pod, so the role's service account must be there to start its own. */
const templateFor = (undo: Undo, delayMs: number, context: FaultContext): FisTemplate => {
  const { environment, expiryMs } = context;
  const { kubernetes } = regionOf(environment, undo.region);
  const use = useOf(undo);
  return {
    ...templateBase(use, tagsOfUse(use), context),
    targets: {
      pods: {
        resourceType: 'aws:eks:pod',
        selectionMode: 'ALL',
        parameters: {
          clusterIdentifier: kubernetes.cluster ?? kubernetes.context,
          namespace: kubernetes.namespace,
          selectorType: 'podName',
          selectorValue: undo.target.split('/').at(-1) ?? '',
        },
      },
    },
    actions: {
      'action-1': {
        actionId,
        parameters: {
          duration: isoDuration(expiryMs),
          kubernetesServiceAccount: kubernetes.faultServiceAccount,
          delayMilliseconds: String(Math.round(delayMs)),
          jitterMilliseconds: '0',
        },
        targets: { Pods: 'pods' },
      },
    },
  };
};

/** FIS must choose exactly the one pod: a name that two pods bear, or none, is no plan. */
const prepareOne = async (undo: Undo, delayMs: number, context: FaultContext): Promise<string> => {
  await assertLever(undo.region, context);
  const template = templateFor(undo, delayMs, context);
  return await prepareTemplate(useOf(undo), template, { count: 1, noun: 'pods' }, context);
};

const permissions = podPermissions([]);

/** Everything a pod sends comes later, as over a bad network: answers are slow, and nothing is broken. */
export const podNetworkLatency = defineFault({
  name,
  summary: 'Delays what pods chosen at random send: their answers are slow, and nothing is broken.',
  params,
  undo: undoSchema,
  expiry: 'the duration of the FIS experiment; the stop alarm; the safety lever',

  permissions: (_params, environment) => [
    ...permissions,
    ...fisPermissions(environment, ['eks:DescribeCluster', 'ec2:DescribeSubnets', 'tag:GetResources']),
  ],

  async plan(given, context) {
    const chosen = await choosePods(given, context, permissions);
    const [first] = chosen;
    if (first !== undefined) await assertLever(first.region.name, context);
    return chosen.map(({ region, target, blast }) => ({
      target,
      undo: { run: context.runId, target, region: region.name },
      blast,
    }));
  },

  async prepare({ undo }, { delay }, context) {
    await prepareOne(undo, delay, context);
  },

  async inject({ undo }, { delay }, context) {
    const prepared = await templatesOf(useOf(undo), context);
    const [only] = prepared;
    const id = prepared.length === 1 && only !== undefined ? only.id : await prepareOne(undo, delay, context);
    await startTemplate(useOf(undo), id, tagsOfUse(useOf(undo)), context);
  },

  async bites({ undo }, context) {
    const running = await runningExperiment(useOf(undo), context);
    return running === undefined ? undefined : `FIS experiment ${running.id} runs ${actionId} on ${undo.target}`;
  },

  revert: (undo, context) => endExperiments(useOf(undo), context),

  async isReverted(undo, context) {
    const active = (await experimentsOf(useOf(undo), context)).find(isActive);
    if (active === undefined) return { state: 'reverted' };
    return { state: 'pending', detail: `FIS experiment ${active.id} is ${active.status}` };
  },

  async discover(runId, { environment, ports, signal }) {
    const found = new Map<string, Undo>();
    for (const { name: region } of environment.regions) {
      const templates = await ports.fis(region).listTemplates(faultTag, name, signal);
      const experiments = (await ports.fis(region).listExperiments(faultTag, name, signal)).filter(isActive);
      for (const { tags } of [...templates, ...experiments]) {
        const { [runTag]: run, [targetTag]: target } = tags;
        if (run === undefined || target === undefined || (runId !== undefined && run !== runId)) continue;
        found.set(`${run} ${target}`, { run, target, region });
      }
    }
    return [...found.values()];
  },
});
