import { z } from 'zod';
import type { DatabaseInstance, RdsPort } from '../../../adapters/ports.ts';
import { deadline, poll } from '../../../core/clock.ts';
import { BlackstartError } from '../../../core/errors.ts';
import { primaryRegion, resolveRegion } from '../../../core/places.ts';
import type { RevertState } from '../../../core/undo.ts';
import { defineFault, type FaultContext } from '../../fault.ts';

const place = z.strictObject({ region: z.string(), instance: z.string() });

/**
 * What the platform's database looked like before the promotion: who was primary, who is promoted, and where the
 * database's DNS name pointed. Enough to fail back from any half-way state.
 */
export const promotionUndoSchema = z.strictObject({
  original: place,
  promoted: place,
  zoneId: z.string(),
  recordName: z.string(),
  recordValue: z.string(),
  ttlSeconds: z.number(),
});
type Undo = z.output<typeof promotionUndoSchema>;

const lookEveryMs = 200;
/** Documented time one step of the way home may take. */
const stepDocumentedMs = 60 * 60_000;

const describe = async (rds: RdsPort, instance: string, signal: AbortSignal): Promise<DatabaseInstance> => {
  const found = await rds.describe(instance, signal);
  if (found !== undefined) return found;
  throw new BlackstartError(
    'UNREACHABLE',
    `RDS knows no instance ${instance}`,
    'Compare the environment file with "aws rds describe-db-instances".',
  );
};

/** Waits until the instance is available and `holds` is true of it. */
export const untilDatabase = async (
  context: FaultContext,
  where: { readonly region: string; readonly instance: string },
  what: string,
  holds: (instance: DatabaseInstance) => boolean,
): Promise<DatabaseInstance> => {
  const { clock, timeScale, ports, signal } = context;
  const limitMs = 30_000 + stepDocumentedMs / timeScale;
  const reason = new BlackstartError(
    'UNREACHABLE',
    `${where.instance} was not ${what} within ${Math.round(limitMs / 1000)} s`,
    'See its events in the RDS console, or "blackstart lab logs database".',
  );
  const limit = deadline(clock, limitMs, reason, signal);
  try {
    return await poll(clock, lookEveryMs, limit.signal, async () => {
      const now = await describe(ports.rds(where.region), where.instance, limit.signal);
      return now.status === 'available' && holds(now) ? now : undefined;
    });
  } finally {
    limit.dispose();
  }
};

/** Waits until no change is under way: what an instance is in the middle of one says nothing yet. */
const atRest = async (context: FaultContext, where: z.output<typeof place>): Promise<DatabaseInstance> => {
  const { ports, clock, signal } = context;
  return await poll(clock, lookEveryMs, signal, async () => {
    const now = await describe(ports.rds(where.region), where.instance, signal);
    return ['available', 'stopped', 'failed'].includes(now.status) ? now : undefined;
  });
};

/** Makes the original primary a replica of the promoted one, so that nothing written since the promotion is lost. */
export const resyncOriginal = async (undo: Undo, context: FaultContext): Promise<void> => {
  const original = await describe(context.ports.rds(undo.original.region), undo.original.instance, context.signal);
  if (original.source !== undo.promoted.instance) {
    await context.ports
      .rds(undo.original.region)
      .createReplica(undo.original.instance, undo.promoted.instance, context.signal);
  }
  const isReplica = (now: DatabaseInstance): boolean => now.source === undo.promoted.instance;
  await untilDatabase(context, undo.original, `a replica of ${undo.promoted.instance}`, isReplica);
};

/** What the name points at when it is neither home nor where the drill points it: somebody else decided that. */
const foreignName = async (undo: Undo, { ports, signal }: FaultContext): Promise<string | undefined> => {
  const now = (await ports.route53().getRecord(undo.zoneId, undo.recordName, signal))?.value ?? 'nothing';
  const isKnown = now === undo.recordValue || now.startsWith(`${undo.promoted.instance}.`);
  return isKnown ? undefined : `${undo.recordName}: was ${undo.recordValue}, is now ${now}`;
};

const pointHome = async (undo: Undo, { ports, signal }: FaultContext): Promise<void> => {
  const { zoneId, recordName: name, recordValue: value, ttlSeconds } = undo;
  const record = await ports.route53().getRecord(zoneId, name, signal);
  if (record?.value !== value)
    await ports.route53().putRecord(zoneId, { name, type: 'CNAME', value, ttlSeconds }, signal);
};

const isHome = async (undo: Undo, { ports, signal }: FaultContext): Promise<boolean> =>
  (await ports.route53().getRecord(undo.zoneId, undo.recordName, signal))?.value === undo.recordValue;

/** Connections that resolved the old name may write to the promoted instance for one more TTL. */
const drainMarginMs = 500;

/**
 * The way home, from whichever half-way state it is found in. The name decides who has authority while both instances
 * stand alone: pointing away, the original is first made a replica of the promoted one; pointing home, the original
 * already has every write. The name moves home while the original is still read-only, and the original is promoted only
 * after one TTL, so that a late write to the promoted instance is still replicated and none is ever lost.
 */
