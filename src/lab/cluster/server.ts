import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { type Api, apiVersionOf, createApi, type DeleteOptions, isJsonObject, type Target } from './api.ts';
import { ApiError, badRequest, notFound, statusOf } from './api-error.ts';
import { discoveryAt } from './discovery-documents.ts';
import type { KubernetesObject, PodObject } from './objects.ts';
import { type AnyResource, allResources, pods } from './resources.ts';
import type { Store } from './store.ts';
import { type IncludeObject, tableOf } from './table.ts';
import { serveWatch } from './watch.ts';

export interface ApiServerOptions {
  readonly store: Store;
  readonly token: string;
  readonly tls: { readonly certificate: string | Buffer; readonly key: string | Buffer };
  readonly nowMs: () => number;
  readonly signal: AbortSignal;
  /** Asks the pod's node for its log, as the real server asks the kubelet. */
  readonly podLog: (pod: PodObject, query: URLSearchParams, signal: AbortSignal) => Promise<Buffer>;
  /** Told of every request of somebody outside the lab, so that a lab in use does not expire. */
  readonly onUse: () => void;
  log(line: string): void;
}

const bodyBytesMax = 3 * 1024 * 1024;
const patchTypes = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];

interface Request {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly accept: string;
  readonly contentType: string;
  readonly body: unknown;
  readonly signal: AbortSignal;
}

const readBody = async (message: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of message) {
    const piece = Buffer.from(chunk);
    bytes += piece.length;
    if (bytes > bodyBytesMax) {
      throw new ApiError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${bodyBytesMax}`);
    }
    chunks.push(piece);
  }
  return Buffer.concat(chunks);
};

/** JSON, or YAML where the media type says so (apply). Loaded late: few labs ever see a YAML body. */
const parseBody = async (bytes: Buffer, contentType: string): Promise<unknown> => {
  if (bytes.length === 0) return undefined;
  try {
    if (contentType.endsWith('yaml')) {
      const { parse } = await import('yaml');
      return parse(bytes.toString(), { maxAliasCount: 100 });
    }
    return JSON.parse(bytes.toString());
  } catch (error) {
    throw badRequest(`couldn't parse the request body: ${error instanceof Error ? error.message : String(error)}`);
  }
};

/** `/api/v1/namespaces/x/pods/y/log` → what it means; undefined when no resource is served there. */
export const parseTarget = (path: string): Target | undefined => {
  const parts = path
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent);
  const core = parts[0] === 'api';
  if (!core && parts[0] !== 'apis') return undefined;
  const group = core ? '' : (parts[1] ?? '');
  const version = parts[core ? 1 : 2];
  const rest = parts.slice(core ? 2 : 3);
  const find = (plural: string | undefined, namespaced: boolean): AnyResource | undefined =>
    allResources.find(
      (one) =>
        one.plural === plural && one.group === group && one.version === version && (one.namespaced || !namespaced),
    );
  if (rest[0] === 'namespaces' && rest.length >= 3) {
    const [, namespace = '', plural, name = '', subresource = ''] = rest;
    const resource = find(plural, true);
    return resource === undefined || rest.length > 5 ? undefined : { resource, namespace, name, subresource };
  }
  const [plural, name = '', subresource = ''] = rest;
  const resource = find(plural, false);
  if (resource === undefined || rest.length > 3 || (resource.namespaced && name !== '')) return undefined;
  return { resource, namespace: '', name, subresource };
};

const deleteOptions = ({ body, query }: Request): DeleteOptions => {
  const options = isJsonObject(body) ? body : {};
  const grace = query.get('gracePeriodSeconds') ?? options['gracePeriodSeconds'];
  const graceSeconds = grace === undefined || grace === null ? undefined : Number(grace);
  if (graceSeconds !== undefined && !Number.isInteger(graceSeconds)) {
    throw badRequest(`gracePeriodSeconds: Invalid value: ${JSON.stringify(grace)}`);
  }
  const preconditions = isJsonObject(options['preconditions']) ? options['preconditions'] : {};
  const { uid, resourceVersion } = preconditions;
  const policy = query.get('propagationPolicy') ?? options['propagationPolicy'];
  return {
    gracePeriodSeconds: graceSeconds,
    preconditions: {
      uid: typeof uid === 'string' ? uid : undefined,
      resourceVersion: typeof resourceVersion === 'string' ? resourceVersion : undefined,
    },
    propagationPolicy: typeof policy === 'string' ? policy : undefined,
    dryRun: isDryRun(query) || (Array.isArray(options['dryRun']) && options['dryRun'].length > 0),
  };
};

