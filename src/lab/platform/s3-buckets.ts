import type { IncomingMessage, ServerResponse } from 'node:http';
import { readBody } from './http.ts';
import type { Replicator } from './object-replication.ts';
import type { ObjectStore, ObjectVersion } from './object-store.ts';
import { deleteVersion, leaveMarker } from './s3-objects.ts';
import { parseReplication } from './s3-replication-rules.ts';
import {
  elements,
  malformed,
  namespace,
  notImplemented,
  S3Error,
  sendXml,
  tag,
  text,
  textIn,
  textsOf,
  unframed,
} from './s3-wire.ts';

/** What an operation works on. */
export interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly bucket: string;
  readonly key: string;
  /** Without the parts that only name the operation or carry a signature. */
  readonly query: URLSearchParams;
  readonly store: ObjectStore;
  readonly replicator: Replicator;
  readonly region: string;
  /** Whether a bucket of this name can be a destination. */
  isDestination(bucket: string): boolean;
  /** ISO instant. */
  now(): string;
}

const listMax = 1000;
const bodyBytesMax = 2 * 1024 * 1024;

export const listBuckets = (store: ObjectStore): string => {
  const buckets = store
    .buckets()
    .map(({ name, created }) => tag('Bucket', text('Name', name) + tag('CreationDate', created)));
  const owner = tag('Owner', text('ID', 'lab') + text('DisplayName', 'lab'));
  return `<ListAllMyBucketsResult ${namespace}>${owner}${tag('Buckets', buckets.join(''))}</ListAllMyBucketsResult>`;
};

const maxKeysOf = (query: URLSearchParams): number => {
  const asked = Number(query.get('max-keys') ?? listMax);
  if (!Number.isInteger(asked) || asked < 0) throw new S3Error(400, 'InvalidArgument', 'max-keys is not a count');
  return Math.min(asked, listMax);
};

const encoderOf = (query: URLSearchParams): ((value: string) => string) =>
  query.get('encoding-type') === 'url' ? encodeURIComponent : (value) => value;

const commonPrefixes = (prefixes: readonly string[], encode: (value: string) => string): string =>
  prefixes.map((one) => tag('CommonPrefixes', text('Prefix', encode(one)))).join('');

const contentOf = (object: ObjectVersion): string =>
  text('ETag', object.etag) + tag('Size', object.size) + tag('StorageClass', 'STANDARD');

const listObjects = ({ store, bucket, query }: Asked): string => {
  if (query.get('list-type') !== '2') throw notImplemented('Of the object listings only ListObjectsV2 is implemented.');
  const token = query.get('continuation-token');
  const after = token === null ? (query.get('start-after') ?? '') : Buffer.from(token, 'base64url').toString('utf8');
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const max = maxKeysOf(query);
  const page = store.list(bucket, { prefix, delimiter, after, max });
  const encode = encoderOf(query);
  const next =
    page.next === undefined ? '' : text('NextContinuationToken', Buffer.from(page.next).toString('base64url'));
  const entries = page.objects.map((object) =>
    tag('Contents', text('Key', encode(object.key)) + tag('LastModified', object.modified) + contentOf(object)),
  );
  return (
    `<ListBucketResult ${namespace}>${text('Name', bucket)}${text('Prefix', encode(prefix))}` +
    tag('KeyCount', page.objects.length + page.prefixes.length) +
    tag('MaxKeys', max) +
    (delimiter === '' ? '' : text('Delimiter', encode(delimiter))) +
    (query.has('encoding-type') ? tag('EncodingType', 'url') : '') +
    tag('IsTruncated', page.next !== undefined) +
    next +
    entries.join('') +
    commonPrefixes(page.prefixes, encode) +
    '</ListBucketResult>'
  );
};

