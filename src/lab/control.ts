import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { LabLayout } from './layout.ts';
import { http } from './node-http.ts';
import { markUsed } from './used.ts';

/** A refusal a control API gives to its caller: HTTP status, a code to branch on, and a message for people. */
export class ControlError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'ControlError';
    this.status = status;
    this.code = code;
  }
}

export interface ControlCall {
  /** Values of the `:name` parts of the route, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** The parsed JSON body; `undefined` when there was none. */
  readonly body: unknown;
}

/** `route` is `METHOD /path/:name`. What `answer` returns is sent as JSON; `undefined` becomes `{}`. */
export interface ControlRoute {
  readonly route: string;
  answer(call: ControlCall): unknown;
}

export type ControlName = keyof LabLayout['control'];

const bodyBytesMax = 1024 * 1024;
/** Says that a call comes from inside the lab, so that it does not count as somebody using the lab. */
const internalHeader = 'x-lab-internal';

const readBody = async (request: IncomingMessage): Promise<unknown> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new ControlError(413, 'TooLarge', `a body may have ${bodyBytesMax} bytes`);
    chunks.push(chunk);
  }
  if (bytes === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new ControlError(400, 'BadJson', 'the body is not JSON');
  }
};

const isAuthorized = (request: IncomingMessage, token: string): boolean => {
  const given = Buffer.from(request.headers.authorization ?? '');
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
};

const paramsOf = (pattern: readonly string[], parts: readonly string[]): Record<string, string> | undefined => {
  if (pattern.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, wanted] of pattern.entries()) {
    const part = parts[index] ?? '';
    if (wanted.startsWith(':')) params[wanted.slice(1)] = decodeURIComponent(part);
    else if (wanted !== part) return undefined;
  }
  return params;
};

interface CompiledRoute {
  readonly method: string;
  readonly pattern: readonly string[];
  readonly answer: ControlRoute['answer'];
}

const compile = ({ route, answer }: ControlRoute): CompiledRoute => {
  const [method = '', pathname = ''] = route.split(' ');
  return { method, pattern: pathname.split('/'), answer };
};

const answerOf = async (
  routes: readonly CompiledRoute[],
  layout: LabLayout,
  request: IncomingMessage,
): Promise<unknown> => {
  if (!isAuthorized(request, layout.token)) {
    throw new ControlError(401, 'Unauthorized', 'send the lab token as "Authorization: Bearer …"');
  }
  if (request.headers[internalHeader] === undefined) markUsed(layout.stateDir);
  const url = new URL(request.url ?? '/', 'http://lab');
  const parts = url.pathname.split('/');
  for (const { method, pattern, answer } of routes) {
    const params = method === request.method ? paramsOf(pattern, parts) : undefined;
    if (params !== undefined) return answer({ params, query: url.searchParams, body: await readBody(request) });
  }
  throw new ControlError(404, 'NotFound', `there is no ${request.method} ${url.pathname}`);
};

const send = (response: ServerResponse, status: number, value: unknown): void => {
  const text = JSON.stringify(value ?? {});
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
};

/** Serves JSON over HTTP on a loopback port of the layout, for holders of the lab's token, until the signal aborts. */
export const serveControl = (
  layout: LabLayout,
  name: ControlName,
  routes: readonly ControlRoute[],
  signal: AbortSignal,
): Promise<void> => {
  const compiled = routes.map(compile);
  const server = http.createServer({ requestTimeout: 30_000, keepAliveTimeout: 60_000 }, (request, response) => {
    answerOf(compiled, layout, request).then(
      (value) => send(response, 200, value),
      (error: unknown) => {
        if (error instanceof ControlError) send(response, error.status, { code: error.code, message: error.message });
        else send(response, 500, { code: 'Bug', message: error instanceof Error ? error.stack : String(error) });
      },
    );
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(layout.control[name], '127.0.0.1', () => {
      signal.addEventListener(
        'abort',
        () => {
          server.close();
          server.closeAllConnections();
        },
        { once: true },
      );
      resolve();
    });
  });
};

export interface CallOptions {
  readonly body?: unknown;
  readonly signal?: AbortSignal;
  /** Real milliseconds for the whole call; 10 s unless told. */
  readonly timeoutMs?: number;
}

const parseAnswer = (status: number, text: string): unknown => {
  const value: unknown = text === '' ? undefined : JSON.parse(text);
  if (status >= 200 && status < 300) return value;
  const { code, message } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  throw new ControlError(status, String(code ?? 'Unknown'), String(message ?? text));
};

/**
 * Calls a control API of the lab from inside the lab. Resolves with the parsed answer, which the caller checks.
 * Throws `ControlError` when it refuses; a connection error or a time-out otherwise.
 */
export const callControl = (
  layout: LabLayout,
  name: ControlName,
  method: 'GET' | 'PUT' | 'POST' | 'DELETE',
  path: string,
  options: CallOptions = {},
): Promise<unknown> => {
  const text = options.body === undefined ? undefined : JSON.stringify(options.body);
  const timeout = AbortSignal.timeout(options.timeoutMs ?? 10_000);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        host: '127.0.0.1',
        port: layout.control[name],
        method,
        path,
        signal,
        agent: false,
        headers: {
          authorization: `Bearer ${layout.token}`,
          [internalHeader]: '1',
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () => {
          try {
            resolve(parseAnswer(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8')));
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    request.once('error', reject);
    request.end(text);
  });
};
