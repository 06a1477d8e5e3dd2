import type { z } from 'zod';
import { defineFault, type Fault, type FaultDefinition } from '../../fault.ts';

/** What parameters and undo record of a provider have in common: the store that they are about. */
type OfStore = z.ZodObject<{ store: z.ZodLiteral<string> }>;

/** How the replication of one kind of store is paused. Adding one is a file here and a line in this folder's index. */
export type PauseDefinition<Params extends OfStore, Undo extends OfStore> = Omit<
  FaultDefinition<Params, Undo>,
  'name' | 'summary'
>;

/** A provider with its types closed over: a fault, and the shapes that those of the whole fault are made of. */
export interface PauseProvider extends Fault {
  readonly store: string;
  readonly paramsOfStore: OfStore;
  readonly undoOfStore: OfStore;
}

export const faultName = 'replication.pause';

export const definePause = <Params extends OfStore, Undo extends OfStore>(
  definition: PauseDefinition<Params, Undo>,
): PauseProvider => ({
  ...defineFault({ ...definition, name: faultName, summary: '' }),
  store: definition.params.shape.store.value,
  paramsOfStore: definition.params,
  undoOfStore: definition.undo,
});
