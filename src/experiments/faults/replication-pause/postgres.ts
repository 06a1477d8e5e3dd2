import { z } from 'zod';
import type { FaultContext } from '../../fault.ts';
import {
  discoverOnHosts,
  type HostUndo,
  hostExperimentIn,
  hostPermissions,
  hostUndoSchema,
  prepareHost,
  revertHost,
  runOnHost,
  stateOfHost,
} from '../hosts.ts';
import { networkCommand, planReplica } from '../replication-host.ts';
import { definePause, faultName } from './provider.ts';

const store = 'postgres' as const;

const commandFor = (undo: HostUndo, context: FaultContext) =>
  networkCommand('AWSFIS-Run-Network-Packet-Loss-Sources', { LossPercent: '100' }, undo, context);

/** Nothing of the source's log arrives at the replica's host. */
export const postgres = definePause({
  params: z.strictObject({
    store: z.literal(store),
    region: z
      .string()
      .default('failover')
      .meta({ description: 'failover, or the name of a region whose database is a replica.' }),
  }),
  undo: z.strictObject({ store: z.literal(store), ...hostUndoSchema.shape }),
  expiry: 'the duration of the FIS experiment and of the command on the host; the stop alarm; the safety lever',

  permissions: (_params, environment) => hostPermissions(environment),
  async plan({ region }, context) {
    const planned = await planReplica(region, context);
    return planned.map((one) => ({ ...one, undo: { store, ...one.undo } as const }));
  },
  async prepare({ undo }, _params, context) {
    await prepareHost(faultName, undo, await commandFor(undo, context), context);
  },
  async inject({ undo }, _params, context) {
    await runOnHost(faultName, undo, await commandFor(undo, context), context, 'running');
  },
  async bites({ undo }, context) {
    const id = await hostExperimentIn(faultName, undo, 'running', context);
    return id === undefined ? undefined : `FIS experiment ${id} drops what comes to ${undo.host} from its source`;
  },
  revert: (undo, context) => revertHost(faultName, undo, context),
  isReverted: (undo, context) => stateOfHost(faultName, undo, context),
  async discover(runId, context) {
    const found = await discoverOnHosts(faultName, runId, context);
    return found.map((undo) => ({ store, ...undo }) as const);
  },
});
