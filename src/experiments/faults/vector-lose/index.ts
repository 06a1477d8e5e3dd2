import { z } from 'zod';
import { BlackstartError } from '../../../core/errors.ts';
import { resolveRegion } from '../../../core/places.ts';
import type { RevertState } from '../../../core/undo.ts';
import { defineFault, type FaultContext } from '../../fault.ts';
import { ownPrefix, storeOf, storePermissions } from '../vectors.ts';

const undoSchema = z.strictObject({
  region: z.string(),
  /** Who lost it, as the store knows it. */
  owner: z.string(),
  rebuildFrom: z.enum(['snapshot', 'source']),
});
type Undo = z.output<typeof undoSchema>;

const ownerOf = (runId: string): string => `${ownPrefix}${runId}`;

const lostByAnother = (undo: Undo, owner: string | null): string =>
  `the index of ${undo.region} was lost again, by ${owner ?? 'somebody who left no name'}`;

const stateOf = async (undo: Undo, context: FaultContext): Promise<RevertState> => {
  const { state, lostBy, rebuild } = await storeOf(context, undo.region).status(context.signal);
  if (state === 'serving') return { state: 'reverted' };
  if (lostBy !== undo.owner) return { state: 'conflict', difference: lostByAnother(undo, lostBy) };
  if (state === 'lost' && rebuild?.error !== null && rebuild?.error !== undefined) {
    // Thrown, so that the way back is tried again from its beginning.
    throw new BlackstartError(
      'UNREACHABLE',
      `the index of ${undo.region} could not be rebuilt from its ${rebuild.from}: ${rebuild.error}`,
      'See whether the object store of the region answers, and what is in its snapshots.',
    );
  }
  return { state: 'pending', detail: `the index of ${undo.region} is ${state === 'lost' ? 'lost' : 'being rebuilt'}` };
};

/** Loses the index of a region's vector store; undone by rebuilding it, from its newest snapshot or from the source. */
export const vectorLose = defineFault({
  name: 'vector.lose',
  summary: "Loses the index of a region's vector store; undone by rebuilding it from the newest snapshot.",
  params: z.strictObject({
    region: z.string().default('failover').meta({ description: 'primary, failover, or the name of a region.' }),
    rebuildFrom: z
      .enum(['snapshot', 'source'])
      .default('snapshot')
      .meta({ description: "Its newest snapshot, or all of the primary region's store." }),
  }),
  undo: undoSchema,
  expiry: 'the store rebuilds its index from the newest snapshot by itself',
  wayBackMs: 6 * 3_600_000,

  permissions: ({ region }, environment) => storePermissions(environment, region, ['status', 'lose', 'rebuild']),

  async plan({ region: reference, rebuildFrom }, context) {
    const { environment, runId, signal } = context;
    const { name: region } = resolveRegion(environment, reference);
    const { state, role, snapshotTakenMs } = await storeOf(context, region).status(signal);
    const refusal =
      state !== 'serving'
        ? `has lost its index already`
        : rebuildFrom === 'snapshot' && snapshotTakenMs === null
          ? 'has no snapshot to be rebuilt from'
          : rebuildFrom === 'source' && role !== 'replica'
            ? 'follows no other store that it could be rebuilt from'
            : undefined;
    if (refusal !== undefined) {
      throw new BlackstartError(
        'PLAN_REFUSED',
        `the vector store of ${region} ${refusal}`,
        'What is lost must be to be had again: wait for its snapshot, or choose another region.',
      );
    }
    const undo: Undo = { region, owner: ownerOf(runId), rebuildFrom };
    return [{ target: `vector/${region}`, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } }];
  },

  async inject({ undo }, _params, context) {
    const { expiryMs, timeScale, signal } = context;
    await storeOf(context, undo.region).lose(undo.owner, expiryMs / timeScale, signal);
  },

  async bites({ undo }, context) {
    const { state, lostBy } = await storeOf(context, undo.region).status(context.signal);
    return state !== 'serving' && lostBy === undo.owner ? `the index of ${undo.region} answers no query` : undefined;
  },

  async revert(undo, context) {
    const store = storeOf(context, undo.region);
    const { state, lostBy } = await store.status(context.signal);
    if (state !== 'lost') return;
    if (lostBy !== undo.owner) {
      throw new BlackstartError('CONFLICT', lostByAnother(undo, lostBy), 'Whoever lost it rebuilds it.');
    }
    await store.rebuild(undo.rebuildFrom, context.signal);
  },

  isReverted: stateOf,

  async discover(runId, context) {
    const found: Undo[] = [];
    for (const { name: region } of context.environment.regions) {
      const { lostBy } = (await context.ports.vectors(region)?.status(context.signal)) ?? { lostBy: null };
      const isOurs = runId === undefined ? lostBy?.startsWith(ownPrefix) : lostBy === ownerOf(runId);
      if (lostBy !== null && isOurs === true) found.push({ region, owner: lostBy, rebuildFrom: 'snapshot' });
    }
    return found;
  },
});
