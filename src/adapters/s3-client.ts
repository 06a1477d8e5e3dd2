import type { ListObjectVersionsCommandOutput } from '@aws-sdk/client-s3';
import { type AwsCaller, allPages, lazily, tagsOf, unless } from './aws-call.ts';
import type { ObjectVersion, S3Port } from './ports.ts';

const arnStart = 'arn:aws:s3:::';
const bucketOf = (arn: string | undefined): string =>
  arn?.startsWith(arnStart) === true ? arn.slice(arnStart.length) : (arn ?? '');

/** The latest of a key first. The SDK tells versions and delete markers apart, in the order of either kind alone. */
const versionsOf = ({ Versions, DeleteMarkers }: ListObjectVersionsCommandOutput): readonly ObjectVersion[] => {
  const all = [
    ...(Versions ?? []).map((one) => ({ ...one, isDeleteMarker: false })),
    ...(DeleteMarkers ?? []).map((one) => ({ ...one, isDeleteMarker: true })),
  ];
  const timeOf = ({ LastModified }: { readonly LastModified?: Date | undefined }): number =>
    LastModified?.getTime() ?? 0;
  return all
    .sort((one, other) => {
      const byKey = (one.Key ?? '') < (other.Key ?? '') ? -1 : Number((one.Key ?? '') > (other.Key ?? ''));
      const byLatest = Number(other.IsLatest === true) - Number(one.IsLatest === true);
      return byKey || byLatest || timeOf(other) - timeOf(one);
    })
    .map(({ Key, VersionId, IsLatest, isDeleteMarker }) => ({
      key: Key ?? '',
      versionId: VersionId ?? '',
      isLatest: IsLatest === true,
      isDeleteMarker,
    }));
};

/** What marks where a page of versions ends: two markers, told as one. */
const nextOf = ({ IsTruncated, NextKeyMarker, NextVersionIdMarker }: ListObjectVersionsCommandOutput) =>
  IsTruncated === true ? JSON.stringify([NextKeyMarker, NextVersionIdMarker]) : undefined;

const markersOf = (token: string | undefined): { KeyMarker?: string; VersionIdMarker?: string } => {
  const [key, version]: readonly (string | null | undefined)[] = token === undefined ? [] : JSON.parse(token);
  return {
    ...(typeof key === 'string' ? { KeyMarker: key } : {}),
    ...(typeof version === 'string' ? { VersionIdMarker: version } : {}),
  };
};

/** Buckets and the versions in them. Objects themselves are read and written where the probes stand, not from here. */
export const createS3Port = (caller: AwsCaller): S3Port => {
  const load = lazily(async () => {
    const sdk = await import('@aws-sdk/client-s3');
    // An endpoint of one's own is an address, of which no bucket can be a subdomain.
    return {
      sdk,
      client: new sdk.S3Client({ ...caller.config, forcePathStyle: caller.config.endpoint !== undefined }),
    };
  });

  return {
    async versioning(bucket, signal) {
      const { sdk, client } = await load();
      const command = new sdk.GetBucketVersioningCommand({ Bucket: bucket });
      const { Status } = await caller.call('GetBucketVersioning', signal, (options) => client.send(command, options));
      if (Status === 'Enabled') return 'enabled';
      return Status === 'Suspended' ? 'suspended' : 'never-enabled';
    },

    async tags(bucket, signal) {
      const { sdk, client } = await load();
      const command = new sdk.GetBucketTaggingCommand({ Bucket: bucket });
      const found = await unless(
        ['NoSuchTagSet'],
        caller.call('GetBucketTagging', signal, (options) => client.send(command, options)),
      );
      return tagsOf(found?.TagSet);
    },

    async replicationRules(bucket, signal) {
      const { sdk, client } = await load();
      const command = new sdk.GetBucketReplicationCommand({ Bucket: bucket });
      const found = await unless(
        ['ReplicationConfigurationNotFoundError'],
        caller.call('GetBucketReplication', signal, (options) => client.send(command, options)),
      );
      return (found?.ReplicationConfiguration?.Rules ?? []).map(({ ID, Status, Destination }) => ({
        id: ID ?? '',
        isEnabled: Status === 'Enabled',
        destination: bucketOf(Destination?.Bucket),
      }));
    },

    async versions(bucket, prefix, signal) {
      const { sdk, client } = await load();
      return await allPages(async (token) => {
        const command = new sdk.ListObjectVersionsCommand({ Bucket: bucket, Prefix: prefix, ...markersOf(token) });
        const page = await caller.call('ListObjectVersions', signal, (options) => client.send(command, options));
        return { items: versionsOf(page), next: nextOf(page) };
      });
    },

    async deleteObject(bucket, key, signal) {
      const { sdk, client } = await load();
      const command = new sdk.DeleteObjectCommand({ Bucket: bucket, Key: key });
      const answer = await caller.call('DeleteObject', signal, (options) => client.send(command, options));
      return answer.DeleteMarker === true ? answer.VersionId : undefined;
    },

    async deleteVersion(bucket, key, versionId, signal) {
      const { sdk, client } = await load();
      const command = new sdk.DeleteObjectCommand({ Bucket: bucket, Key: key, VersionId: versionId });
      await unless(
        ['NoSuchVersion', 'NoSuchKey'],
        caller.call('DeleteObject', signal, (options) => client.send(command, options)),
      );
    },
  };
};
