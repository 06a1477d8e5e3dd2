import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** What is kept beside an object's bytes. */
export interface StoredObject {
  readonly key: string;
  /** MD5 of the bytes, in quotes, as S3 gives it for an object that was put in one piece. */
  readonly etag: string;
  readonly size: number;
  /** ISO instant with milliseconds. */
  readonly modified: string;
  readonly contentType: string;
  /** `x-amz-meta-…` without the prefix. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface ListPage {
  readonly objects: readonly StoredObject[];
  readonly prefixes: readonly string[];
  /** Key or prefix to go on after; undefined on the last page. */
  readonly next: string | undefined;
}

/** Buckets of one region, kept as files, so that a restart loses nothing that was acknowledged. */
export interface ObjectStore {
  buckets(): readonly { readonly name: string; readonly created: string }[];
  hasBucket(bucket: string): boolean;
  createBucket(bucket: string, now: string): void;
  /** The bucket must be empty. */
  deleteBucket(bucket: string): void;
  isEmpty(bucket: string): boolean;
  put(bucket: string, object: Omit<StoredObject, 'etag' | 'size'>, bytes: Buffer): StoredObject;
  head(bucket: string, key: string): StoredObject | undefined;
  read(bucket: string, key: string): Buffer;
  /** False when there was none. */
  remove(bucket: string, key: string): boolean;
  list(
    bucket: string,
    options: { readonly prefix: string; readonly delimiter: string; readonly after: string; readonly max: number },
  ): ListPage;
}

const bucketFile = '.bucket.json';
const metaSuffix = '.json';

/** Keys hold any character: their digest is the file's name. */
const fileOf = (key: string): string => createHash('sha256').update(key).digest('hex');

const writeWhole = (file: string, bytes: Buffer | string): void => {
  const draft = `${file}.${randomUUID()}.draft`;
  writeFileSync(draft, bytes, { mode: 0o600 });
  renameSync(draft, file);
};

/** Pages through sorted keys; keys that share a prefix up to the delimiter count once, as that prefix. */
export const pageOf = (
  sorted: readonly StoredObject[],
  options: { readonly prefix: string; readonly delimiter: string; readonly after: string; readonly max: number },
): ListPage => {
  const { prefix, delimiter, after, max } = options;
  const objects: StoredObject[] = [];
  const prefixes: string[] = [];
  let last = after;
  for (const object of sorted) {
    if (!object.key.startsWith(prefix) || object.key <= last) continue;
    const cut = delimiter === '' ? -1 : object.key.indexOf(delimiter, prefix.length);
    const common = cut < 0 ? undefined : object.key.slice(0, cut + delimiter.length);
    // Everything below a prefix that was given already, on this page or the one before, is part of it.
    if (common !== undefined && (common === prefixes.at(-1) || common === after)) continue;
    if (objects.length + prefixes.length >= max) return { objects, prefixes, next: last };
    if (common === undefined) objects.push(object);
    else prefixes.push(common);
    last = common ?? object.key;
  }
  return { objects, prefixes, next: undefined };
};

type Bucket = { readonly created: string; readonly objects: Map<string, StoredObject> };

const loadBucket = (folder: string): Bucket | undefined => {
  if (!existsSync(path.join(folder, bucketFile))) return undefined;
  const { created } = JSON.parse(readFileSync(path.join(folder, bucketFile), 'utf8')) as { readonly created: string };
  const objects = new Map<string, StoredObject>();
  for (const name of readdirSync(folder)) {
    if (name === bucketFile || !name.endsWith(metaSuffix)) continue;
    const object: StoredObject = JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
    objects.set(object.key, object);
  }
  return { created, objects };
};

export const openObjectStore = (folder: string): ObjectStore => {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const all = new Map<string, Bucket>();
  for (const name of readdirSync(folder)) {
    const bucket = loadBucket(path.join(folder, name));
    if (bucket !== undefined) all.set(name, bucket);
  }
  const objectsOf = (bucket: string): Map<string, StoredObject> => {
    const found = all.get(bucket);
    if (found === undefined) throw new Error(`no bucket ${bucket}`);
    return found.objects;
  };
  return {
    buckets: () =>
      [...all].map(([name, { created }]) => ({ name, created })).sort((a, b) => (a.name < b.name ? -1 : 1)),
    hasBucket: (bucket) => all.has(bucket),
    createBucket(bucket, now) {
      mkdirSync(path.join(folder, bucket), { recursive: true, mode: 0o700 });
      writeWhole(path.join(folder, bucket, bucketFile), JSON.stringify({ created: now }));
      all.set(bucket, { created: now, objects: new Map() });
    },
    deleteBucket(bucket) {
      all.delete(bucket);
      rmSync(path.join(folder, bucket), { recursive: true, force: true });
    },
    isEmpty: (bucket) => objectsOf(bucket).size === 0,
    put(bucket, object, bytes) {
      const etag = `"${createHash('md5').update(bytes).digest('hex')}"`;
      const stored: StoredObject = { ...object, etag, size: bytes.length };
      const file = path.join(folder, bucket, fileOf(object.key));
      writeWhole(file, bytes);
      writeWhole(`${file}${metaSuffix}`, JSON.stringify(stored));
      objectsOf(bucket).set(object.key, stored);
      return stored;
    },
    head: (bucket, key) => objectsOf(bucket).get(key),
    read: (bucket, key) => readFileSync(path.join(folder, bucket, fileOf(key))),
    remove(bucket, key) {
      const existed = objectsOf(bucket).delete(key);
      const file = path.join(folder, bucket, fileOf(key));
      rmSync(`${file}${metaSuffix}`, { force: true });
      rmSync(file, { force: true });
      return existed;
    },
    list(bucket, options) {
      const sorted = [...objectsOf(bucket).values()].sort((one, other) => (one.key < other.key ? -1 : 1));
      return pageOf(sorted, options);
    },
  };
};