const isDryRun = (query: URLSearchParams): boolean => query.getAll('dryRun').includes('All');

const send = (response: ServerResponse, code: number, body: unknown): void => {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(code, { 'content-type': 'application/json', 'content-length': bytes.length });
  response.end(bytes);
};

const methodNotAllowed = (): ApiError =>
  new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource');

const tableWanted = (accept: string): boolean => accept.includes('as=Table') && accept.includes('g=meta.k8s.io');

const includeIn = (query: URLSearchParams): IncludeObject => {
  const value = query.get('includeObject');
  return value === 'None' || value === 'Object' ? value : 'Metadata';
};

const answerObject = (
  response: ServerResponse,
  code: number,
  object: KubernetesObject,
  target: Target,
  request: Request,
  options: ApiServerOptions,
): void => {
  if (!tableWanted(request.accept) || target.subresource === 'scale') {
    send(response, code, object);
    return;
  }
  const metadata = { resourceVersion: object.metadata.resourceVersion };
  const include = includeIn(request.query);
  send(response, code, tableOf(target.resource, [object], { nowMs: options.nowMs(), include, metadata }));
};

const answerList = (
  response: ServerResponse,
  target: Target,
  request: Request,
  api: Api,
  options: ApiServerOptions,
): void => {
  const { items, metadata } = api.list(target, request.query);
  if (tableWanted(request.accept)) {
    const include = includeIn(request.query);
    send(response, 200, tableOf(target.resource, items, { nowMs: options.nowMs(), include, metadata }));
    return;
  }
  send(response, 200, {
    kind: `${target.resource.kind}List`,
    apiVersion: apiVersionOf(target.resource),
    metadata,
    items,
  });
};

const answerLog = async (
  response: ServerResponse,
  target: Target,
  request: Request,
  options: ApiServerOptions,
): Promise<void> => {
  const pod = options.store.get(pods, target.namespace, target.name);
  if (pod === undefined) throw notFound(pods, target.name);
  const names = pod.spec.containers.map((container) => container.name);
  const container = request.query.get('container') ?? names[0] ?? '';
  if (!names.includes(container)) throw badRequest(`container ${container} is not valid for pod ${target.name}`);
  const query = new URLSearchParams(request.query);
  query.set('container', container);
  const bytes = await options.podLog(pod, query, request.signal);
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': bytes.length });
  response.end(bytes);
};

const answerDelete = (response: ServerResponse, target: Target, request: Request, api: Api): void => {
  const options = deleteOptions(request);
  if (target.name === '') {
    const { items, metadata } = api.list(target, request.query);
    for (const { metadata: one } of items) {
      api.remove({ ...target, namespace: one.namespace ?? '', name: one.name }, options);
    }
    const { resource } = target;
    send(response, 200, { kind: `${resource.kind}List`, apiVersion: apiVersionOf(resource), metadata, items });
    return;
  }
  const object = api.remove(target, options);
  if (target.resource === (pods as unknown)) {
    send(response, 200, object);
    return;
  }
  const { name, uid } = object.metadata;
  const details = { name, group: target.resource.group, kind: target.resource.plural, uid };
  send(response, 200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details });
};

const evict = (response: ServerResponse, target: Target, request: Request, api: Api): void => {
  const body = isJsonObject(request.body) ? request.body : {};
  const options = isJsonObject(body['deleteOptions']) ? body['deleteOptions'] : {};
  api.remove({ ...target, subresource: '' }, deleteOptions({ ...request, body: options }));
  send(response, 201, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 });
};

