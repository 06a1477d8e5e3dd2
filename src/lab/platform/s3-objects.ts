import type { OutgoingHttpHeaders } from 'node:http';
import { readBody } from './http.ts';
import type { ObjectVersion } from './object-store.ts';
import type { Asked } from './s3-buckets.ts';
import { destinationsOf, parseReplication, type ReplicationRule } from './s3-replication-rules.ts';
import { notImplemented, S3Error, unframed, versionHeaders } from './s3-wire.ts';

const objectBytesMax = 64 * 1024 * 1024;
const keyBytesMax = 1024;

/** The rules of a bucket's replication configuration; none when it has none. */
export const rulesOf = ({ store }: Pick<Asked, 'store'>, bucket: string): readonly ReplicationRule[] => {
  const xml = store.hasBucket(bucket) ? store.settings(bucket).replicationXml : undefined;
  return xml === undefined ? [] : parseReplication(xml);
};

const isVersioned = ({ store, bucket }: Asked): boolean => store.settings(bucket).versioning !== undefined;

const versionIdHeader = (asked: Asked, { versionId }: ObjectVersion): OutgoingHttpHeaders =>
  isVersioned(asked) ? { 'x-amz-version-id': versionId } : {};

const put = async (asked: Asked): Promise<void> => {
  const { store, request, response, bucket, key, replicator } = asked;
  if (request.headers['x-amz-copy-source'] !== undefined) throw notImplemented('Copying is not implemented.');
  if (request.headers['if-none-match'] === '*' && store.head(bucket, key) !== undefined) {
    throw new S3Error(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
  }
  const bytes = unframed(request, await readBody(request, objectBytesMax));
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith('x-amz-meta-')) metadata[name.slice('x-amz-meta-'.length)] = String(value);
  }
  const contentType = request.headers['content-type'] ?? 'binary/octet-stream';
  const copyTo = destinationsOf(rulesOf(asked, bucket), key, false);
  const stored = store.put(bucket, { key, modified: asked.now(), contentType, metadata, copyTo }, bytes);
  replicator.add(bucket, stored);
  response.writeHead(200, { ...versionIdHeader(asked, stored), etag: stored.etag, 'content-length': 0 }).end();
};

const rangeOf = (header: string | undefined, size: number): { from: number; to: number } | undefined => {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const to = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1);
  if (from > to) throw new S3Error(416, 'InvalidRange', 'The requested range is not satisfiable');
  return { from, to };
};

/** The version that is asked for, or the latest. Throws in S3's words when there is nothing to read. */
const found = (asked: Asked): ObjectVersion => {
  const { store, bucket, key, query } = asked;
  const versions = store.versions(bucket, key);
  const versionId = query.get('versionId');
  if (versionId === null) {
    const [latest] = versions;
    if (latest !== undefined && !latest.isDeleteMarker) return latest;
    const headers = latest === undefined ? {} : versionHeaders(latest, true);
    throw new S3Error(404, 'NoSuchKey', 'The specified key does not exist.', headers);
  }
  const version = versions.find((one) => one.versionId === versionId);
  if (version === undefined) throw new S3Error(404, 'NoSuchVersion', 'The specified version does not exist.');
  if (!version.isDeleteMarker) return version;
  const headers = { ...versionHeaders(version, true), allow: 'DELETE' };
  throw new S3Error(405, 'MethodNotAllowed', 'The specified method is not allowed against this resource.', headers);
};

const get = (asked: Asked): void => {
  const { store, request, response, bucket } = asked;
  const object = found(asked);
  const headers = versionHeaders(object, isVersioned(asked));
  if (request.headers['if-none-match'] === object.etag) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = rangeOf(request.headers.range, object.size);
  const { from, to } = range ?? { from: 0, to: object.size - 1 };
  headers['content-length'] = to - from + 1;
  if (range !== undefined) headers['content-range'] = `bytes ${from}-${to}/${object.size}`;
  response.writeHead(range === undefined ? 200 : 206, headers);
  if (request.method === 'HEAD') response.end();
  else response.end(store.read(bucket, object).subarray(from, to + 1));
};

/** A DELETE without a version id: what it left behind, where the bucket keeps versions. */
export const leaveMarker = (asked: Asked): ObjectVersion | undefined => {
  const { store, bucket, key, replicator } = asked;
  const copyTo = destinationsOf(rulesOf(asked, bucket), key, true);
  const marker = store.remove(bucket, { key, modified: asked.now(), copyTo });
  if (marker !== undefined) replicator.add(bucket, marker);
  return marker;
};

/** Takes a version away for good, here alone: no region deletes what another one kept. */
export const deleteVersion = ({ store, bucket, key }: Asked, versionId: string): ObjectVersion | undefined =>
  store.removeVersion(bucket, key, versionId);

const remove = (asked: Asked): void => {
  const versionId = asked.query.get('versionId');
  const version = versionId === null ? leaveMarker(asked) : deleteVersion(asked, versionId);
  const headers: OutgoingHttpHeaders = {
    ...(version?.isDeleteMarker === true ? { 'x-amz-delete-marker': 'true' } : {}),
    ...(versionId === null && version === undefined
      ? {}
      : { 'x-amz-version-id': versionId ?? version?.versionId ?? '' }),
  };
  asked.response.writeHead(204, headers).end();
};

export const onObject = async (asked: Asked): Promise<void> => {
  const { request, store, bucket, key, query } = asked;
  if (!store.hasBucket(bucket)) throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist');
  if (Buffer.byteLength(key) > keyBytesMax) throw new S3Error(400, 'KeyTooLongError', 'Your key is too long');
  if ([...query.keys()].some((name) => name !== 'versionId')) {
    throw notImplemented('This sub-resource of an object is not implemented.');
  }
  if (query.get('versionId') === '') throw new S3Error(400, 'InvalidArgument', 'Version id cannot be the empty string');
  if (request.method === 'GET' || request.method === 'HEAD') get(asked);
  else if (request.method === 'DELETE') remove(asked);
  else if (request.method === 'PUT' && query.size === 0) await put(asked);
  else throw new S3Error(405, 'MethodNotAllowed', 'The specified method is not allowed against this resource.');
};
