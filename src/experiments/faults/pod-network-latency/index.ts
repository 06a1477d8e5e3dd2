import { z } from 'zod';
import { durationMs } from '../../../core/duration.ts';
import type { Environment } from '../../../core/environment.ts';
import { defineFault } from '../../fault.ts';
import { assertLever, fisPermissions, isoDuration, refused } from '../fis.ts';
import { carriedByFis, type FisRecord } from '../fis-carried.ts';
import { choosePods, namesPods, namesPodsProblem, podParamsShape, podPermissions } from '../pods.ts';

const name = 'pod.network-latency';
const actionId = 'aws:eks:pod-network-latency';

const undoSchema = z.strictObject({
  /** With `target`, what the tags of templates and experiments say. */
  run: z.string(),
  target: z.string(),
  region: z.string(),
});
const params = z
  .strictObject({
    ...podParamsShape,
    delay: durationMs.prefault('800ms').meta({
      description: 'Real time by which everything the pod sends comes later, such as 800ms.',
    }),
  })
  .refine(namesPods, namesPodsProblem);

const regionOf = (environment: Environment, region: string): Environment['regions'][number] => {
  const found = environment.regions.find((one) => one.name === region);
  if (found !== undefined) return found;
  throw refused(`environment ${environment.name} has no region ${region}`, 'Plan again, with this environment.');
};

/** FIS adds the delay inside the pod, so the role's service account must be there to start its own. */
const carried = carriedByFis<z.output<typeof params>, FisRecord>({
  fault: name,
  inForce: 'running',
  does: ({ target }) => `runs ${actionId} on ${target}`,
  undoOf: async (record) => record,
  async work({ region, target }, { delay }, { environment, expiryMs }) {
    const { kubernetes } = regionOf(environment, region);
    return {
      // A name that two pods bear, or none, is no plan.
      planned: { count: 1, noun: 'pods' },
      targets: {
        pods: {
          resourceType: 'aws:eks:pod',
          selectionMode: 'ALL',
          parameters: {
            clusterIdentifier: kubernetes.cluster ?? kubernetes.context,
            namespace: kubernetes.namespace,
            selectorType: 'podName',
            selectorValue: target.split('/').at(-1) ?? '',
          },
        },
      },
      actions: {
        'action-1': {
          actionId,
          parameters: {
            duration: isoDuration(expiryMs),
            kubernetesServiceAccount: kubernetes.faultServiceAccount,
            delayMilliseconds: String(Math.round(delay)),
            jitterMilliseconds: '0',
          },
          targets: { Pods: 'pods' },
        },
      },
    };
  },
});

const permissions = podPermissions([]);

/** Everything a pod sends comes later, as over a bad network: answers are slow, and nothing is broken. */
export const podNetworkLatency = defineFault({
  ...carried,
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
});
