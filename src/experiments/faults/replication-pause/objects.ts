import { z } from 'zod';
import type { ReplicationRule } from '../../../adapters/ports.ts';
import { bucketOf, resolveRegion } from '../../../core/places.ts';
import type { FaultContext } from '../../fault.ts';
import { assertLever, environmentTag, fisPermissions, isoDuration, refused } from '../fis.ts';
import { carriedByFis } from '../fis-carried.ts';
import { definePause, faultName } from './provider.ts';

const params = z.strictObject({
  store: z.literal('objects'),
  from: z.string().default('primary').meta({ description: 'Region whose bucket is replicated.' }),
  to: z.string().default('failover').meta({ description: 'Region whose bucket gets the copies.' }),
});
type Params = z.output<typeof params>;

const ruleSchema = z.strictObject({ id: z.string(), isEnabled: z.boolean(), destination: z.string() });

const undoSchema = z.strictObject({
  store: z.literal('objects'),
  run: z.string(),
  target: z.string(),
  region: z.string(),
  bucket: z.string(),
  /** As they were before: FIS may write the rules while it pauses them, and must write them back. */
  rules: z.array(ruleSchema),
});
type Undo = z.output<typeof undoSchema>;

const targetPrefix = 'replication/objects/';
const arnOf = (bucket: string): string => `arn:aws:s3:::${bucket}`;

const rulesNow = async ({ region, bucket }: Undo, { ports, signal }: FaultContext): Promise<Undo['rules']> =>
  ordered(await ports.s3(region).replicationRules(bucket, signal));

const ordered = (rules: readonly ReplicationRule[]): Undo['rules'] =>
  rules
    .map(({ id, isEnabled, destination }) => ({ id, isEnabled, destination }))
    .toSorted((one, other) => (one.id < other.id ? -1 : 1));

const wordRules = (rules: Undo['rules']): string =>
  rules.map(({ id, isEnabled, destination }) => `${id} to ${destination}${isEnabled ? '' : ' (off)'}`).join(', ');

const namesOf = ({ from, to }: Params, { environment }: Pick<FaultContext, 'environment'>) => {
  const source = resolveRegion(environment, from);
  const destination = resolveRegion(environment, to);
  return {
    region: source.name,
    bucket: bucketOf(environment, source),
    toRegion: destination.name,
    toBucket: bucketOf(environment, destination),
  };
};

const planOne = async (given: Params, context: FaultContext): Promise<Undo> => {
  const { ports, signal, environment, runId } = context;
  const { region, bucket, toRegion, toBucket } = namesOf(given, context);
  if (region === toRegion) throw refused(`${region} is not replicated to itself`, 'Name two regions.');
  await assertLever(region, context);
  const s3 = ports.s3(region);
  if ((await s3.tags(bucket, signal))[environmentTag] !== environment.name) {
    throw refused(
      `bucket ${bucket} is not tagged ${environmentTag}=${environment.name}`,
      'Tag the bucket that may be drilled; others are never touched.',
    );
  }
  const rules = ordered(await s3.replicationRules(bucket, signal));
  if (!rules.some(({ isEnabled, destination }) => isEnabled && destination === toBucket)) {
    throw refused(
      `bucket ${bucket} in ${region} is not replicated to ${toBucket}`,
      'Compare "aws s3api get-bucket-replication" with the buckets in the environment file.',
    );
  }
  return { store: 'objects', run: runId, target: `${targetPrefix}${region}/${toRegion}`, region, bucket, rules };
};

const carried = carriedByFis<Params, Undo>({
  fault: faultName,
  inForce: 'running',
  does: ({ bucket }) => `pauses the replication of ${bucket}`,

  /** What the rules were is not among the tags: as they are now is what must stay. */
  async undoOf({ run, target, region }, _tags, context) {
    if (!target.startsWith(targetPrefix)) return undefined;
    const bucket = bucketOf(context.environment, resolveRegion(context.environment, region));
    const rules = ordered(await context.ports.s3(region).replicationRules(bucket, context.signal));
    return { store: 'objects', run, target, region, bucket, rules };
  },

  async work(undo, given, context) {
    const now = await planOne(given, context);
    if (JSON.stringify(now) !== JSON.stringify(undo)) {
      throw refused(`${undo.target} changed since it was planned`, 'Plan again.');
    }
    const { toRegion, toBucket } = namesOf(given, context);
    return {
      planned: { arns: [arnOf(undo.bucket)], noun: 'buckets' },
      // FIS chooses buckets by their tags alone.
      targets: {
        buckets: {
          resourceType: 'aws:s3:bucket',
          resourceTags: { [environmentTag]: context.environment.name },
          selectionMode: 'ALL',
        },
      },
      actions: {
        pause: {
          actionId: 'aws:s3:bucket-pause-replication',
          parameters: { duration: isoDuration(context.expiryMs), region: toRegion, destinationBuckets: toBucket },
          targets: { Buckets: 'buckets' },
        },
      },
    };
  },
});

/**
 * Cross-region replication of a bucket, through FIS. What is put meanwhile is PENDING, and follows afterwards. The
 * bucket does not say that it is paused: FIS does, once it has paused it.
 */
export const objects = definePause({
  ...carried,
  params,
  undo: undoSchema,
  expiry: 'the duration of the FIS experiment, which resumes it by itself; the stop alarm; the safety lever',

  permissions(given, environment) {
    const { bucket } = namesOf(given, { environment });
    const onBucket = (action: string) => ({ provider: 'aws' as const, action, resource: arnOf(bucket) });
    return [
      ...fisPermissions(environment, []),
      ...['s3:GetBucketTagging', 's3:GetReplicationConfiguration'].map(onBucket),
    ];
  },

  async plan(given, context) {
    const undo = await planOne(given, context);
    return [{ target: undo.target, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } }];
  },

  async isReverted(undo, context) {
    const own = await carried.isReverted(undo, context);
    if (own.state !== 'reverted') return own;
    const now = await rulesNow(undo, context);
    if (JSON.stringify(now) === JSON.stringify(undo.rules)) return { state: 'reverted' };
    const difference = `replication of ${undo.bucket}: was ${wordRules(undo.rules)}, is now ${wordRules(now)}`;
    return { state: 'conflict', difference };
  },
});
