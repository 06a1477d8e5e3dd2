import { z } from 'zod';
import { carriedOnHosts, hostUndoSchema } from '../hosts.ts';
import { networkCommand, planReplica } from '../replication-host.ts';
import { definePause, faultName } from './provider.ts';

const store = 'postgres' as const;

const params = z.strictObject({
  store: z.literal(store),
  region: z
    .string()
    .default('failover')
    .meta({ description: 'failover, or the name of a region whose database is a replica.' }),
});

const carried = carriedOnHosts<z.output<typeof params>>({
  fault: faultName,
  inForce: 'running',
  does: ({ host }) => `drops what comes to ${host} from its source`,
  command: (_params, undo, context) =>
    networkCommand('AWSFIS-Run-Network-Packet-Loss-Sources', { LossPercent: '100' }, undo, context),
});

/** Nothing of the source's log arrives at the replica's host. */
export const postgres = definePause({
  ...carried,
  params,
  undo: z.strictObject({ store: z.literal(store), ...hostUndoSchema.shape }),
  expiry: 'the duration of the FIS experiment and of the command on the host; the stop alarm; the safety lever',

  async plan({ region }, context) {
    const planned = await planReplica(region, context);
    return planned.map((one) => ({ ...one, undo: { store, ...one.undo } as const }));
  },
  async discover(runId, context) {
    const found = await carried.discover(runId, context);
    return found.map((undo) => ({ store, ...undo }) as const);
  },
});
