import type { FaultContext, Planned } from '../../fault.ts';
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
import { networkCommand, planReplica } from '../replication-host.ts';

const name = 'replication.pause';

const commandFor = (undo: HostUndo, context: FaultContext) =>
  networkCommand('AWSFIS-Run-Network-Packet-Loss-Sources', { LossPercent: '100' }, undo, context);

/** `replication.pause` of PostgreSQL: nothing of the source's log arrives at the replica's host. */
export const postgresPause = {
  undo: hostUndoSchema,
  permissions: hostPermissions,
  plan: (region: string, context: FaultContext): Promise<readonly Planned<HostUndo>[]> => planReplica(region, context),
  prepare: async (undo: HostUndo, context: FaultContext): Promise<void> => {
    await prepareHost(name, undo, await commandFor(undo, context), context);
  },
  inject: async (undo: HostUndo, context: FaultContext): Promise<void> => {
    await runOnHost(name, undo, await commandFor(undo, context), context, 'running');
  },
  bites: async (undo: HostUndo, context: FaultContext): Promise<string | undefined> => {
    const id = await experimentIn(name, undo, 'running', context);
    return id === undefined ? undefined : `FIS experiment ${id} drops what comes to ${undo.host} from its source`;
  },
  revert: (undo: HostUndo, context: FaultContext) => revertHost(name, undo, context),
  isReverted: (undo: HostUndo, context: FaultContext) => stateOfHost(name, undo, context),
  discover: (runId: string | undefined, context: FaultContext) => discoverOnHosts(name, runId, context),
};