/** One request for an object or a collection, by its method. */
const dispatch = async (
  response: ServerResponse,
  target: Target,
  request: Request,
  api: Api,
  options: ApiServerOptions,
): Promise<void> => {
  const { resource, subresource, name } = target;
  const { method, query, body } = request;
  if (subresource !== '' && !resource.subresources.includes(subresource)) {
    throw new ApiError(404, 'NotFound', 'the server could not find the requested resource');
  }
  const dryRun = isDryRun(query);
  if (method === 'GET' && subresource === 'log') return await answerLog(response, target, request, options);
  if (method === 'POST' && subresource === 'eviction') return evict(response, target, request, api);
  if (method === 'GET' && name === '') {
    if (query.get('watch') === 'true' || query.get('watch') === '1') {
      const table = tableWanted(request.accept) ? includeIn(query) : undefined;
      return await serveWatch(response, { ...options, target, query, table, signal: request.signal });
    }
    return answerList(response, target, request, api, options);
  }
  if (method === 'GET') return answerObject(response, 200, api.get(target), target, request, options);
  if (method === 'POST' && name === '') {
    return answerObject(response, 201, api.create(target, body, dryRun), target, request, options);
  }
  if (method === 'PUT' && name !== '') {
    return answerObject(response, 200, api.update(target, body, dryRun), target, request, options);
  }
  if (method === 'PATCH' && name !== '') {
    if (!patchTypes.includes(request.contentType)) {
      throw new ApiError(
        415,
        'UnsupportedMediaType',
        `the body of the request was in an unknown format - accepted media types include: ${patchTypes.join(', ')}`,
      );
    }
    const { object, created } = api.patch(target, body, request.contentType, dryRun);
    return answerObject(response, created ? 201 : 200, object, target, request, options);
  }
  if (method === 'DELETE' && subresource === '') return answerDelete(response, target, request, api);
  throw methodNotAllowed();
};

const digest = (value: string): Buffer => createHash('sha256').update(value).digest();

const authorized = (message: IncomingMessage, token: string): boolean =>
  timingSafeEqual(digest(message.headers.authorization ?? ''), digest(`Bearer ${token}`));

const handle = async (
  message: IncomingMessage,
  response: ServerResponse,
  api: Api,
  options: ApiServerOptions,
): Promise<void> => {
  const url = new URL(message.url ?? '/', 'https://lab');
  const path = url.pathname.replace(/\/+$/, '') || '/';
  if (path === '/healthz' || path === '/livez' || path === '/readyz') {
    response.writeHead(200, { 'content-type': 'text/plain' }).end('ok');
    return;
  }
  if (!authorized(message, options.token)) throw new ApiError(401, 'Unauthorized', 'Unauthorized');
  if (!(message.headers['user-agent'] ?? 'lab').startsWith('lab')) options.onUse();
  const method = message.method ?? 'GET';
  if (path === '/openapi/v2') {
    // An empty schema in its only current form: kubectl then leaves the checking to the server.
    response.writeHead(200, { 'content-type': 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf' }).end();
    return;
  }
  const known = method === 'GET' ? discoveryAt(path) : undefined;
  if (known !== undefined) return send(response, 200, known);
  const target = parseTarget(path);
  if (target === undefined) throw new ApiError(404, 'NotFound', 'the server could not find the requested resource');
  const contentType = (message.headers['content-type'] ?? 'application/json').split(';')[0]?.trim() ?? '';
  if (method !== 'PATCH' && method !== 'GET' && contentType === 'application/vnd.kubernetes.protobuf') {
    throw new ApiError(415, 'UnsupportedMediaType', 'the body of the request was in an unknown format - use JSON');
  }
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const body = await parseBody(await readBody(message), contentType);
  const accept = message.headers.accept ?? '';
  const signal = AbortSignal.any([gone.signal, options.signal]);
  await dispatch(
    response,
    target,
    { method, path, query: url.searchParams, accept, contentType, body, signal },
    api,
    options,
  );
};

/** One cluster's HTTPS listener. */
export const createApiServer = (options: ApiServerOptions): Server => {
  const api = createApi(options.store, options.nowMs);
  const { certificate, key } = options.tls;
  const server = createServer({ cert: certificate, key, keepAliveTimeout: 60_000 }, (message, response) => {
    message.socket.setNoDelay(true);
    handle(message, response, api, options).catch((error: unknown) => {
      if (response.headersSent) return response.destroy();
      if (error instanceof ApiError) return send(response, error.code, statusOf(error));
      options.log(`bug: ${error instanceof Error ? error.stack : String(error)}`);
      send(response, 500, statusOf(new ApiError(500, 'InternalError', `Internal error occurred: ${String(error)}`)));
    });
  });
  options.signal.addEventListener('abort', () => server.close(), { once: true });
  return server;
};
