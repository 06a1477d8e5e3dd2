import { randomBytes } from 'node:crypto';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import path from 'node:path';
import { systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import type { Handler } from './http.ts';
import { readBody, sendJson, serve } from './http.ts';
import type { ObjectStore, StoredObject } from './object-store.ts';
import { openObjectStore } from './object-store.ts';

/**
 * A region's object store: the part of S3's REST API that reads and writes whole objects, path style. A request must be
 * signed; the signature itself is not checked. What is not here answers 501 in S3's words, never as if it had worked.
 */

const objectBytesMax = 64 * 1024 * 1024;
const listMax = 1000;
const keyBytesMax = 1024;

class S3Error extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'S3Error';
    this.status = status;
    this.code = code;
  }
}

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

const tag = (name: string, content: string | number | boolean): string => `<${name}>${content}</${name}>`;
const text = (name: string, content: string): string => tag(name, escapeXml(content));

const xmlHead = '<?xml version="1.0" encoding="UTF-8"?>\n';
const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

const sendXml = (response: ServerResponse, status: number, xml: string, headers: OutgoingHttpHeaders = {}): void => {
  const body = Buffer.from(xmlHead + xml);
  response.writeHead(status, { ...headers, 'content-type': 'application/xml', 'content-length': body.length });
  response.end(body);
};

/**
 * Takes apart the framing of `aws-chunked`: `<hex size>[;chunk-signature=…]\r\n<bytes>\r\n`, closed by a chunk of size
 * 0 and trailers. Throws `S3Error` when it does not hold together.
 */
export const decodeAwsChunked = (body: Buffer): Buffer => {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = body.indexOf('\r\n', at);
    const size = lineEnd < 0 ? Number.NaN : Number.parseInt(body.toString('latin1', at, lineEnd), 16);
    if (!(size >= 0)) throw new S3Error(400, 'IncompleteBody', 'The request body terminated unexpectedly');
    if (size === 0) return Buffer.concat(parts);
    const start = lineEnd + 2;
    if (start + size + 2 > body.length) {
      throw new S3Error(400, 'IncompleteBody', 'The request body terminated unexpectedly');
    }
    parts.push(body.subarray(start, start + size));
    at = start + size + 2;
  }
};

interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
}

/** The name a request was sent to, without its port. */
const nameOf = (request: IncomingMessage): string => (request.headers.host ?? '').replace(/:\d+$/, '').toLowerCase();

/** Under a name that stands for the bucket, as a multi-region access point does, the path is the key alone. */
const parseTarget = (
  request: IncomingMessage,
  bucketOfName: string | undefined,
): { bucket: string; key: string; query: URLSearchParams } => {
  const url = new URL(request.url ?? '/', 'http://objects');
  const parts = url.pathname.split('/').slice(1);
  const [bucket = '', ...rest] = bucketOfName === undefined ? parts : [bucketOfName, ...parts];
  try {
    return { bucket, key: rest.map(decodeURIComponent).join('/'), query: url.searchParams };
  } catch {
    throw new S3Error(400, 'InvalidURI', 'Could not parse the specified URI.');
  }
};

const isSigned = (request: IncomingMessage, query: URLSearchParams): boolean =>
  (request.headers.authorization ?? '').startsWith('AWS4-HMAC-SHA256 ') || query.has('X-Amz-Signature');

const listBuckets = (store: ObjectStore): string => {
  const buckets = store
    .buckets()
    .map(({ name, created }) => tag('Bucket', text('Name', name) + tag('CreationDate', created)));
  const owner = tag('Owner', text('ID', 'lab') + text('DisplayName', 'lab'));
  return `<ListAllMyBucketsResult ${namespace}>${owner}${tag('Buckets', buckets.join(''))}</ListAllMyBucketsResult>`;
};

const entryOf = (object: StoredObject): string =>
  tag(
    'Contents',
    text('Key', object.key) +
      tag('LastModified', object.modified) +
      text('ETag', object.etag) +
      tag('Size', object.size) +
      tag('StorageClass', 'STANDARD'),
  );

