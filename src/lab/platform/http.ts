import type { Agent, IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { messageOf } from '../../core/errors.ts';
import type { ComponentContext } from '../component.ts';
import type { LabLayout, Place } from '../layout.ts';
import { scaledTimeout } from '../layout.ts';
import { http } from '../node-http.ts';

/**
 * The plain HTTP that the lab's services speak: a server, bounded calls over the links, and a relay that never turns a
 * broken stream into a clean end. Node's own client and server, nothing else: every pod carries this code.
 */

/** Runs `act` once after `durationMs` unless cleared; `again` starts the wait anew. Cheap enough for every request. */
export interface Alarm {
  again(): void;
  clear(): void;
}
export const alarm = (durationMs: number, act: () => void): Alarm => {
  const timer = setTimeout(act, durationMs);
  return { again: () => timer.refresh(), clear: () => clearTimeout(timer) };
};

/**
 * A scaled time-out for an answer that a model makes: the model's own time is real, so it is added whole. Without it a
 * long answer would not fit into a time-out divided by the time scale.
 */
export const answerTimeout = (layout: LabLayout, documentedMs: number): number => {
  const { firstToken, tokens, tokenGap } = layout.settings.llm;
  return scaledTimeout(layout, documentedMs) + firstToken + tokens * tokenGap;
};

export type CallFailure =
  | 'timeout' // nothing came in time
  | 'connection' // refused, reset, or closed before it answered
  | 'aborted'; // our own caller gave up

export class CallError extends Error {
  readonly failure: CallFailure;

  constructor(failure: CallFailure, message: string) {
    super(message);
    this.name = 'CallError';
    this.failure = failure;
  }
}

const idleSocketMs = 60_000;
const egressSocketsMax = 512;

/** Opens a tunnel to a pod through a place's egress. The socket is the pod's from the first byte on. */
const tunnel = (
  egressPort: number,
  authority: string,
  timeoutMs: number,
  done: (error: Error | null, socket?: Socket) => void,
): void => {
  const request = http.request({
    host: '127.0.0.1',
    port: egressPort,
    method: 'CONNECT',
    path: authority,
    agent: false,
    headers: { host: authority },
  });
  const late = alarm(timeoutMs, () =>
    request.destroy(new CallError('timeout', `no connection to ${authority} within ${Math.round(timeoutMs)} ms`)),
  );
  request.once('connect', (response, socket, head) => {
    late.clear();
    if (response.statusCode !== 200) {
      socket.destroy();
      done(new CallError('connection', `${authority}: the egress answered ${response.statusCode}`));
      return;
    }
    if (head.length > 0) socket.unshift(head);
    (socket as Socket).setNoDelay(true);
    done(null, socket as Socket);
  });
  request.once('response', (response) => {
    response.resume();
    request.destroy(new CallError('connection', `${authority}: the egress answered ${response.statusCode}`));
  });
  request.once('error', (error) => {
    late.clear();
    done(error);
  });
  request.end();
};

/** The name under which the egress of any place knows a pod's zone. */
export const podHost = (zone: string): string => `${zone}.zone.lab`;

/** A keep-alive agent whose connections go to pods through the egress of `place`; `connectMs` bounds each tunnel. */
export const egressAgent = (layout: LabLayout, place: Place, connectMs: number): Agent => {
  const port = layout.egress[place];
  if (port === undefined) throw new Error(`${place} has no egress`);
  const agent = new http.Agent({ keepAlive: true, maxTotalSockets: egressSocketsMax, maxFreeSockets: 32 });
  agent.createConnection = (options, callback) => {
    tunnel(port, `${options.host}:${options.port}`, connectMs, (error, socket) => {
      // The declared type wants a stream beside an error too; Node reads the error first.
      if (socket === undefined) callback?.(error ?? new Error('no socket'), undefined as never);
      else callback?.(null, socket);
    });
    return undefined;
  };
  return agent;
};

/** A keep-alive agent for services with a fixed port (vector store). */
export const linkAgent = (): Agent => new http.Agent({ keepAlive: true, maxTotalSockets: 64, maxFreeSockets: 8 });

export interface CallOptions {
  readonly agent: Agent;
  readonly host: string;
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Buffer | string;
  /** The rest of a body that is too long to keep: sent after `body`; such a call cannot be repeated. */
  readonly rest?: IncomingMessage;
  /** Real milliseconds until the head of the response. */
  readonly headMs: number;
  readonly signal?: AbortSignal;
}

const failureOf = (error: unknown, what: string): CallError =>
  error instanceof CallError ? error : new CallError('connection', `${what}: ${messageOf(error)}`);

/** Resolves with the head of the response; its body is the caller's to read, bound and finish. Throws `CallError`. */
export const call = (options: CallOptions): Promise<IncomingMessage> => {
  const { agent, host, port, method, path, signal, body, rest } = options;
  const what = `${method} ${host}:${port}${path}`;
  if (signal?.aborted) return Promise.reject(new CallError('aborted', `${what}: given up`));
  return new Promise((resolve, reject) => {
    const headers = { ...options.headers };
    if (body !== undefined && rest === undefined) headers['content-length'] = Buffer.byteLength(body);
    const request = http.request({ agent, host, port, method, path, headers });
    let response: IncomingMessage | undefined;
    const late = alarm(options.headMs, () =>
      request.destroy(new CallError('timeout', `${what}: no answer within ${Math.round(options.headMs)} ms`)),
    );
    const onAbort = (): void => {
      const error = new CallError('aborted', `${what}: given up`);
      if (response === undefined) request.destroy(error);
      else response.destroy(error);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    request.once('response', (received) => {
      response = received;
      late.clear();
      resolve(received);
    });
    // Not `once`: a socket that breaks after the head reports here again, and the body reports it to whoever reads it.
    request.on('error', (error) => {
      late.clear();
      reject(failureOf(error, what));
    });
    request.once('close', () => {
      late.clear();
      signal?.removeEventListener('abort', onAbort);
      if (response === undefined) reject(new CallError('connection', `${what}: closed without an answer`));
    });
    if (body !== undefined) request.write(body);
    if (rest === undefined) request.end();
    else rest.pipe(request);
  });
};

export type RelayEnd =
  | 'complete' //
  | 'broken' // the upstream closed before its end
  | 'idle' // the upstream fell silent
  | 'client-gone';

export interface Relayed {
  readonly end: RelayEnd;
  readonly bytes: number;
}

/**
 * Copies a response body to a client, with backpressure, until its end. `onFirst` runs before the first byte goes out
 * (it writes the head). Anything but `complete` leaves `to` as it is: when bytes went out, the caller must destroy it,
 * so that a cut stream is seen as cut.
 */
export const relay = (
  from: IncomingMessage,
  to: ServerResponse,
  limits: { readonly firstMs: number; readonly idleMs: number },
  onFirst: () => void,
): Promise<Relayed> =>
  new Promise((resolve) => {
    let bytes = 0;
    let settled = false;
    let quiet: Alarm;
    const settle = (end: RelayEnd): void => {
      if (settled) return;
      settled = true;
      quiet.clear();
      to.off('close', onGone);
      to.off('drain', onDrain);
      if (end !== 'complete') from.destroy();
      resolve({ end, bytes });
    };
    const onGone = (): void => settle('client-gone');
    const onDrain = (): void => {
      from.resume();
      quiet.again();
    };
    let gathering = false;
    /**
     * What arrives in one turn of the event loop leaves in one write: head, last token and end are often together. The
     * socket is corked, not the response: a corked response sends its end before what it holds.
     */
    const gather = (): void => {
      const { socket } = to;
      if (gathering || socket === null) return;
      gathering = true;
      socket.cork();
      setImmediate(() => {
        gathering = false;
        socket.uncork();
      });
    };
    quiet = alarm(limits.firstMs, () => settle('idle'));
    if (to.destroyed) {
      settle('client-gone');
      return;
    }
    from.on('data', (chunk: Buffer) => {
      if (settled) return;
      if (bytes === 0) {
        quiet.clear();
        quiet = alarm(limits.idleMs, () => settle('idle'));
        onFirst();
      } else quiet.again();
      bytes += chunk.length;
      gather();
      if (!to.write(chunk)) from.pause();
    });
    from.once('end', () => settle(from.complete ? 'complete' : 'broken'));
    from.once('close', () => settle('broken'));
    from.once('error', () => settle('broken'));
    to.once('close', onGone);
    to.on('drain', onDrain);
  });

/** The whole body of a response, of at most `bytesMax`, within `timeoutMs`. Throws `CallError`. */
export const readAll = (from: IncomingMessage, timeoutMs: number, bytesMax = 4 * 1024 * 1024): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const late = alarm(timeoutMs, () => {
      from.destroy();
      reject(new CallError('timeout', `the body did not end within ${Math.round(timeoutMs)} ms`));
    });
    const broken = (): void => {
      late.clear();
      if (!from.readableEnded) reject(new CallError('connection', 'the body was cut'));
    };
    from.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > bytesMax) from.destroy();
    });
    from.once('end', () => {
      late.clear();
      resolve(Buffer.concat(chunks));
    });
    from.once('error', broken);
    from.once('close', broken);
  });

