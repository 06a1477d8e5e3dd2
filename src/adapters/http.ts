import { Client, type Dispatcher, errors, Pool } from 'undici';
import type { Clock } from '../core/clock.ts';
import { codeOf, failureOf } from './failure.ts';

export interface HttpRequest {
  readonly secure: boolean;
  /** Address and port that are connected to; `host` is what the server is told. */
  readonly address: string;
  readonly port: number;
  readonly host: string;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  /** Ends the request and destroys its connection. The time-out that counts: the library's own lie beyond it. */
  readonly signal: AbortSignal;
  onHead?(status: number, headers: HttpHeaders): void;
  /** Each piece of the body, at the instant it was read. */
  onData?(piece: Buffer, atMs: number): void;
}

export type HttpHeaders = Readonly<Record<string, string | string[] | undefined>>;

export interface HttpOutcome {
  /** Null when the whole response came; else `refused`, `reset`, `truncated`, `timeout`, `unreachable`, `protocol`… */
  readonly failure: string | null;
  /** The failure is of this machine (no descriptor, no port left): nothing was learnt about the target. */
  readonly ours: boolean;
  /** A connection was there to send it on: the other side may have got it. */
  readonly sent: boolean;
  readonly status: number | null;
  readonly headers: HttpHeaders;
  /** First byte of the head. */
  readonly firstByteMs: number | null;
  readonly endedMs: number;
}

export interface HttpClient {
  /** Never rejects for what the other side did. */
  send(request: HttpRequest): Promise<HttpOutcome>;
  close(): Promise<void>;
}

/** A pool for an address that has not been used for this long is closed. */
const idlePoolMs = 60_000;

/**
 * `fresh` opens a new connection for each request and closes it afterwards. `kept` keeps connections per address, as an
 * ordinary keep-alive client does; a request that times out destroys its own.
 */
export const createHttpClient = (connection: 'fresh' | 'kept', timeoutMs: number, clock: Clock): HttpClient => {
  const pools = new Map<string, { readonly pool: Pool; usedMs: number }>();
  const options = optionsFor(timeoutMs);

  const poolOf = (origin: string): Pool => {
    const nowMs = clock.monotonicMs();
    for (const [key, { pool, usedMs }] of pools) {
      if (key === origin || nowMs - usedMs < idlePoolMs) continue;
      pools.delete(key);
      void pool.destroy();
    }
    const known = pools.get(origin) ?? { pool: new Pool(origin, { ...options, connections: null }), usedMs: nowMs };
    known.usedMs = nowMs;
    pools.set(origin, known);
    return known.pool;
  };

  return {
    async send(request) {
      const origin = originOf(request);
      if (connection === 'kept') return exchange(poolOf(origin), request, false, clock);
      const client = new Client(origin, options);
      const outcome = await exchange(client, request, true, clock);
      // Not awaited: closing is not part of the answer. A client that is destroyed twice rejects nothing.
      void client.destroy();
      return outcome;
    },
    async close() {
      const open = [...pools.values()];
      pools.clear();
      await Promise.all(open.map(({ pool }) => pool.destroy()));
    },
  };
};

/** The library's defaults are minutes. These lie just beyond the probe's own deadline, which decides. */
const optionsFor = (timeoutMs: number): Client.Options => ({
  connect: { timeout: timeoutMs + 1000 },
  headersTimeout: timeoutMs + 1000,
  bodyTimeout: timeoutMs + 1000,
  keepAliveTimeout: 4000,
  keepAliveMaxTimeout: 60_000,
  pipelining: 1,
  allowH2: false,
});

const originOf = ({ secure, address, port }: HttpRequest): string =>
  `${secure ? 'https' : 'http'}://${address.includes(':') ? `[${address}]` : address}:${port}`;

const exchange = (
  dispatcher: Dispatcher,
  request: HttpRequest,
  closeAfter: boolean,
  clock: Clock,
): Promise<HttpOutcome> =>
  new Promise((resolve) => {
    let status: number | null = null;
    let headers: HttpHeaders = {};
    let firstByteMs: number | null = null;
    let abort: ((reason: Error) => void) | undefined;
    let settled = false;
    let sent = false;

    const settle = (failure: string | null, ours = false): void => {
      if (settled) return;
      settled = true;
      request.signal.removeEventListener('abort', onAbort);
      resolve({ failure, ours, sent, status, headers, firstByteMs, endedMs: clock.monotonicMs() });
    };
    const onAbort = (): void => {
      settle('timeout');
      abort?.(new Error('timed out'));
      if (closeAfter) void dispatcher.destroy();
    };
    if (request.signal.aborted) {
      settle('timeout');
      return;
    }
    request.signal.addEventListener('abort', onAbort, { once: true });
    dispatcher.dispatch(
      {
        path: request.path,
        method: request.method,
        headers: { host: request.host, ...request.headers },
        body: request.body,
        reset: closeAfter,
      },
      {
        onRequestStart(controller) {
          abort = (reason) => controller.abort(reason);
          // Timed out while it waited for a connection: it is not sent late.
          if (settled) controller.abort(new Error('timed out'));
          else sent = true;
        },
        onResponseStart(_controller, statusCode, head) {
          if (settled || statusCode < 200) return;
          firstByteMs = clock.monotonicMs();
          status = statusCode;
          headers = head;
          request.onHead?.(statusCode, head);
        },
        onResponseData(_controller, piece) {
          if (!settled) request.onData?.(piece, clock.monotonicMs());
        },
        onResponseEnd: () => settle(null),
        onResponseError(_controller, error) {
          const code = error instanceof errors.HTTPParserError ? parserCodeOf(error) : codeOf(error);
          settle(failureOf(code, status !== null), exhausted.has(code));
        },
      },
    );
  });

/** The parser's errors carry no code of their own: the connection's end inside an answer, or what is not HTTP. */
const parserCodeOf = (error: Error): string => (error.message.includes('EOF') ? 'ECONNRESET' : 'HPE_INVALID');

const exhausted: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']);
