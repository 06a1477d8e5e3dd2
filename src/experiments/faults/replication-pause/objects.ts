import { z } from 'zod';
import type { FisTemplate, ReplicationRule } from '../../../adapters/ports.ts';
import { bucketOf, resolveRegion } from '../../../core/places.ts';
import type { FaultContext } from '../../fault.ts';
import {
  assertLever,
  endExperiments,
  environmentTag,
  experimentsOf,
  type FisUse,
  faultTag,
  fisPermissions,
  isActive,
  isoDuration,
  prepareTemplate,
  refused,
  runningExperiment,
  runTag,
  startTemplate,
  tagsOfUse,
  targetTag,
  templateBase,
  templatesOf,
} from '../fis.ts';
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

const useOf = ({ run, target, region }: Pick<Undo, 'run' | 'target' | 'region'>): FisUse => ({
  fault: faultName,
  run,
  target,
  region,
});

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

/** FIS chooses buckets by their tags alone. */
const templateFor = (undo: Undo, toRegion: string, toBucket: string, context: FaultContext): FisTemplate => {
  const use = useOf(undo);
  return {
    ...templateBase(use, tagsOfUse(use), context),
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
  return { store: 'objects', run: runId, target: `replication/objects/${region}/${toRegion}`, region, bucket, rules };
};

const prepareOne = async (undo: Undo, given: Params, context: FaultContext): Promise<string> => {
  const now = await planOne(given, context);
  if (JSON.stringify(now) !== JSON.stringify(undo)) {
    throw refused(`${undo.target} changed since it was planned`, 'Plan again.');
  }
  const { toRegion, toBucket } = namesOf(given, context);
  const template = templateFor(undo, toRegion, toBucket, context);
  return await prepareTemplate(useOf(undo), template, { arns: [arnOf(undo.bucket)], noun: 'buckets' }, context);
};

/** Undo records from tags alone. What the rules were is not among them: as they are now is what must stay. */
const discoverIn = async (
  region: string,
  runId: string | undefined,
  context: FaultContext,
): Promise<readonly Undo[]> => {
  const { ports, signal, environment } = context;
  const fis = ports.fis(region);
  const tags = [
    ...(await fis.listTemplates(faultTag, faultName, signal)).map((one) => one.tags),
    ...(await fis.listExperiments(faultTag, faultName, signal)).filter(isActive).map((one) => one.tags),
  ];
  const found = new Map<string, Undo>();
  for (const { [runTag]: run, [targetTag]: target } of tags) {
    if (run === undefined || target?.startsWith('replication/objects/') !== true) continue;
    if (runId !== undefined && run !== runId) continue;
    const bucket = bucketOf(environment, resolveRegion(environment, region));
    const rules = ordered(await ports.s3(region).replicationRules(bucket, signal));
    found.set(`${run} ${target}`, { store: 'objects', run, target, region, bucket, rules });
  }
  return [...found.values()];
};

/** Cross-region replication of a bucket, through FIS. What is put meanwhile is PENDING, and follows afterwards. */
export const objects = definePause({
  params,
  undo: undoSchema,
  expiry: 'the duration of the FIS experiment, which resumes it by itself; the stop alarm; the safety lever',

  permissions(given, environment) {
    const { bucket } = namesOf(given, { environment });
    const onBucket = (action: string) => ({ provider: 'aws' as const, action, resource: arnOf(bucket) });
    return [...fisPermissions(environment), ...['s3:GetBucketTagging', 's3:GetReplicationConfiguration'].map(onBucket)];
  },

  async plan(given, context) {
    const undo = await planOne(given, context);
    return [{ target: undo.target, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } }];
  },

  async prepare({ undo }, given, context) {
    await prepareOne(undo, given, context);
  },

  async inject({ undo }, given, context) {
    const [prepared] = await templatesOf(useOf(undo), context);
    const id = prepared?.id ?? (await prepareOne(undo, given, context));
    await startTemplate(useOf(undo), id, tagsOfUse(useOf(undo)), context);
  },

  /** The bucket does not say that it is paused: FIS does, once it has paused it. */
  async bites({ undo }, context) {
    const running = await runningExperiment(useOf(undo), context);
    return running === undefined ? undefined : `FIS experiment ${running.id} pauses the replication of ${undo.bucket}`;
  },

  revert: (undo, context) => endExperiments(useOf(undo), context),

  async isReverted(undo, context) {
    const active = (await experimentsOf(useOf(undo), context)).find(isActive);
    if (active !== undefined) return { state: 'pending', detail: `FIS experiment ${active.id} is ${active.status}` };
    const now = await rulesNow(undo, context);
    if (JSON.stringify(now) === JSON.stringify(undo.rules)) return { state: 'reverted' };
    const difference = `replication of ${undo.bucket}: was ${wordRules(undo.rules)}, is now ${wordRules(now)}`;
    return { state: 'conflict', difference };
  },

  async discover(runId, context) {
    const found = context.environment.regions
      .filter(({ objects: store }) => store !== undefined)
      .map(({ name }) => discoverIn(name, runId, context));
    return (await Promise.all(found)).flat();
  },
});
