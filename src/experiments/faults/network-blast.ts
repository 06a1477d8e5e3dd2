import type { Pod } from '../../adapters/ports.ts';
import type { BlastRadius, FaultContext } from '../fault.ts';

const isServing = (pod: Pod): boolean => pod.ready && !pod.deleting;

/** How many ready pods of each workload go with these zones, and how many survive elsewhere. Read-only. */
export const blastOfZones = async (
  lost: { readonly zones: readonly string[]; readonly regions: readonly string[] },
  { environment, ports, signal }: FaultContext,
): Promise<BlastRadius> => {
  const counted = await Promise.all(
    Object.entries(environment.workloads).flatMap(([workload, { selector }]) =>
      environment.regions.map(async (region) => {
        const { context, namespace } = region.kubernetes;
        const pods = (await ports.kubernetes(context).listPods(namespace, selector, signal)).filter(isServing);
        const isLost = (pod: Pod): boolean =>
          pod.zone === null ? lost.regions.includes(region.name) : lost.zones.includes(pod.zone);
        return { workload, ready: pods.length, gone: pods.filter(isLost).length };
      }),
    ),
  );
  const workloads: Record<string, { readonly ready: number; readonly surviving: number }> = {};
  for (const { workload, ready, gone } of counted) {
    const before = workloads[workload] ?? { ready: 0, surviving: 0 };
    workloads[workload] = { ready: before.ready + ready, surviving: before.surviving + ready - gone };
  }
  const pods = counted.reduce((sum, { gone }) => sum + gone, 0);
  return { pods, zones: lost.zones, regions: lost.regions, workloads };
};