const listVersions = ({ store, bucket, query }: Asked): string => {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const keyMarker = query.get('key-marker') ?? '';
  const versionIdMarker = query.get('version-id-marker') ?? undefined;
  if (versionIdMarker !== undefined && keyMarker === '') {
    throw new S3Error(400, 'InvalidArgument', 'A version-id marker cannot be specified without a key marker.');
  }
  const max = maxKeysOf(query);
  const encode = encoderOf(query);
  const page = store.listVersions(bucket, { prefix, delimiter, keyMarker, versionIdMarker, max });
  const entries = page.versions.map(({ version, isLatest }) =>
    tag(
      version.isDeleteMarker ? 'DeleteMarker' : 'Version',
      text('Key', encode(version.key)) +
        text('VersionId', version.versionId) +
        tag('IsLatest', isLatest) +
        tag('LastModified', version.modified) +
        (version.isDeleteMarker ? '' : contentOf(version)) +
        tag('Owner', text('ID', 'lab') + text('DisplayName', 'lab')),
    ),
  );
  const { next } = page;
  return (
    `<ListVersionsResult ${namespace}>${text('Name', bucket)}${text('Prefix', encode(prefix))}` +
    text('KeyMarker', encode(keyMarker)) +
    text('VersionIdMarker', versionIdMarker ?? '') +
    (next === undefined ? '' : text('NextKeyMarker', encode(next.keyMarker))) +
    (next?.versionIdMarker === undefined ? '' : text('NextVersionIdMarker', next.versionIdMarker)) +
    tag('MaxKeys', max) +
    (delimiter === '' ? '' : text('Delimiter', encode(delimiter))) +
    (query.has('encoding-type') ? tag('EncodingType', 'url') : '') +
    tag('IsTruncated', next !== undefined) +
    entries.join('') +
    commonPrefixes(page.prefixes, encode) +
    '</ListVersionsResult>'
  );
};

const bodyOf = async ({ request }: Asked): Promise<string> =>
  unframed(request, await readBody(request, bodyBytesMax)).toString('utf8');

const done = ({ response }: Asked, status = 200): void => {
  response.writeHead(status, { 'content-length': 0 }).end();
};

const getVersioning = ({ store, bucket }: Asked): string => {
  const { versioning } = store.settings(bucket);
  const status = versioning === undefined ? '' : tag('Status', versioning);
  return `<VersioningConfiguration ${namespace}>${status}</VersioningConfiguration>`;
};

const putVersioning = async (asked: Asked): Promise<void> => {
  const { store, bucket } = asked;
  const xml = await bodyOf(asked);
  const status = textIn(elements(xml, 'VersioningConfiguration')[0] ?? '', 'Status');
  if (status !== 'Enabled' && status !== 'Suspended') throw malformed();
  if (status === 'Suspended' && store.settings(bucket).replicationXml !== undefined) {
    throw new S3Error(
      409,
      'InvalidBucketState',
      'A replication configuration is present on this bucket, so you cannot change the versioning state.',
    );
  }
  store.changeSettings(bucket, { versioning: status });
  done(asked);
};

const putReplication = async (asked: Asked): Promise<void> => {
  const { store, bucket } = asked;
  const xml = await bodyOf(asked);
  const rules = parseReplication(xml);
  if (store.settings(bucket).versioning !== 'Enabled') {
    throw new S3Error(
      400,
      'InvalidRequest',
      "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
    );
  }
  if (rules.some(({ destination }) => destination === bucket || !asked.isDestination(destination))) {
    throw new S3Error(400, 'InvalidRequest', 'Destination bucket must exist.');
  }
  store.changeSettings(bucket, { replicationXml: xml.replace(/^<\?xml[^>]*\?>\s*/, '') });
  done(asked);
};

const getReplication = ({ store, bucket }: Asked): string => {
  const { replicationXml } = store.settings(bucket);
  if (replicationXml !== undefined) return replicationXml;
  throw new S3Error(404, 'ReplicationConfigurationNotFoundError', 'The replication configuration was not found');
};

const withoutReplication = ({ store, bucket }: Asked): void => {
  const { replicationXml: _, ...others } = store.settings(bucket);
  store.replaceSettings(bucket, others);
};

const getTagging = ({ store, bucket }: Asked): string => {
  const tags = Object.entries(store.settings(bucket).tags);
  if (tags.length === 0) throw new S3Error(404, 'NoSuchTagSet', 'The TagSet does not exist');
  const set = tags.map(([key, value]) => tag('Tag', text('Key', key) + text('Value', value)));
  return `<Tagging ${namespace}>${tag('TagSet', set.join(''))}</Tagging>`;
};

const putTagging = async (asked: Asked): Promise<void> => {
  const xml = await bodyOf(asked);
  const keys = textsOf(xml, 'Key');
  const values = textsOf(xml, 'Value');
  if (keys.length !== values.length || new Set(keys).size !== keys.length || keys.length > 50) throw malformed();
  asked.store.changeSettings(asked.bucket, {
    tags: Object.fromEntries(keys.map((key, index) => [key, values[index] ?? ''])),
  });
  done(asked, 204);
};

