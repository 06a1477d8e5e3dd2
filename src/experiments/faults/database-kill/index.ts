import { z } from 'zod';
import type { DatabaseInstance } from '../../../adapters/ports.ts';
import { BlackstartError } from '../../../core/errors.ts';
import { defineFault, type FaultContext } from '../../fault.ts';
import {
  carriedOnHosts,
  databaseField,
  databasePlace,
  type HostUndo,
  hostsOf,
  hostUndoSchema,
  noHost,
  plannedOn,
} from '../hosts.ts';

const name = 'database.kill';

const params = z.strictObject({
  database: databaseField,
  region: z
    .string()
    .default('primary')
    .meta({ description: 'primary, failover, or the name of a region; of conversations.' }),
});

const carried = carriedOnHosts<z.output<typeof params>>({
  fault: name,
  inForce: 'completed',
  does: ({ host }) => `had SSM kill -9 the postgres processes on ${host}`,
  command: async () => ({
    document: 'AWSFIS-Run-Kill-Process',
    parameters: { ProcessName: 'postgres', Signal: 'SIGKILL' },
  }),
});

const describe = async (
  { home, instance }: Pick<HostUndo, 'home' | 'instance'>,
  { ports, signal }: FaultContext,
): Promise<DatabaseInstance> => {
  const found = await ports.rds(home).describe(instance, signal);
  if (found !== undefined) return found;
  throw new BlackstartError(
    'UNREACHABLE',
    `RDS knows no instance ${instance} in ${home}`,
    'Compare the environment file with "aws rds describe-db-instances".',
  );
};

/** Kills every process of a database writer's server, as the kernel does when memory runs out. */
export const databaseKill = defineFault({
  ...carried,
  name,
  summary: "Kills (SIGKILL) the processes of a database writer's server on its host.",
  params,
  undo: hostUndoSchema,
  isOneShot: true,
  expiry: 'the kill itself: whoever runs the server starts it again, or its standby takes over',

  async plan({ database, region: reference }, context) {
    const { region: home, instance } = databasePlace(context.environment, database, reference);
    const now = await describe({ home, instance }, context);
    if (now.status !== 'available') {
      throw new BlackstartError(
        'PLAN_REFUSED',
        `${instance} is ${now.status}: there is no writer to kill`,
        'Wait until it is available.',
      );
    }
    const regions = context.environment.regions.map((one) => one.name);
    const hosts = await hostsOf(instance, regions, context);
    const host = hosts.find(({ zone }) => zone === now.zone);
    if (host === undefined) throw noHost(instance, now.zone);
    const { id, zone, region } = host;
    const redundant = now.secondaryZone !== null;
    const target = `database/${instance}`;
    return [plannedOn({ run: context.runId, target, region, host: id, zone, home, instance, redundant })];
  },

  async isReverted(undo, context) {
    const own = await carried.isReverted(undo, context);
    if (own.state !== 'reverted') return own;
    const now = await describe(undo, context);
    const isBack = now.status === 'available' && (now.secondaryZone !== null || !undo.redundant);
    if (isBack) return { state: 'reverted' };
    const standby = now.secondaryZone ?? 'no zone yet';
    return { state: 'pending', detail: `${now.id} is ${now.status}, its standby in ${standby}` };
  },
});