const failBack = async (undo: Undo, context: FaultContext): Promise<void> => {
  const { ports, signal, clock } = context;
  const foreign = await foreignName(undo, context);
  // The name says who has the newest writes. Where it says something else, no instance may be made a copy of another.
  if (foreign !== undefined) throw new BlackstartError('CONFLICT', foreign, 'Decide where the name belongs.');
  if ((await atRest(context, undo.promoted)).source !== undo.original.instance) {
    const original = await atRest(context, undo.original);
    if (original.source === null && (await isHome(undo, context))) {
      // The platform may have shut it when the other one was promoted; the name says that it still has every write.
      if (original.status === 'stopped') await ports.rds(undo.original.region).start(original.id, signal);
      await untilDatabase(context, undo.original, 'available again', () => true);
    } else {
      await resyncOriginal(undo, context);
      await pointHome(undo, context);
      await clock.sleep(undo.ttlSeconds * 1000 + drainMarginMs, signal);
      await ports.rds(undo.original.region).promote(undo.original.instance, signal);
      await untilDatabase(context, undo.original, 'a primary', (now) => now.source === null);
    }
    await ports.rds(undo.promoted.region).createReplica(undo.promoted.instance, undo.original.instance, signal);
  }
  await pointHome(undo, context);
};

const stateOf = async (undo: Undo, context: FaultContext): Promise<RevertState> => {
  const { ports, signal } = context;
  const difference = await foreignName(undo, context);
  if (difference !== undefined) return { state: 'conflict', difference };
  const promoted = await describe(ports.rds(undo.promoted.region), undo.promoted.instance, signal);
  const original = await describe(ports.rds(undo.original.region), undo.original.instance, signal);
  if (promoted.source !== undo.original.instance || promoted.status !== 'available') {
    return {
      state: 'pending',
      detail: `${promoted.id} becomes a replica of ${original.id} again (${promoted.status})`,
    };
  }
  if (original.status !== 'available' || (original.multiZone && original.secondaryZone === null)) {
    return { state: 'pending', detail: `${original.id} gets its standby back (${original.status})` };
  }
  if (await isHome(undo, context)) return { state: 'reverted' };
  return { state: 'pending', detail: `${undo.recordName} moves home` };
};

/** Promotes the failover region's database replica. Undone by failing back: resync, name, promotion, replica again. */
export const databasePromote = defineFault({
  name: 'database.promote',
  summary: "Promotes another region's replica to primary; undone by failing back without losing what was written.",
  params: z.strictObject({
    region: z.string().default('failover').meta({ description: 'Region whose replica is promoted.' }),
  }),
  undo: promotionUndoSchema,
  expiry: 'none on the target side: a promotion stays until it is failed back',

  permissions: (_params, environment) => [
    ...['DescribeDBInstances', 'PromoteReadReplica', 'CreateDBInstanceReadReplica', 'StartDBInstance'].map(
      (action) => ({
        provider: 'aws' as const,
        action: `rds:${action}`,
        resource: `arn:aws:rds:*:${environment.aws.account}:db:*`,
      }),
    ),
    {
      provider: 'aws',
      action: 'route53:ChangeResourceRecordSets',
      resource: `arn:aws:route53:::hostedzone/${environment.service.hostedZoneId}`,
    },
  ],

  async plan({ region }, context) {
    const { environment, ports, signal } = context;
    const promoted = resolveRegion(environment, region);
    const original = primaryRegion(environment);
    const { hostedZoneId: zoneId, databaseHost: recordName } = environment.service;
    const record = await ports.route53().getRecord(zoneId, recordName, signal);
    const now = await describe(ports.rds(promoted.name), promoted.database.instance, signal);
    if (record === undefined || now.source !== original.database.instance) {
      throw new BlackstartError(
        'PLAN_REFUSED',
        record === undefined
          ? `hosted zone ${zoneId} has no record ${recordName}`
          : `${now.id} is not a replica of ${original.database.instance}`,
        'Put the platform into its documented state first; "blackstart check" shows what differs.',
      );
    }
    const undo: Undo = {
      original: { region: original.name, instance: original.database.instance },
      promoted: { region: promoted.name, instance: promoted.database.instance },
      zoneId,
      recordName,
      recordValue: record.value,
      ttlSeconds: record.ttlSeconds,
    };
    return [{ target: `database/${now.id}`, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } }];
  },

  async inject({ undo }, _params, { ports, signal }) {
    await ports.rds(undo.promoted.region).promote(undo.promoted.instance, signal);
  },

  async bites({ undo }, { ports, signal }) {
    const now = await ports.rds(undo.promoted.region).describe(undo.promoted.instance, signal);
    return now?.status === 'available' && now.source === null ? `${now.id} is a primary` : undefined;
  },

  revert: failBack,
  isReverted: stateOf,
  // A promotion carries no run id of its own: it is found by its journal, or by "check", never guessed.
  discover: async () => [],
});
