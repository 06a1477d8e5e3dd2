import { z } from 'zod';
import type { FaultContext } from '../../fault.ts';
import {
  discoverOnHosts,
  experimentIn,
  type HostUndo,
  hostPermissions,
  hostUndoSchema,
  prepareHost,
  revertHost,
  runOnHost,
  stateOfHost,
} from '../hosts.ts';
import { isPostgres, networkCommand, planReplica } from '../replication-host.ts';
import { definePause, faultName } from './provider.ts';

const commandFor = (undo: HostUndo, context: FaultContext) =>
  networkCommand('AWSFIS-Run-Network-Packet-Loss-Sources', { LossPercent: '100' }, undo, context);

/** PostgreSQL's log to a replica, on the replica's host: nothing arrives from the hosts of its source. */
export const postgres = definePause({
  params: z.strictObject({
    store: z.literal('postgres'),
    region: z
      .string()
      .default('failover')
      .meta({ description: 'failover, or the name of a region whose database is a replica.' }),
  }),
  undo: z.strictObject({ store: z.literal('postgres'), ...hostUndoSchema.shape }),
  expiry: 'the duration of the FIS experiment and of the command on the host; the stop alarm; the safety lever',

  permissions: (_params, environment) => hostPermissions(environment),
  async plan({ region }, context) {
    const planned = await planReplica(region, context);
    return planned.map((one) => ({ ...one, undo: { store: 'postgres' as const, ...one.undo } }));
  },
  async prepare({ undo }, _params, context) {
    await prepareHost(faultName, undo, await commandFor(undo, context), context);
  },
  async inject({ undo }, _params, context) {
    await runOnHost(faultName, undo, await commandFor(undo, context), context, 'running');
  },
  async bites({ undo }, context) {
    const id = await experimentIn(faultName, undo, 'running', context);
    return id === undefined ? undefined : `FIS experiment ${id} drops what comes to ${undo.host} from its source`;
  },
  revert: (undo, context) => revertHost(faultName, undo, context),
  isReverted: (undo, context) => stateOfHost(faultName, undo, context),
  async discover(runId, context) {
    const found = await discoverOnHosts(faultName, runId, context);
    return found.filter(isPostgres).map((undo) => ({ store: 'postgres' as const, ...undo }));
  },
});