const listObjects = (store: ObjectStore, bucket: string, query: URLSearchParams): string => {
  if (query.get('list-type') !== '2') throw new S3Error(501, 'NotImplemented', 'Only ListObjectsV2 is implemented.');
  const token = query.get('continuation-token');
  const after = token === null ? (query.get('start-after') ?? '') : Buffer.from(token, 'base64url').toString('utf8');
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const asked = Number(query.get('max-keys') ?? listMax);
  if (!Number.isInteger(asked) || asked < 0) throw new S3Error(400, 'InvalidArgument', 'max-keys is not a count');
  const max = Math.min(asked, listMax);
  const page = store.list(bucket, { prefix, delimiter, after, max });
  const encode = query.get('encoding-type') === 'url' ? encodeURIComponent : (value: string): string => value;
  const named = (value: StoredObject): StoredObject => ({ ...value, key: encode(value.key) });
  const next =
    page.next === undefined ? '' : text('NextContinuationToken', Buffer.from(page.next).toString('base64url'));
  return (
    `<ListBucketResult ${namespace}>${text('Name', bucket)}${text('Prefix', encode(prefix))}` +
    tag('KeyCount', page.objects.length + page.prefixes.length) +
    tag('MaxKeys', max) +
    (delimiter === '' ? '' : text('Delimiter', encode(delimiter))) +
    (query.has('encoding-type') ? tag('EncodingType', 'url') : '') +
    tag('IsTruncated', page.next !== undefined) +
    next +
    page.objects.map((object) => entryOf(named(object))).join('') +
    page.prefixes.map((one) => tag('CommonPrefixes', text('Prefix', encode(one)))).join('') +
    '</ListBucketResult>'
  );
};

const bucketForm = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

const onBucket = (store: ObjectStore, { request, response, bucket, query }: Asked): void => {
  if (request.method === 'PUT' && query.size === 0) {
    if (!bucketForm.test(bucket)) throw new S3Error(400, 'InvalidBucketName', 'The specified bucket is not valid.');
    if (store.hasBucket(bucket)) {
      throw new S3Error(409, 'BucketAlreadyOwnedByYou', 'Your previous request to create the bucket succeeded.');
    }
    store.createBucket(bucket, new Date(systemClock.nowMs()).toISOString());
    response.writeHead(200, { location: `/${bucket}`, 'content-length': 0 }).end();
    return;
  }
  if (!store.hasBucket(bucket)) throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist');
  if (request.method === 'GET') {
    if (query.has('location')) sendXml(response, 200, `<LocationConstraint ${namespace}/>`);
    else sendXml(response, 200, listObjects(store, bucket, query));
  } else if (request.method === 'HEAD') response.writeHead(200, { 'content-length': 0 }).end();
  else if (request.method === 'DELETE' && query.size === 0) {
    if (!store.isEmpty(bucket)) throw new S3Error(409, 'BucketNotEmpty', 'The bucket you tried to delete is not empty');
    store.deleteBucket(bucket);
    response.writeHead(204).end();
  } else
    throw new S3Error(501, 'NotImplemented', 'A header or query you provided implies functionality that is not here.');
};

const put = async (store: ObjectStore, { request, response, bucket, key }: Asked): Promise<void> => {
  if (request.headers['x-amz-copy-source'] !== undefined) {
    throw new S3Error(501, 'NotImplemented', 'Copying is not implemented.');
  }
  if (request.headers['if-none-match'] === '*' && store.head(bucket, key) !== undefined) {
    throw new S3Error(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
  }
  const raw = await readBody(request, objectBytesMax);
  const framed =
    (request.headers['content-encoding'] ?? '').includes('aws-chunked') ||
    String(request.headers['x-amz-content-sha256'] ?? '').startsWith('STREAMING-');
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith('x-amz-meta-')) metadata[name.slice('x-amz-meta-'.length)] = String(value);
  }
  const modified = new Date(systemClock.nowMs()).toISOString();
  const contentType = request.headers['content-type'] ?? 'binary/octet-stream';
  const bytes = framed ? decodeAwsChunked(raw) : raw;
  const stored = store.put(bucket, { key, modified, contentType, metadata }, bytes);
  response.writeHead(200, { etag: stored.etag, 'content-length': 0 }).end();
};

const rangeOf = (header: string | undefined, size: number): { from: number; to: number } | undefined => {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const to = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1);
  if (from > to) throw new S3Error(416, 'InvalidRange', 'The requested range is not satisfiable');
  return { from, to };
};

