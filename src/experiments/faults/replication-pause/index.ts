import { z } from 'zod';
import { defineFault, type FaultContext } from '../../fault.ts';
import { objects } from './objects.ts';
import { postgres } from './postgres.ts';
import { faultName, type PauseProvider } from './provider.ts';
import { vectors } from './vectors.ts';

/** The stores whose replication can be paused. */
const providers: readonly [PauseProvider, ...PauseProvider[]] = [objects, postgres, vectors];

type Shape = PauseProvider['paramsOfStore'];
const oneOf = (shapes: readonly Shape[]) => {
  const [first, ...others] = shapes;
  if (first === undefined) throw new Error('there is no store whose replication can be paused');
  return z.discriminatedUnion('store', [first, ...others]);
};

const of = ({ store }: { readonly store: string }): PauseProvider => {
  const found = providers.find((provider) => provider.store === store);
  if (found === undefined) throw new Error(`no provider pauses the replication of ${store}`);
  return found;
};

const storeSchema = z.looseObject({ store: z.string() });

/** Replication from a region to another stands still: what is written meanwhile is in one region alone. */
export const replicationPause = defineFault({
  name: faultName,
  summary: 'Pauses the replication of a store from one region to another.',
  params: oneOf(providers.map(({ paramsOfStore }) => paramsOfStore)),
  undo: oneOf(providers.map(({ undoOfStore }) => undoOfStore)),
  expiry: providers.map(({ store, expiry }) => `${store}: ${expiry}`).join('; '),
  permissions: (params, environment) => of(params).permissions(params, environment),

  async plan(params, context) {
    const planned = await of(params).plan(params, context);
    return planned.map(({ undo, ...one }) => ({ ...one, undo: storeSchema.parse(undo) }));
  },
  prepare: async (planned, params, context) => await of(params).prepare?.(planned, params, context),
  inject: (planned, params, context) => of(params).inject(planned, params, context),
  bites: (planned, context) => of(planned.undo).bites(planned, context),
  revert: (undo, context) => of(undo).revert(undo, context),
  isReverted: (undo, context) => of(undo).isReverted(undo, context),

  async discover(runId: string | undefined, context: FaultContext) {
    const found = await Promise.all(providers.map((provider) => provider.discover(runId, context)));
    return found.flat().map((undo) => storeSchema.parse(undo));
  },
});
