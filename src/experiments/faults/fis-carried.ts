import type { FisTemplate } from '../../adapters/ports.ts';
import type { RevertState } from '../../core/undo.ts';
import type { FaultContext, Planned } from '../fault.ts';
import {
  assertLever,
  endExperiments,
  experimentIn,
  experimentsOf,
  type FisUse,
  faultTag,
  isActive,
  type PlannedTargets,
  prepareTemplate,
  runTag,
  startTemplate,
  type Tags,
  tagsOfUse,
  targetTag,
  templateBase,
  templatesOf,
} from './fis.ts';

/** What every undo record says of the one experiment that carries the fault; with the fault's name, its tags. */
export interface FisRecord {
  readonly run: string;
  readonly target: string;
  readonly region: string;
}

/** A fault whose targets each get one FIS experiment in one region, which ends by itself after its duration. */
export interface FisCarried<Params, Undo extends FisRecord> {
  readonly fault: string;
  /** What the experiment does to what, and which targets FIS must resolve that to. Throws when it is not as planned. */
  work(
    undo: Undo,
    params: Params,
    context: FaultContext,
  ): Promise<Pick<FisTemplate, 'targets' | 'actions'> & { readonly planned: PlannedTargets }>;
  /** The fault is in force while its experiment runs, or once it has completed. */
  readonly inForce: 'running' | 'completed';
  /** What FIS does, for people: `pauses the replication of …`. */
  does(undo: Undo): string;
  /** Further tags, where an undo record says more than its run, target and region. */
  tags?(undo: Undo): Tags;
  /** The whole undo record, from these tags; undefined for tags that are not this fault's. */
  undoOf(record: FisRecord, tags: Tags, context: FaultContext): Promise<Undo | undefined>;
}

/** All of a fault but its plan and its permissions. */
export const carriedByFis = <Params, Undo extends FisRecord>(carried: FisCarried<Params, Undo>) => {
  const { fault, inForce } = carried;
  const useOf = ({ run, target, region }: FisRecord): FisUse => ({ fault, run, target, region });
  const tagsOf = (undo: Undo): Tags => ({ ...tagsOfUse(useOf(undo)), ...carried.tags?.(undo) });

  const prepared = async (undo: Undo, params: Params, context: FaultContext): Promise<string> => {
    const use = useOf(undo);
    const [known] = await templatesOf(use, context);
    if (known !== undefined) return known.id;
    await assertLever(undo.region, context);
    const { planned, ...work } = await carried.work(undo, params, context);
    const template = { ...templateBase(use, tagsOf(undo), context), ...work };
    return await prepareTemplate(use, template, planned, context);
  };

  return {
    async prepare({ undo }: Planned<Undo>, params: Params, context: FaultContext): Promise<void> {
      await prepared(undo, params, context);
    },
    async inject({ undo }: Planned<Undo>, params: Params, context: FaultContext): Promise<void> {
      const id = await prepared(undo, params, context);
      await startTemplate(useOf(undo), id, tagsOf(undo), context, inForce);
    },
    async bites({ undo }: Planned<Undo>, context: FaultContext): Promise<string | undefined> {
      const found = await experimentIn(useOf(undo), inForce, context);
      return found === undefined ? undefined : `FIS experiment ${found.id} ${carried.does(undo)}`;
    },
    revert: (undo: Undo, context: FaultContext): Promise<void> => endExperiments(useOf(undo), context),
    /** As far as FIS knows: no experiment of this fault goes on. */
    async isReverted(undo: Undo, context: FaultContext): Promise<RevertState> {
      const active = (await experimentsOf(useOf(undo), context)).find(isActive);
      if (active === undefined) return { state: 'reverted' };
      return { state: 'pending', detail: `FIS experiment ${active.id} is ${active.status}` };
    },
    async discover(runId: string | undefined, context: FaultContext): Promise<readonly Undo[]> {
      const found = new Map<string, Undo>();
      for (const { name: region } of context.environment.regions) {
        const fis = context.ports.fis(region);
        const templates = await fis.listTemplates(faultTag, fault, context.signal);
        const experiments = (await fis.listExperiments(faultTag, fault, context.signal)).filter(isActive);
        for (const { tags } of [...templates, ...experiments]) {
          const { [runTag]: run, [targetTag]: target } = tags;
          if (run === undefined || target === undefined || (runId !== undefined && run !== runId)) continue;
          const undo = await carried.undoOf({ run, target, region }, tags, context);
          if (undo !== undefined) found.set(JSON.stringify(undo), undo);
        }
      }
      return [...found.values()];
    },
  };
};
