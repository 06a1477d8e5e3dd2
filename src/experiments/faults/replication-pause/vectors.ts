import { z } from 'zod';
import { BlackstartError } from '../../../core/errors.ts';
import { resolveRegion } from '../../../core/places.ts';
import type { FaultContext } from '../../fault.ts';
import { ownPrefix, storeOf, storePermissions } from '../vectors.ts';
import { definePause } from './provider.ts';

const store = 'vectors' as const;

const undoSchema = z.strictObject({
  store: z.literal(store),
  region: z.string(),
  /** Who paused them, as the store knows it. */
  owner: z.string(),
});
type Undo = z.output<typeof undoSchema>;

const ownerOf = (runId: string): string => `${ownPrefix}${runId}`;

const pausedBy = async ({ region }: Pick<Undo, 'region'>, context: FaultContext): Promise<string | null> =>
  (await storeOf(context, region).status(context.signal)).sync?.pausedBy ?? null;

const byAnother = ({ region, owner }: Undo, by: string): string =>
  `the syncs of ${region} were paused by ${owner}, are now paused by ${by}`;

/** Periodic syncs of a region's vector store: what is written meanwhile comes with the first one after them. */
export const vectors = definePause({
  params: z.strictObject({
    store: z.literal(store),
    region: z
      .string()
      .default('failover')
      .meta({ description: 'failover, or the name of a region whose vector store is a copy.' }),
  }),
  undo: undoSchema,
  expiry: 'the store resumes its syncs by itself',

  permissions: ({ region }, environment) => storePermissions(environment, region, ['status', 'pause', 'resume']),

  async plan({ region: reference }, context) {
    const { environment, runId, signal } = context;
    const { name: region } = resolveRegion(environment, reference);
    const { sync } = await storeOf(context, region).status(signal);
    const refusal =
      sync === null
        ? 'follows no other store'
        : sync.pausedBy === null
          ? undefined
          : `is paused already, by ${sync.pausedBy}`;
    if (refusal !== undefined) {
      throw new BlackstartError(
        'PLAN_REFUSED',
        `the vector store of ${region} ${refusal}`,
        'Only syncs that are going on can be paused: choose a region whose store is a copy.',
      );
    }
    const undo: Undo = { store, region, owner: ownerOf(runId) };
    const blast = { pods: 0, zones: [], regions: [], workloads: {} };
    return [{ target: `replication/vectors/${region}`, undo, blast }];
  },

  async inject({ undo }, _params, context) {
    const { expiryMs, timeScale, signal } = context;
    await storeOf(context, undo.region).pauseSync(undo.owner, expiryMs / timeScale, signal);
  },

  async bites({ undo }, context) {
    return (await pausedBy(undo, context)) === undo.owner ? `the syncs of ${undo.region} are paused` : undefined;
  },

  async revert(undo, context) {
    const by = await pausedBy(undo, context);
    if (by === null) return;
    if (by !== undo.owner) throw new BlackstartError('CONFLICT', byAnother(undo, by), 'Whoever paused them resumes.');
    await storeOf(context, undo.region).resumeSync(context.signal);
  },

  async isReverted(undo, context) {
    const by = await pausedBy(undo, context);
    if (by === null) return { state: 'reverted' };
    if (by !== undo.owner) return { state: 'conflict', difference: byAnother(undo, by) };
    return { state: 'pending', detail: `the syncs of ${undo.region} are paused` };
  },

  async discover(runId, context) {
    const found: Undo[] = [];
    for (const { name: region } of context.environment.regions) {
      const status = await context.ports.vectors(region)?.status(context.signal);
      const owner = status?.sync?.pausedBy ?? null;
      const isOurs = runId === undefined ? owner?.startsWith(ownPrefix) : owner === ownerOf(runId);
      if (owner !== null && isOurs === true) found.push({ store, region, owner });
    }
    return found;
  },
});
