import { z } from 'zod';
import type { ObjectVersion } from '../../../adapters/ports.ts';
import { BlackstartError } from '../../../core/errors.ts';
import { bucketOf, resolveRegion } from '../../../core/places.ts';
import type { RevertState } from '../../../core/undo.ts';
import { defineFault, type FaultContext, type Planned } from '../../fault.ts';

const undoSchema = z.strictObject({
  region: z.string(),
  bucket: z.string(),
  key: z.string(),
  /** What the key held. */
  versionId: z.string(),
});
type Undo = z.output<typeof undoSchema>;

/** So many objects are an accident; more are a migration. */
const objectsMax = 100;

const refused = (message: string, hint: string): BlackstartError => new BlackstartError('PLAN_REFUSED', message, hint);

const byKey = (one: ObjectVersion, other: ObjectVersion): number => (one.key < other.key ? -1 : 1);

/** The versions of exactly this key. */
const versionsOf = async (
  { region, bucket, key }: Pick<Undo, 'region' | 'bucket' | 'key'>,
  { ports, signal }: FaultContext,
): Promise<readonly ObjectVersion[]> =>
  (await ports.s3(region).versions(bucket, key, signal)).filter((version) => version.key === key);

/** How the key stands against what it held before. */
const stateOf = (
  { versionId }: Undo,
  versions: readonly ObjectVersion[],
):
  | { readonly state: 'there' | 'hidden'; readonly markerId: string }
  | { readonly state: 'other'; readonly why: string } => {
  const latest = versions.find(({ isLatest }) => isLatest);
  const newest = versions.find(({ isDeleteMarker }) => !isDeleteMarker);
  if (latest === undefined) return { state: 'other', why: 'every version is gone' };
  if (newest?.versionId !== versionId) {
    return {
      state: 'other',
      why: newest === undefined ? 'the version is gone' : `version ${newest.versionId} is there`,
    };
  }
  return { state: latest.isDeleteMarker ? 'hidden' : 'there', markerId: latest.versionId };
};

const isVersioned = async (region: string, bucket: string, { ports, signal }: FaultContext): Promise<void> => {
  const versioning = await ports.s3(region).versioning(bucket, signal);
  if (versioning === 'enabled') return;
  throw refused(
    `versioning of bucket ${bucket} in ${region} is ${versioning}: what is deleted there is gone`,
    'Enable versioning of the bucket first: the fault can then be undone, and so can an accident.',
  );
};

/** Hides an object behind a delete marker, as `aws s3 rm` does. Its versions stay, so that it can be had again. */
export const objectDelete = defineFault({
  name: 'object.delete',
  summary: 'Deletes objects of a versioned bucket, as an accident would: a delete marker hides what is there.',
  params: z
    .strictObject({
      region: z.string().default('primary').meta({ description: 'Region whose bucket it is in.' }),
      key: z.string().min(1).max(1024).optional().meta({ description: 'The object.' }),
      prefix: z.string().min(1).max(1024).optional().meta({ description: 'Every object under it, instead of one.' }),
    })
    .refine(({ key, prefix }) => (key === undefined) !== (prefix === undefined), { error: 'give a key or a prefix' }),
  undo: undoSchema,
  expiry: 'none on the target side: a delete marker stays until it is removed',

  permissions({ region }, environment) {
    const arn = `arn:aws:s3:::${bucketOf(environment, resolveRegion(environment, region))}`;
    return [
      ...['s3:GetBucketVersioning', 's3:ListBucketVersions'].map((action) => ({ action, resource: arn })),
      ...['s3:DeleteObject', 's3:DeleteObjectVersion'].map((action) => ({ action, resource: `${arn}/*` })),
    ].map((one) => ({ provider: 'aws' as const, ...one }));
  },

  async plan({ region: reference, key, prefix = key ?? '' }, context) {
    const { environment, ports, signal } = context;
    const found = resolveRegion(environment, reference);
    const region = found.name;
    const bucket = bucketOf(environment, found);
    await isVersioned(region, bucket, context);
    const current = (await ports.s3(region).versions(bucket, prefix, signal))
      .filter((version) => version.isLatest && !version.isDeleteMarker)
      .filter((version) => key === undefined || version.key === key)
      .toSorted(byKey);
    if (current.length === 0) {
      throw refused(`bucket ${bucket} in ${region} holds no ${prefix}`, 'Name an object that is there.');
    }
    if (current.length > objectsMax) {
      throw refused(`${current.length} objects are under ${prefix}, at most ${objectsMax} are deleted`, 'Name fewer.');
    }
    return current.map((version): Planned<Undo> => {
      const undo = { region, bucket, key: version.key, versionId: version.versionId };
      const target = `object/${region}/${bucket}/${version.key}`;
      return { target, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } };
    });
  },

  async inject({ undo }, _params, context) {
    const now = stateOf(undo, await versionsOf(undo, context));
    if (now.state === 'hidden') return;
    if (now.state === 'other') throw refused(`${undo.key} changed since it was planned: ${now.why}`, 'Plan again.');
    await context.ports.s3(undo.region).deleteObject(undo.bucket, undo.key, context.signal);
  },

  async bites({ undo }, context) {
    const now = stateOf(undo, await versionsOf(undo, context));
    return now.state === 'hidden' ? `delete marker ${now.markerId} hides ${undo.key}` : undefined;
  },

  /** Only a marker right above what was there before is taken away: what somebody put meanwhile is theirs. */
  async revert(undo, context) {
    const now = stateOf(undo, await versionsOf(undo, context));
    if (now.state !== 'hidden') return;
    await context.ports.s3(undo.region).deleteVersion(undo.bucket, undo.key, now.markerId, context.signal);
  },

  async isReverted(undo, context): Promise<RevertState> {
    const now = stateOf(undo, await versionsOf(undo, context));
    if (now.state === 'other') {
      return { state: 'conflict', difference: `${undo.key}: was version ${undo.versionId}, and now ${now.why}` };
    }
    if (now.state === 'there') return { state: 'reverted' };
    return { state: 'pending', detail: `delete marker ${now.markerId} hides ${undo.key}` };
  },

  // A delete marker carries no tags: without a journal nobody can tell a drill's from an accident's.
  discover: async () => [],
});