const get = (store: ObjectStore, { request, response, bucket, key }: Asked): void => {
  const object = store.head(bucket, key);
  if (object === undefined) throw new S3Error(404, 'NoSuchKey', 'The specified key does not exist.');
  const headers: OutgoingHttpHeaders = {
    etag: object.etag,
    'last-modified': new Date(object.modified).toUTCString(),
    'content-type': object.contentType,
    'accept-ranges': 'bytes',
  };
  for (const [name, value] of Object.entries(object.metadata)) headers[`x-amz-meta-${name}`] = value;
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
  else response.end(store.read(bucket, key).subarray(from, to + 1));
};

/** Sub-resources such as `?acl` or `?uploads`, which nothing here implements. `x-id` names the SDK's operation. */
const isPlain = (query: URLSearchParams): boolean =>
  [...query.keys()].every((name) => name === 'x-id' || name.startsWith('X-Amz-'));

const onObject = async (store: ObjectStore, asked: Asked): Promise<void> => {
  const { request, response, bucket, key, query } = asked;
  if (!store.hasBucket(bucket)) throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist');
  if (Buffer.byteLength(key) > keyBytesMax) throw new S3Error(400, 'KeyTooLongError', 'Your key is too long');
  if (!isPlain(query)) throw new S3Error(501, 'NotImplemented', 'This sub-resource of an object is not implemented.');
  if (request.method === 'PUT') await put(store, asked);
  else if (request.method === 'GET' || request.method === 'HEAD') get(store, asked);
  else if (request.method === 'DELETE') {
    store.remove(bucket, key);
    response.writeHead(204).end();
  } else throw new S3Error(405, 'MethodNotAllowed', 'The specified method is not allowed against this resource.');
};

const answerFailure = (request: IncomingMessage, response: ServerResponse, error: S3Error): void => {
  const requestId = randomBytes(8).toString('hex').toUpperCase();
  if (request.method === 'HEAD') {
    response.writeHead(error.status, { 'x-amz-request-id': requestId }).end();
    return;
  }
  const resource = text('Resource', (request.url ?? '/').split('?')[0] ?? '/');
  const body = text('Code', error.code) + text('Message', error.message) + resource + text('RequestId', requestId);
  sendXml(response, error.status, tag('Error', body), { 'x-amz-request-id': requestId });
};

const createHandler = (context: ComponentContext, region: string): Handler => {
  const store = openObjectStore(path.join(context.layout.stateDir, 'objects', region));
  const bucket = `documents-${region}`;
  const now = new Date(systemClock.nowMs()).toISOString();
  if (!store.hasBucket(bucket)) store.createBucket(bucket, now);
  if (store.head(bucket, handbook.key) === undefined) {
    const object = { key: handbook.key, modified: now, contentType: 'text/plain', metadata: {} };
    store.put(bucket, object, Buffer.from(handbook.text));
  }
  const { objectsHost } = context.layout.environment.service;
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const target = parseTarget(request, nameOf(request) === objectsHost ? bucket : undefined);
    if (!isSigned(request, target.query)) throw new S3Error(403, 'AccessDenied', 'Access Denied');
    const asked = { request, response, ...target };
    if (target.bucket === '') {
      if (request.method !== 'GET') throw new S3Error(405, 'MethodNotAllowed', 'The method is not allowed here.');
      sendXml(response, 200, listBuckets(store));
    } else if (target.key === '') onBucket(store, { ...asked, query: withoutOperation(target.query) });
    else await onObject(store, asked);
  };
  return async (request, response) => {
    if (request.url === '/healthz') return sendJson(response, 200, { status: 'alive' });
    response.setHeader('x-amz-bucket-region', region);
    try {
      await answer(request, response);
    } catch (error) {
      if (!(error instanceof S3Error) || response.headersSent) throw error;
      answerFailure(request, response, error);
    }
  };
};

/** A document that every region holds from the start. */
const handbook = { key: 'handbook/first-steps.txt', text: 'Welcome. Ask a question in a sentence or two.\n' };

const withoutOperation = (query: URLSearchParams): URLSearchParams => {
  const rest = new URLSearchParams(query);
  rest.delete('x-id');
  return rest;
};

export const component: Component = {
  kind: 'objects',
  async start(context) {
    const { layout, options } = context;
    const { region = '' } = options;
    const endpoint = layout.endpoints.find((candidate) => candidate.id === `objects/${region}`);
    if (endpoint === undefined) throw new Error(`the layout has no objects/${region}`);
    const { port } = await serve(context, endpoint.port, createHandler(context, region));
    return { port };
  },
};