const deletedMax = 1000;

/** DeleteObjects: each object as a DELETE of its own would have it. */
const deleteObjects = async (asked: Asked): Promise<string> => {
  const xml = await bodyOf(asked);
  const wanted = elements(xml, 'Object').map((one) => ({
    key: textIn(one, 'Key'),
    versionId: textIn(one, 'VersionId'),
  }));
  if (wanted.length === 0 || wanted.length > deletedMax) throw malformed();
  const isQuiet = textIn(xml, 'Quiet') === 'true';
  const deleted = wanted.map(({ key, versionId }) => {
    if (key === undefined || key === '') throw malformed();
    const one = { ...asked, key };
    const marker = versionId === undefined ? leaveMarker(one) : undefined;
    const gone = versionId === undefined ? undefined : deleteVersion(one, versionId);
    return tag(
      'Deleted',
      text('Key', key) +
        (versionId === undefined ? '' : text('VersionId', versionId)) +
        (marker === undefined && gone?.isDeleteMarker !== true ? '' : tag('DeleteMarker', true)) +
        (marker === undefined ? '' : text('DeleteMarkerVersionId', marker.versionId)) +
        (gone?.isDeleteMarker === true ? text('DeleteMarkerVersionId', gone.versionId) : ''),
    );
  });
  return `<DeleteResult ${namespace}>${isQuiet ? '' : deleted.join('')}</DeleteResult>`;
};

const bucketForm = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

const createBucket = (asked: Asked): void => {
  const { store, bucket, response } = asked;
  if (!bucketForm.test(bucket)) throw new S3Error(400, 'InvalidBucketName', 'The specified bucket is not valid.');
  if (store.hasBucket(bucket)) {
    throw new S3Error(409, 'BucketAlreadyOwnedByYou', 'Your previous request to create the bucket succeeded.');
  }
  store.createBucket(bucket, asked.now());
  response.writeHead(200, { location: `/${bucket}`, 'content-length': 0 }).end();
};

const deleteBucket = (asked: Asked): void => {
  const { store, bucket } = asked;
  if (!store.isEmpty(bucket)) {
    throw new S3Error(409, 'BucketNotEmpty', 'The bucket you tried to delete is not empty');
  }
  store.deleteBucket(bucket);
  done(asked, 204);
};

const location = ({ region }: Asked): string =>
  region === 'us-east-1'
    ? `<LocationConstraint ${namespace}/>`
    : `<LocationConstraint ${namespace}>${region}</LocationConstraint>`;

type Operation = (asked: Asked) => Promise<void> | void;
const answering =
  (body: (asked: Asked) => string | Promise<string>): Operation =>
  async (asked) =>
    sendXml(asked.response, 200, await body(asked));

/** By method and sub-resource; the empty one is the bucket itself. */
const operations: Readonly<Record<string, Operation>> = {
  'HEAD ': (asked) => done(asked),
  'DELETE ': deleteBucket,
  'GET location': answering(location),
  'GET versioning': answering(getVersioning),
  'PUT versioning': putVersioning,
  'GET replication': answering(getReplication),
  'PUT replication': putReplication,
  'DELETE replication': (asked) => {
    withoutReplication(asked);
    done(asked, 204);
  },
  'GET tagging': answering(getTagging),
  'PUT tagging': putTagging,
  'DELETE tagging': (asked) => {
    asked.store.changeSettings(asked.bucket, { tags: {} });
    done(asked, 204);
  },
  'GET versions': answering(listVersions),
  'POST delete': answering(deleteObjects),
};

const subResources = ['location', 'versioning', 'replication', 'tagging', 'versions', 'delete'];

export const onBucket = async (asked: Asked): Promise<void> => {
  const { request, store, bucket, query } = asked;
  const { method = 'GET' } = request;
  if (method === 'PUT' && query.size === 0) return createBucket(asked);
  if (!store.hasBucket(bucket)) throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist');
  const subResource = subResources.find((name) => query.has(name)) ?? '';
  if (method === 'GET' && subResource === '') return sendXml(asked.response, 200, listObjects(asked));
  const operation = operations[`${method} ${subResource}`];
  if (operation === undefined || (subResource === '' && query.size > 0)) {
    throw notImplemented('A header or query you provided implies functionality that is not here.');
  }
  await operation(asked);
};
