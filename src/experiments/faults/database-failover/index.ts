import { z } from 'zod';
import type { DatabaseInstance } from '../../../adapters/ports.ts';
import { BlackstartError } from '../../../core/errors.ts';
import { resolveRegion } from '../../../core/places.ts';
import type { RevertState } from '../../../core/undo.ts';
import { defineFault, type FaultContext } from '../../fault.ts';

const undoSchema = z.strictObject({ region: z.string(), instance: z.string(), zoneBefore: z.string() });
type Undo = z.output<typeof undoSchema>;

const describe = async (
  { region, instance }: Pick<Undo, 'region' | 'instance'>,
  { ports, signal }: FaultContext,
): Promise<DatabaseInstance> => {
  const found = await ports.rds(region).describe(instance, signal);
  if (found !== undefined) return found;
  throw new BlackstartError(
    'UNREACHABLE',
    `RDS knows no instance ${instance} in ${region}`,
    'Compare the environment file with "aws rds describe-db-instances".',
  );
};

/** Redundant again, in whichever zone the writer is: a failover is not undone by a second one. */
const stateOf = async (undo: Undo, context: FaultContext): Promise<RevertState> => {
  const now = await describe(undo, context);
  if (now.status === 'available' && now.secondaryZone !== null) return { state: 'reverted' };
  return {
    state: 'pending',
    detail: `${now.id} is ${now.status}, its standby in ${now.secondaryZone ?? 'no zone yet'}`,
  };
};

/** Fails a database over to its standby in the other zone, as when its host dies. */
export const databaseFailover = defineFault({
  name: 'database.failover',
  summary: "Reboots a region's database with failover to its standby zone.",
  params: z.strictObject({
    region: z.string().default('primary').meta({ description: 'primary, failover, or the name of a region.' }),
  }),
  undo: undoSchema,
  isOneShot: true,
  expiry: 'the failover itself: RDS ends it and restores the standby',

  permissions: (_params, environment) =>
    ['rds:DescribeDBInstances', 'rds:RebootDBInstance'].map((action) => ({
      provider: 'aws',
      action,
      resource: `arn:aws:rds:*:${environment.aws.account}:db:*`,
    })),

  async plan({ region: reference }, context) {
    const { name: region, database } = resolveRegion(context.environment, reference);
    const { instance } = database;
    const now = await describe({ region, instance }, context);
    if (now.status !== 'available' || !now.multiZone || now.secondaryZone === null) {
      const standby = now.secondaryZone === null ? 'no standby' : `a standby in ${now.secondaryZone}`;
      throw new BlackstartError(
        'PLAN_REFUSED',
        `${instance} is ${now.status} with ${standby}: it cannot fail over`,
        'Choose a Multi-AZ instance, and wait until it is available with its standby.',
      );
    }
    const undo: Undo = { region, instance, zoneBefore: now.zone };
    return [{ target: `database/${instance}`, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } }];
  },

  async inject({ undo }, _params, { ports, signal }) {
    await ports.rds(undo.region).failover(undo.instance, signal);
  },

  async bites({ undo }, context) {
    const { id, zone } = await describe(undo, context);
    return zone === undo.zoneBefore ? undefined : `the writer of ${id} moved from ${undo.zoneBefore} to ${zone}`;
  },

  /** Nothing to put back: RDS makes the old writer the new standby. */
  revert: async () => undefined,
  isReverted: stateOf,
  // It carries no run id, and nothing of it stays.
  discover: async () => [],
});
