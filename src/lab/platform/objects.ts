import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import { z } from 'zod';
import { type Clock, systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import {
  bucketOfRegion,
  forwardPort,
  type LabLayout,
  regionOfBucket,
  regionPlace,
  scaled,
  scaledTimeout,
} from '../layout.ts';
import type { Handler } from './http.ts';
import { call, HttpError, linkAgent, readAll, readBody, sendJson, serve } from './http.ts';
import { type CopyOutcome, createReplicator, type Replicator } from './object-replication.ts';
import { type ObjectStore, type ObjectVersion, openObjectStore } from './object-store.ts';
import { type Asked, listBuckets, onBucket } from './s3-buckets.ts';
import { onObject, rulesOf } from './s3-objects.ts';
import { replicationTo } from './s3-replication-rules.ts';
import { S3Error, sendXml, tag, text } from './s3-wire.ts';

/**
 * A region's object store: the part of S3's REST API that reads and writes whole objects with their versions, path
 * style, and the replication of what is put here to other regions. A request must be signed; the signature itself is
 * not checked. What is not here answers 501 in S3's words, never as if it had worked.
 */

/** Documented milliseconds for a copy's way, and between two tries at a region that does not answer. */
const sendTimeoutMs = 30_000;
const retryMs = 10_000;
const objectBytesMax = 64 * 1024 * 1024;

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

/** Without what names the SDK's operation or carries a signature. */
const meant = (query: URLSearchParams): URLSearchParams =>
  new URLSearchParams([...query].filter(([name]) => name !== 'x-id' && !name.startsWith('X-Amz-')));

const answerFailure = (request: IncomingMessage, response: ServerResponse, error: S3Error): void => {
  const headers = { ...error.headers, 'x-amz-request-id': randomBytes(8).toString('hex').toUpperCase() };
  if (request.method === 'HEAD') {
    response.writeHead(error.status, headers).end();
    return;
  }
  const resource = text('Resource', (request.url ?? '/').split('?')[0] ?? '/');
  const requestId = text('RequestId', headers['x-amz-request-id']);
  const body = text('Code', error.code) + text('Message', error.message) + resource + requestId;
  sendXml(response, error.status, tag('Error', body), headers);
};

const isOurs = (request: IncomingMessage, token: string): boolean => {
  const given = Buffer.from(request.headers.authorization ?? '');
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
};

const now = (): string => new Date(systemClock.nowMs()).toISOString();

const versionHeader = 'x-lab-version';
const versionSchema = z.strictObject({
  key: z.string(),
  versionId: z.string().regex(/^[\w-]+$/),
  isDeleteMarker: z.boolean(),
  etag: z.string(),
  size: z.int().nonnegative(),
  modified: z.string(),
  contentType: z.string(),
  metadata: z.record(z.string(), z.string()),
});

const pauseSchema = z.strictObject({
  bucket: z.string(),
  destinations: z.array(z.string()),
  prefixes: z.array(z.string()).optional(),
  forMs: z.number().positive(),
});

/** A copy that another region sends. Refused for good where S3 would: no such bucket, or one that keeps no versions. */
const takeReplica = async (store: ObjectStore, bucket: string, request: IncomingMessage): Promise<CopyOutcome> => {
  const given = Buffer.from(String(request.headers[versionHeader] ?? ''), 'base64url').toString('utf8');
  const version = versionSchema.parse(JSON.parse(given));
  const bytes = await readBody(request, objectBytesMax);
  if (!store.hasBucket(bucket) || store.settings(bucket).versioning !== 'Enabled') return 'refused';
  store.putReplica(bucket, version, bytes);
  return 'stored';
};

/** What other parts of the lab ask of a store, with the lab's own token: other regions' stores, and FIS. */
const onLabRoute = async (
  store: ObjectStore,
  replicator: Replicator,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  const [, , what = '', name = ''] = (request.url ?? '').split('/').map(decodeURIComponent);
  const route = `${request.method} ${what}`;
  if (route === 'PUT replicas') return sendJson(response, 200, { outcome: await takeReplica(store, name, request) });
  if (route === 'GET buckets') {
    const buckets = store.buckets().map((bucket) => ({
      name: bucket.name,
      tags: store.settings(bucket.name).tags,
      rules: rulesOf({ store }, bucket.name),
    }));
    return sendJson(response, 200, buckets);
  }
  if (route === 'PUT pauses') {
    const body = JSON.parse((await readBody(request, objectBytesMax)).toString('utf8'));
    const { forMs, bucket, destinations, prefixes } = pauseSchema.parse(body);
    await replicator.pause(name, { bucket, destinations, prefixes }, forMs);
    return sendJson(response, 200, {});
  }
  if (route === 'DELETE pauses') {
    replicator.resume(name);
    return sendJson(response, 200, {});
  }
  throw new HttpError(404, 'invalid_request_error', 'not_found', `there is no ${route}`);
};

const outcomeSchema = z.object({ outcome: z.enum(['stored', 'refused']) });

/** Sends copies over the links of this region. */
const copySender = (layout: LabLayout, region: string) => {
  const agent = linkAgent();
  const headMs = scaledTimeout(layout, sendTimeoutMs);
  return async (destination: string, version: ObjectVersion, bytes: Buffer): Promise<CopyOutcome> => {
    const other = regionOfBucket(layout.environment, destination);
    if (other === undefined) return 'refused';
    const { replication: _, ...sent } = version;
    const response = await call({
      agent,
      host: '127.0.0.1',
      port: forwardPort(layout, regionPlace(region), `objects/${other}`),
      method: 'PUT',
      path: `/_lab/replicas/${encodeURIComponent(destination)}`,
      headers: {
        authorization: `Bearer ${layout.token}`,
        [versionHeader]: Buffer.from(JSON.stringify(sent)).toString('base64url'),
      },
      body: bytes,
      headMs,
    });
    const answer = (await readAll(response, headMs)).toString('utf8');
    if (response.statusCode !== 200) throw new Error(`${other} answered ${response.statusCode}: ${answer}`);
    return outcomeSchema.parse(JSON.parse(answer)).outcome;
  };
};

const startReplicator = (context: ComponentContext, region: string, store: ObjectStore, clock: Clock): Replicator => {
  const { layout, log, truth } = context;
  return createReplicator(
    {
      store,
      clock,
      log,
      delayMs: scaled(layout, layout.settings.stores.objectReplication),
      retryMs: scaledTimeout(layout, retryMs),
      rulesOf: (bucket) => rulesOf({ store }, bucket),
      send: copySender(layout, region),
      onCopied: (bucket, { key, versionId }, destination, outcome) =>
        truth('objects.copied', `${bucket}/${key}`, { versionId, destination, outcome }),
    },
    context.signal,
  );
};

/** A document that every region holds from the start. */
const handbook = { key: 'handbook/first-steps.txt', text: 'Welcome. Ask a question in a sentence or two.\n' };

/** The bucket of a region as the platform was set up: versions kept, and the primary's copied to every other region. */
const setUp = (store: ObjectStore, layout: LabLayout, region: string): void => {
  const { environment } = layout;
  const bucket = bucketOfRegion(environment, region);
  if (store.hasBucket(bucket)) return;
  store.createBucket(bucket, now());
  store.changeSettings(bucket, { versioning: 'Enabled', tags: { 'blackstart:environment': environment.name } });
  const object = { key: handbook.key, modified: now(), contentType: 'text/plain', metadata: {} };
  store.put(bucket, object, Buffer.from(handbook.text));
  const others = environment.regions.filter(({ name }) => name !== region).map(({ name }) => name);
  const isPrimary = environment.regions.some(({ name, role }) => name === region && role === 'primary');
  if (!isPrimary || others.length === 0) return;
  const role = `arn:aws:iam::${environment.aws.account}:role/objects-replication`;
  const buckets = others.map((other) => bucketOfRegion(environment, other));
  store.changeSettings(bucket, { replicationXml: replicationTo(role, buckets) });
};

const createHandler = (context: ComponentContext, region: string): Handler => {
  const { layout } = context;
  const { environment, token } = layout;
  const store = openObjectStore(path.join(layout.stateDir, 'objects', region));
  setUp(store, layout, region);
  const replicator = startReplicator(context, region, store, systemClock);
  const bucket = bucketOfRegion(environment, region);
  const { objectsHost } = environment.service;
  const names = objectsHost === undefined ? [] : [objectsHost, `${region}.${objectsHost}`];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const target = parseTarget(request, names.includes(nameOf(request)) ? bucket : undefined);
    if (!isSigned(request, target.query)) throw new S3Error(403, 'AccessDenied', 'Access Denied');
    const asked: Asked = {
      request,
      response,
      store,
      replicator,
      region,
      now,
      isDestination: (name) => regionOfBucket(environment, name) !== undefined,
      ...target,
      query: meant(target.query),
    };
    if (target.bucket === '') {
      if (request.method !== 'GET') throw new S3Error(405, 'MethodNotAllowed', 'The method is not allowed here.');
      sendXml(response, 200, listBuckets(store));
    } else if (target.key === '') await onBucket(asked);
    else await onObject(asked);
  };
  return async (request, response) => {
    if (request.url === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (request.url?.startsWith('/_lab/') === true && isOurs(request, token)) {
      return await onLabRoute(store, replicator, request, response);
    }
    response.setHeader('x-amz-bucket-region', region);
    try {
      await answer(request, response);
    } catch (error) {
      if (!(error instanceof S3Error) || response.headersSent) throw error;
      answerFailure(request, response, error);
    }
  };
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
