import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { type Bucket, createBucketIn, isBucket, openBucket } from './object-bucket.ts';
import {
  type ListOptions,
  type ListPage,
  pageOf,
  pageOfVersions,
  type VersionListOptions,
  type VersionPage,
} from './object-listing.ts';

export type Versioning = 'Enabled' | 'Suspended';

/** Where a version's copy in one destination bucket stands. */
export type CopyState = 'PENDING' | 'COMPLETED' | 'FAILED';

/** One version of an object, or a delete marker: everything but the bytes. */
export interface ObjectVersion {
  readonly key: string;
  /** `null`, as a text, for what was put while versioning was not enabled. */
  readonly versionId: string;
  readonly isDeleteMarker: boolean;
  /** MD5 of the bytes, in quotes, as S3 gives it for an object that was put in one piece. */
  readonly etag: string;
  readonly size: number;
  /** ISO instant with milliseconds; a replica has that of its source. */
  readonly modified: string;
  readonly contentType: string;
  /** `x-amz-meta-…` without the prefix. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Of a source: per destination bucket. Of a copy that another region sent: `replica`. Else undefined. */
  readonly replication?: 'replica' | Readonly<Record<string, CopyState>>;
}

/** What a client gives of a new version. */
export interface NewObject extends Pick<ObjectVersion, 'key' | 'modified' | 'contentType' | 'metadata'> {
  /** Destination buckets that get a copy. */
  readonly copyTo?: readonly string[];
}