/** A small call whose whole answer matters: status and text. Throws `CallError`. */
export const fetchText = async (
  options: CallOptions,
): Promise<{ readonly status: number; readonly text: string; readonly headers: IncomingHttpHeaders }> => {
  const response = await call(options);
  const body = await readAll(response, options.headMs);
  return { status: response.statusCode ?? 0, text: body.toString('utf8'), headers: response.headers };
};

/** What a handler throws to answer with an error in the shape that OpenAI's clients understand. */
export class HttpError extends Error {
  readonly status: number;
  readonly type: string;
  readonly code: string;
  readonly headers: OutgoingHttpHeaders;

  constructor(status: number, type: string, code: string, message: string, headers: OutgoingHttpHeaders = {}) {
    super(message);
    this.name = 'HttpError';
    this.status = status;
    this.type = type;
    this.code = code;
    this.headers = headers;
  }
}

export const sendJson = (
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: OutgoingHttpHeaders = {},
): void => {
  const text = JSON.stringify(value);
  response.writeHead(status, {
    ...headers,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
};

export const sendError = (response: ServerResponse, error: HttpError, headers: OutgoingHttpHeaders = {}): void => {
  const { message, type, code } = error;
  sendJson(response, error.status, { error: { message, type, param: null, code } }, { ...error.headers, ...headers });
};

export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

/** The request's path without its query. */
export const pathOf = (request: IncomingMessage): string => {
  const url = request.url ?? '/';
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
};

const answerFailure = (context: ComponentContext, response: ServerResponse, error: unknown): void => {
  if (response.headersSent || response.destroyed) {
    response.destroy();
  } else if (error instanceof HttpError) {
    sendError(response, error);
  } else if (error instanceof CallError) {
    sendError(response, new HttpError(502, 'server_error', 'upstream_failed', error.message));
  } else {
    context.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    sendError(response, new HttpError(500, 'server_error', 'bug', messageOf(error)));
  }
};

/**
 * Serves on a loopback port (0: any) until the context's signal aborts; then takes no more requests and lets those in
 * flight end, which `closed` waits for.
 */
export const serve = (
  context: ComponentContext,
  port: number,
  handle: Handler,
): Promise<{ readonly port: number; readonly closed: Promise<void> }> => {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      if (context.signal.aborted) response.shouldKeepAlive = false;
      await handle(request, response);
    } catch (error) {
      answerFailure(context, response, error);
    }
  };
  const server = http.createServer({ keepAliveTimeout: idleSocketMs, requestTimeout: 60_000 }, (request, response) => {
    // While draining, a connection whose last answer is out is of no more use.
    response.once('close', () => {
      if (context.signal.aborted) setImmediate(() => server.closeIdleConnections());
    });
    void answer(request, response);
  });
  const closed = new Promise<void>((resolve) => server.once('close', resolve));
  const drain = (): Promise<void> => {
    server.close();
    server.closeIdleConnections();
    return closed;
  };
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      if (context.onStop === undefined) {
        context.signal.addEventListener('abort', () => void drain(), { once: true });
      } else context.onStop(drain);
      resolve({ port: (server.address() as AddressInfo).port, closed });
    });
  });
};

/** The body of a request, of at most `bytesMax`. Throws `HttpError` 413; a client that goes away rejects too. */
export const readBody = (request: IncomingMessage, bytesMax: number): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bytesMax) chunks.push(chunk);
      else reject(new HttpError(413, 'invalid_request_error', 'too_large', `a body may have ${bytesMax} bytes`));
    });
    request.once('end', () => resolve(Buffer.concat(chunks)));
    request.once('error', reject);
    request.once('close', () =>
      reject(new CallError('aborted', 'the client went away before its request was complete')),
    );
  });

/** Aborts when the client goes away before its answer is complete. */
export const clientController = (response: ServerResponse): AbortController => {
  const controller = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) controller.abort(new CallError('aborted', 'the client is gone'));
  });
  return controller;
};
