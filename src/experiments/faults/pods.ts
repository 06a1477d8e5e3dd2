import { z } from 'zod';
import type { KubernetesPort, Pod } from '../../adapters/ports.ts';
import type { Environment, Region } from '../../core/environment.ts';
import { BlackstartError } from '../../core/errors.ts';
import { resolveRegion, resolveZone } from '../../core/places.ts';
import type { RevertState } from '../../core/undo.ts';
import type { BlastRadius, FaultContext, Permission } from '../fault.ts';

/** What faults on single pods have in common: how their targets are named, chosen, counted and seen to be back. */

export const podParamsShape = {
  region: z.string().default('primary').meta({ description: 'primary, failover, or the name of a region.' }),
  workload: z
    .string()
    .optional()
    .meta({ description: 'A workload of the environment, such as llm; this or a selector.' }),
  selector: z.string().optional().meta({ description: 'A label selector, such as app=llm; this or a workload.' }),
  zone: z.string().optional().meta({ description: 'Only pods in this zone: primary, standby, or its name.' }),
  count: z.int().positive().max(1000).default(1).meta({ description: 'How many pods, chosen at random.' }),
};

/** Exactly one way of saying which pods. */
export const namesPods = (params: { readonly workload?: string | undefined; readonly selector?: string | undefined }) =>
  (params.workload === undefined) !== (params.selector === undefined);
export const namesPodsProblem = { error: 'name either a workload or a selector', path: ['workload'] };

export interface PodParams {
  readonly region: string;
  readonly workload?: string | undefined;
  readonly selector?: string | undefined;
  readonly zone?: string | undefined;
  readonly count: number;
}

/** Where a workload is, and how many of its pods were ready before: enough to see whether it is whole again. */
export const workloadSchema = z.strictObject({
  context: z.string(),
  namespace: z.string(),
  selector: z.string(),
  readyBefore: z.int().nonnegative(),
});
export type Workload = z.output<typeof workloadSchema>;

export interface ChosenPod {
  readonly pod: Pod;
  readonly container: Pod['containers'][number];
  readonly region: Region;
  readonly workload: Workload;
  readonly target: string;
  readonly blast: BlastRadius;
}

const isServing = (pod: Pod): boolean => pod.ready && !pod.deleting;

const workloadOf = (
  environment: Environment,
  params: PodParams,
): { readonly name: string; readonly selector: string; readonly container: string | undefined } => {
  if (params.selector !== undefined) return { name: params.selector, selector: params.selector, container: undefined };
  const name = params.workload ?? '';
  const workload = environment.workloads[name];
  if (workload === undefined) {
    throw new BlackstartError(
      'PLAN_REFUSED',
      `environment ${environment.name} has no workload "${name}"`,
      `Use one of: ${Object.keys(environment.workloads).join(', ')}; or give a selector.`,
    );
  }
  return { name, ...workload };
};

const assertMay = async (
  port: KubernetesPort,
  region: Region,
  permissions: readonly Permission[],
  signal: AbortSignal,
): Promise<void> => {
  const { context, namespace } = region.kubernetes;
  for (const { action, resource } of permissions) {
    if (await port.canI(action, resource, namespace, signal)) continue;
    throw new BlackstartError(
      'PLAN_REFUSED',
      `context ${context} may not ${action} ${resource} in namespace ${namespace}`,
      'Grant it with a Role, or use a kubeconfig that has it; "blackstart plan" lists all that is needed.',
    );
  }
};

/** `count` of the candidates, each equally likely; the same random numbers choose the same pods. */
const sample = (candidates: readonly Pod[], count: number, random: () => number): readonly Pod[] => {
  const rest = candidates.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  const chosen: Pod[] = [];
  while (chosen.length < count && rest.length > 0) {
    chosen.push(...rest.splice(Math.min(rest.length - 1, Math.floor(random() * rest.length)), 1));
  }
  return chosen;
};

/**
 * Chooses ready pods at random and notes how their workload is. Read-only.
 * Throws PLAN_REFUSED when too few are ready, when the place or workload is unknown, or when a permission is missing.
 */
export const choosePods = async (
  params: PodParams,
  context: FaultContext,
  permissions: readonly Permission[],
): Promise<readonly ChosenPod[]> => {
  const { environment, ports, signal, random } = context;
  const region = resolveRegion(environment, params.region);
  const zone = params.zone === undefined ? undefined : resolveZone(environment, params.zone).zone;
  const { name, selector, container: containerName } = workloadOf(environment, params);
  const port = ports.kubernetes(region.kubernetes.context);
  await assertMay(port, region, permissions, signal);
  const pods = await port.listPods(region.kubernetes.namespace, selector, signal);
  const serving = pods.filter(isServing);
  const candidates = serving.filter((pod) => zone === undefined || pod.zone === zone);
  const chosen = sample(candidates, params.count, random);
  if (chosen.length < params.count) {
    const where = zone === undefined ? region.name : zone;
    throw new BlackstartError(
      'PLAN_REFUSED',
      `${params.count} ready pods of ${name} are wanted in ${where}, ${candidates.length} are there`,
      'Ask for fewer, or wait until the workload is whole.',
    );
  }
  const ready = serving.length;
  // Of the whole plan: the pods of one fault go together.
  const workloads = { [name]: { ready, surviving: ready - chosen.length } };
  const { namespace } = region.kubernetes;
  return chosen.map((pod) => ({
    pod,
    container: containerIn(pod, containerName),
    region,
    workload: { context: region.kubernetes.context, namespace, selector, readyBefore: ready },
    target: `pod/${region.name}/${namespace}/${pod.name}`,
    blast: { pods: 1, zones: [], regions: [], workloads },
  }));
};

const containerIn = (pod: Pod, name: string | undefined): Pod['containers'][number] => {
  const found = name === undefined ? pod.containers[0] : pod.containers.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new BlackstartError(
    'PLAN_REFUSED',
    `pod ${pod.name} has no container ${name ?? ''}`,
    `Name one of its containers in the environment's workloads: ${pod.containers.map((one) => one.name).join(', ')}.`,
  );
};

/** Whether as many pods of the workload are ready as before the fault. */
export const workloadState = async (workload: Workload, { ports, signal }: FaultContext): Promise<RevertState> => {
  const pods = await ports.kubernetes(workload.context).listPods(workload.namespace, workload.selector, signal);
  const ready = pods.filter(isServing).length;
  if (ready >= workload.readyBefore) return { state: 'reverted' };
  return { state: 'pending', detail: `${ready} of ${workload.readyBefore} pods of ${workload.selector} are ready` };
};

/** The rights a fault needs, in terms of RBAC, with what only looking needs. */
export const podPermissions = (changes: readonly (readonly [string, string])[]): readonly Permission[] =>
  [['list', 'nodes'] as const, ['list', 'pods'] as const, ['get', 'pods'] as const, ...changes].map(
    ([action, resource]) => ({ provider: 'kubernetes', action, resource }),
  );