export interface BucketSettings {
  readonly created: string;
  /** Undefined: versioning was never enabled. */
  readonly versioning?: Versioning;
  /** As it was put. */
  readonly replicationXml?: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** Buckets of one region, kept as files, so that a restart loses nothing that was acknowledged. */
export interface ObjectStore {
  buckets(): readonly { readonly name: string; readonly created: string }[];
  hasBucket(bucket: string): boolean;
  createBucket(bucket: string, now: string): void;
  /** The bucket must be empty. */
  deleteBucket(bucket: string): void;
  /** No version and no delete marker is left. */
  isEmpty(bucket: string): boolean;
  settings(bucket: string): BucketSettings;
  changeSettings(bucket: string, change: Partial<Omit<BucketSettings, 'created'>>): void;
  replaceSettings(bucket: string, settings: BucketSettings): void;
  put(bucket: string, object: NewObject, bytes: Buffer): ObjectVersion;
  /** A copy from another region, with the version id it has there. The same one twice is one. */
  putReplica(bucket: string, version: ObjectVersion, bytes: Buffer): void;
  /** What a GET without a version id finds; `undefined` when there is none, or a delete marker is the latest. */
  head(bucket: string, key: string): ObjectVersion | undefined;
  /** Every version of a key, newest first. */
  versions(bucket: string, key: string): readonly ObjectVersion[];
  read(bucket: string, version: ObjectVersion): Buffer;
  /**
   * A DELETE without a version id: the delete marker it left, or undefined where versioning was never enabled and the
   * object is gone for good.
   */
  remove(bucket: string, marker: Pick<NewObject, 'key' | 'modified' | 'copyTo'>): ObjectVersion | undefined;
  /** Takes one version away for good; what it was, if it was there. */
  removeVersion(bucket: string, key: string, versionId: string): ObjectVersion | undefined;
  setCopyState(bucket: string, version: ObjectVersion, destination: string, state: CopyState): void;
  list(bucket: string, options: ListOptions): ListPage<ObjectVersion>;
  listVersions(bucket: string, options: VersionListOptions): VersionPage;
  /** Versions that wait for a copy, oldest first. */
  pending(bucket: string): readonly ObjectVersion[];
}

const nullVersion = 'null';

/** As long and as opaque as S3's own. */
const newVersionId = (): string => randomBytes(24).toString('base64url');

/** What `x-amz-replication-status` says: COMPLETED only when every destination has it. */
export const replicationStatusOf = ({ replication }: ObjectVersion): CopyState | 'REPLICA' | undefined => {
  if (replication === undefined) return undefined;
  if (replication === 'replica') return 'REPLICA';
  const states = Object.values(replication);
  if (states.includes('FAILED')) return 'FAILED';
  return states.includes('PENDING') ? 'PENDING' : 'COMPLETED';
};

const byText = (one: string, other: string): number => (one < other ? -1 : 1);

const copiesOf = (copyTo: readonly string[] | undefined): Pick<ObjectVersion, 'replication'> =>
  copyTo === undefined || copyTo.length === 0
    ? {}
    : { replication: Object.fromEntries(copyTo.map((destination) => [destination, 'PENDING'])) };

const idFor = ({ settings }: Bucket): string => (settings.versioning === 'Enabled' ? newVersionId() : nullVersion);

const leaveMarker = (
  bucket: Bucket,
  { copyTo, key, modified }: Pick<NewObject, 'key' | 'modified' | 'copyTo'>,
): ObjectVersion | undefined => {
  const versionId = idFor(bucket);
  const replaced = bucket.versions(key).find((one) => one.versionId === versionId);
  if (replaced !== undefined) bucket.drop(replaced);
  if (bucket.settings.versioning === undefined) return undefined;
  const marker = { key, modified, versionId, isDeleteMarker: true, etag: '', size: 0, contentType: '', metadata: {} };
  return bucket.add({ ...marker, ...copiesOf(copyTo) }, undefined);
};

export const openObjectStore = (folder: string): ObjectStore => {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const all = new Map<string, Bucket>();
  for (const name of readdirSync(folder)) {
    if (isBucket(path.join(folder, name))) all.set(name, openBucket(path.join(folder, name)));
  }
  const of = (bucket: string): Bucket => {
    const found = all.get(bucket);
    if (found === undefined) throw new Error(`no bucket ${bucket}`);
    return found;
  };
  return {
    buckets: () =>
      [...all]
        .map(([name, { settings }]) => ({ name, created: settings.created }))
        .sort((a, b) => byText(a.name, b.name)),
    hasBucket: (bucket) => all.has(bucket),
    createBucket: (bucket, created) =>
      void all.set(bucket, createBucketIn(path.join(folder, bucket), { created, tags: {} })),
    deleteBucket(bucket) {
      of(bucket).remove();
      all.delete(bucket);
    },
    isEmpty: (bucket) => of(bucket).isEmpty(),
    settings: (bucket) => of(bucket).settings,
    changeSettings: (bucket, change) => of(bucket).setSettings({ ...of(bucket).settings, ...change }),
    replaceSettings: (bucket, settings) => of(bucket).setSettings(settings),
    put(bucket, { copyTo, ...object }, bytes) {
      const etag = `"${createHash('md5').update(bytes).digest('hex')}"`;
      const given = { ...object, versionId: idFor(of(bucket)), isDeleteMarker: false, etag, size: bytes.length };
      return of(bucket).add({ ...given, ...copiesOf(copyTo) }, bytes);
    },
    putReplica(bucket, version, bytes) {
      const { versionId, key, isDeleteMarker } = version;
      if (
        of(bucket)
          .versions(key)
          .some((one) => one.versionId === versionId)
      )
        return;
      of(bucket).add({ ...version, replication: 'replica' }, isDeleteMarker ? undefined : bytes);
    },
    head(bucket, key) {
      const [latest] = of(bucket).versions(key);
      return latest?.isDeleteMarker === true ? undefined : latest;
    },
    versions: (bucket, key) => of(bucket).versions(key),
    read: (bucket, version) => of(bucket).read(version),
    remove: (bucket, marker) => leaveMarker(of(bucket), marker),
    removeVersion(bucket, key, versionId) {
      const found = of(bucket)
        .versions(key)
        .find((one) => one.versionId === versionId);
      if (found !== undefined) of(bucket).drop(found);
      return found;
    },
    setCopyState(bucket, { key, versionId }, destination, state) {
      const found = of(bucket)
        .versions(key)
        .find((one) => one.versionId === versionId);
      // It was taken away for good meanwhile.
      if (found === undefined || typeof found.replication !== 'object') return;
      const changed = { ...found, replication: { ...found.replication, [destination]: state } };
      // Half of it forgotten in a crash is only sent once more; a write less for every copy is worth that.
      of(bucket).change(changed, replicationStatusOf(changed) !== 'PENDING');
    },
    list(bucket, options) {
      const current = of(bucket)
        .keysFrom(options.prefix, options.after)
        .flatMap((key) => {
          const [latest] = of(bucket).versions(key);
          return latest === undefined || latest.isDeleteMarker ? [] : [latest];
        });
      return pageOf(current, options);
    },
    listVersions(bucket, options) {
      const keys = of(bucket).keysFrom(options.prefix, options.keyMarker);
      return pageOfVersions(
        keys.map((key) => [key, of(bucket).versions(key)] as const),
        options,
      );
    },
    pending: (bucket) =>
      of(bucket)
        .all()
        .filter((version) => replicationStatusOf(version) === 'PENDING')
        .sort((one, other) => byText(one.modified, other.modified)),
  };
};
