import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { BucketSettings, ObjectVersion } from './object-store.ts';

/** One bucket: its settings and versions in memory, and on the disk as two files per version. */
export interface Bucket {
  readonly settings: BucketSettings;
  setSettings(settings: BucketSettings): void;
  isEmpty(): boolean;
  /** Newest first. */
  versions(key: string): readonly ObjectVersion[];
  /** Keys under a prefix, from a given one on, in order. */
  keysFrom(prefix: string, from: string): readonly string[];
  /** Every version of every key. */
  all(): readonly ObjectVersion[];
  /** Bytes are on the disk before anything says that they are. A delete marker has none. */
  add(version: ObjectVersion, bytes: Buffer | undefined): ObjectVersion;
  /** Replaces what is known of a version, where it stands among those of its key; on the disk too if `isKept`. */
  change(version: ObjectVersion, isKept: boolean): void;
  drop(version: ObjectVersion): void;
  read(version: ObjectVersion): Buffer;
  remove(): void;
}

const bucketFile = '.bucket.json';
const metaSuffix = '.json';

/** Keys hold any character: their digest is the file's name. */
const fileOf = (key: string, versionId: string): string =>
  `${createHash('sha256').update(key).digest('hex')}.${versionId}`;

const writeWhole = (file: string, bytes: Buffer | string): void => {
  const draft = `${file}.${randomUUID()}.draft`;
  writeFileSync(draft, bytes, { mode: 0o600 });
  renameSync(draft, file);
};

/**
 * A key's versions, newest first, with one more. A copy may arrive after a newer one of the same key, and takes its
 * place by the time it was put at its source.
 */
export const withVersion = (versions: readonly ObjectVersion[], added: ObjectVersion): readonly ObjectVersion[] => {
  const others = versions.filter(({ versionId }) => versionId !== added.versionId);
  const at = added.replication === 'replica' ? others.findIndex(({ modified }) => modified <= added.modified) : 0;
  return at < 0 ? [...others, added] : others.toSpliced(at, 0, added);
};

/** Index of the first key that is not before `key`. */
const firstFrom = (sorted: readonly string[], key: string): number => {
  let from = 0;
  let to = sorted.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((sorted[middle] ?? '') < key) from = middle + 1;
    else to = middle;
  }
  return from;
};

const lastCharacter = '\u{10ffff}';

/** A version, and which of the versions of its bucket it was. */
type Stored = ObjectVersion & { readonly order: number };

const readStored = (folder: string): readonly Stored[] =>
  readdirSync(folder)
    .filter((name) => name !== bucketFile && name.endsWith(metaSuffix))
    .map((name): Stored => JSON.parse(readFileSync(path.join(folder, name), 'utf8')))
    .sort((one, other) => one.order - other.order);

export const isBucket = (folder: string): boolean => existsSync(path.join(folder, bucketFile));

export const createBucketIn = (folder: string, settings: BucketSettings): Bucket => {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeWhole(path.join(folder, bucketFile), JSON.stringify(settings));
  return openBucket(folder);
};

export const openBucket = (folder: string): Bucket => {
  let settings: BucketSettings = JSON.parse(readFileSync(path.join(folder, bucketFile), 'utf8'));
  const keys = new Map<string, readonly ObjectVersion[]>();
  const orders = new Map<string, number>();
  let lastOrder = 0;
  for (const { order, ...version } of readStored(folder)) {
    keys.set(version.key, withVersion(keys.get(version.key) ?? [], version));
    orders.set(fileOf(version.key, version.versionId), order);
    lastOrder = order;
  }
  // Kept in order, so that a listing does not sort them every time.
  const sorted = [...keys.keys()].sort();
  const versions = (key: string): readonly ObjectVersion[] => keys.get(key) ?? [];
  const nameOf = ({ key, versionId }: ObjectVersion): string => fileOf(key, versionId);
  const pathOf = (version: ObjectVersion): string => path.join(folder, nameOf(version));
  const writeMeta = (version: ObjectVersion, order: number): void => {
    orders.set(nameOf(version), order);
    writeWhole(`${pathOf(version)}${metaSuffix}`, JSON.stringify({ ...version, order }));
  };
  return {
    get settings() {
      return settings;
    },
    setSettings(changed) {
      writeWhole(path.join(folder, bucketFile), JSON.stringify(changed));
      settings = changed;
    },
    isEmpty: () => keys.size === 0,
    versions,
    keysFrom: (prefix, from) =>
      sorted.slice(
        Math.max(firstFrom(sorted, prefix), firstFrom(sorted, from)),
        firstFrom(sorted, prefix + lastCharacter),
      ),
    all: () => [...keys.values()].flat(),
    add(version, bytes) {
      const { key } = version;
      if (bytes !== undefined) writeWhole(pathOf(version), bytes);
      lastOrder += 1;
      writeMeta(version, lastOrder);
      if (!keys.has(key)) sorted.splice(firstFrom(sorted, key), 0, key);
      keys.set(key, withVersion(versions(key), version));
      return version;
    },
    change(version, isKept) {
      if (isKept) writeMeta(version, orders.get(nameOf(version)) ?? lastOrder);
      keys.set(
        version.key,
        versions(version.key).map((one) => (one.versionId === version.versionId ? version : one)),
      );
    },
    drop(version) {
      const { key } = version;
      const left = versions(key).filter(({ versionId }) => versionId !== version.versionId);
      if (left.length > 0) keys.set(key, left);
      else if (keys.delete(key)) sorted.splice(firstFrom(sorted, key), 1);
      orders.delete(nameOf(version));
      rmSync(`${pathOf(version)}${metaSuffix}`, { force: true });
      rmSync(pathOf(version), { force: true });
    },
    read: (version) => readFileSync(pathOf(version)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
};
