import { z } from 'zod';
import type { VectorItem, VectorPort } from '../../../adapters/ports.ts';
import { BlackstartError } from '../../../core/errors.ts';
import { resolveRegion } from '../../../core/places.ts';
import { defineFault } from '../../fault.ts';
import { ownPrefix, someDocuments, storeOf, storePermissions } from '../vectors.ts';

const itemSchema = z.strictObject({ id: z.string(), vector: z.array(z.number()), text: z.string() });

const undoSchema = z.strictObject({
  region: z.string(),
  /** Text of everything that was put or changed, by which it is known again. */
  mark: z.string(),
  strays: z.array(z.string()),
  /** Documents as they were before they were changed. */
  originals: z.array(itemSchema),
});
type Undo = z.output<typeof undoSchema>;

/** Which of these are in the store with our mark: what nobody and no sync has put right. */
const marked = async (
  store: VectorPort,
  { mark }: Undo,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> => {
  const found: string[] = [];
  for (const id of ids) if ((await store.get(id, signal))?.text === mark) found.push(id);
  return found;
};

const countMax = 100;
const count = z.int().min(1).max(countMax);

/** Lets a copy differ from its source: strays as deletions leave them, and documents that are not what they were. */
export const vectorDrift = defineFault({
  name: 'vector.drift',
  summary: 'Puts vectors into a copy that its source does not hold, and changes others, past its syncs.',
  params: z.strictObject({
    region: z.string().default('failover').meta({ description: 'Region whose copy drifts.' }),
    strays: count.default(3).meta({ description: 'Vectors too many, as deletions leave them.' }),
    changed: count.default(3).meta({ description: 'Documents with another vector and text.' }),
  }),
  undo: undoSchema,
  expiry: 'the next full sync of the copy',

  permissions: ({ region }, environment) =>
    storePermissions(environment, region, ['status', 'list', 'get', 'upsert', 'delete']),

  async plan({ region: reference, strays, changed }, context) {
    const { environment, runId, signal } = context;
    const { name: region } = resolveRegion(environment, reference);
    const store = storeOf(context, region);
    const { role, state } = await store.status(signal);
    if (role !== 'replica' || state !== 'serving') {
      throw new BlackstartError(
        'PLAN_REFUSED',
        `the vector store of ${region} is ${role === 'replica' ? state : 'no copy'}`,
        'Drift is the difference of a copy from its source: choose a region whose store follows the primary one.',
      );
    }
    const originals: VectorItem[] = [];
    for (const id of await someDocuments(store, changed, signal)) {
      const item = await store.get(id, signal);
      if (item !== undefined) originals.push(item);
    }
    const undo: Undo = {
      region,
      mark: `${ownPrefix}${runId} drift`,
      strays: Array.from({ length: strays }, (_, index) => `${ownPrefix}${runId}/drift/${index}`),
      originals: originals.map(({ id, vector, text }) => ({ id, vector: [...vector], text })),
    };
    return [{ target: `vector/${region}`, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } }];
  },

  async inject({ undo }, _params, context) {
    const { mark, strays, originals, region } = undo;
    const turned = originals.map(({ id, vector }) => ({ id, vector: vector.toReversed(), text: mark }));
    const [first] = turned;
    if (first === undefined) {
      const what = `the vector store of ${region} holds no document`;
      throw new BlackstartError('INJECT_FAILED', what, 'Choose a region whose store is in use.');
    }
    const items = [...strays.map((id) => ({ id, vector: first.vector, text: mark })), ...turned];
    await storeOf(context, region).overwrite(items, context.signal);
  },

  async bites({ undo }, context) {
    const store = storeOf(context, undo.region);
    const strays = await marked(store, undo, undo.strays, context.signal);
    const changed = await marked(
      store,
      undo,
      undo.originals.map(({ id }) => id),
      context.signal,
    );
    if (strays.length < undo.strays.length || changed.length < undo.originals.length) return undefined;
    return `${undo.region} holds ${strays.length} strays and ${changed.length} changed documents`;
  },

  /** What a sync or a person has put right meanwhile no longer carries the mark, and is left as it is. */
  async revert(undo, context) {
    const store = storeOf(context, undo.region);
    const strays = await marked(store, undo, undo.strays, context.signal);
    if (strays.length > 0) await store.remove(strays, context.signal);
    const ids = undo.originals.map(({ id }) => id);
    const changed = await marked(store, undo, ids, context.signal);
    const originals = undo.originals.filter(({ id }) => changed.includes(id));
    if (originals.length > 0) await store.overwrite(originals, context.signal);
  },

  async isReverted(undo, context) {
    const ids = [...undo.strays, ...undo.originals.map(({ id }) => id)];
    const left = await marked(storeOf(context, undo.region), undo, ids, context.signal);
    return left.length === 0
      ? { state: 'reverted' }
      : { state: 'pending', detail: `${left.length} vectors of ${undo.region} still differ` };
  },

  // What the documents were before is in the journal alone; without it, a full sync puts them right.
  discover: async () => [],
});
