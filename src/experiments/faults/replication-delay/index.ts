import { z } from 'zod';
import { durationMs } from '../../../core/duration.ts';
import { defineFault, type FaultContext } from '../../fault.ts';
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

const name = 'replication.delay';

const commandFor = (delayMs: number, undo: HostUndo, context: FaultContext) =>
  networkCommand(
    'AWSFIS-Run-Network-Latency-Sources',
    { DelayMilliseconds: String(Math.round(delayMs)) },
    undo,
    context,
  );

/** What a replica shows, and would have if it took over, lies further back. */
export const replicationDelay = defineFault({
  name,
  summary: "Delays PostgreSQL's log on its way to a replica, on the replica's host.",
  params: z.strictObject({
    region: z
      .string()
      .default('failover')
      .meta({ description: 'failover, or the name of a region whose database is a replica.' }),
    delay: durationMs.default(30_000).meta({ description: 'Documented time, one way, on top of the usual one.' }),
  }),
  undo: hostUndoSchema,
  expiry: 'the duration of the FIS experiment and of the command on the host; the stop alarm; the safety lever',

  permissions: (_params, environment) => hostPermissions(environment),
  plan: ({ region }, context) => planReplica(region, context),
  async prepare({ undo }, { delay }, context) {
    await prepareHost(name, undo, await commandFor(delay, undo, context), context);
  },
  async inject({ undo }, { delay }, context) {
    await runOnHost(name, undo, await commandFor(delay, undo, context), context, 'running');
  },
  async bites({ undo }, context) {
    const id = await hostExperimentIn(name, undo, 'running', context);
    return id === undefined ? undefined : `FIS experiment ${id} delays what comes to ${undo.host} from its source`;
  },
  revert: (undo, context) => revertHost(name, undo, context),
  isReverted: (undo, context) => stateOfHost(name, undo, context),
  discover: (runId, context) => discoverOnHosts(name, runId, context),
});
