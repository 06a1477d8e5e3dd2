import { z } from 'zod';
import { defineFault } from '../../fault.ts';
import { postgresPause } from './postgres.ts';

const stores = { postgres: postgresPause };

/** A copy stands still while its source goes on. One file per store; undo records name theirs. */
export const replicationPause = defineFault({
  name: 'replication.pause',
  summary: 'Stops the replication of a store to a region, while its source goes on.',
  params: z.strictObject({
    store: z.enum(['postgres']).default('postgres').meta({ description: 'Whose replication stops.' }),
    region: z.string().default('failover').meta({ description: 'failover, or the name of a region with a copy.' }),
  }),
  undo: z.discriminatedUnion('store', [z.strictObject({ store: z.literal('postgres'), record: postgresPause.undo })]),
  expiry: 'the duration of the FIS experiment and of the command on the host; the stop alarm; the safety lever',

  permissions: ({ store }, environment) => stores[store].permissions(environment),
  async plan({ store, region }, context) {
    const planned = await stores[store].plan(region, context);
    return planned.map((one) => ({ ...one, undo: { store, record: one.undo } }));
  },
  prepare: ({ undo }, _params, context) => stores[undo.store].prepare(undo.record, context),
  inject: ({ undo }, _params, context) => stores[undo.store].inject(undo.record, context),
  bites: ({ undo }, context) => stores[undo.store].bites(undo.record, context),
  revert: ({ store, record }, context) => stores[store].revert(record, context),
  isReverted: ({ store, record }, context) => stores[store].isReverted(record, context),
  discover: async (runId, context) =>
    (await stores.postgres.discover(runId, context)).map((record) => ({ store: 'postgres' as const, record })),
});
