import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import path from 'node:path';
import { forwardPort, type LabLayout, type Place } from '../layout.ts';
import type { KubernetesObject } from './objects.ts';

/** An answer with a status other than success. */
export class ClusterClientError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'ClusterClientError';
    this.status = status;
  }
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: KubernetesObject & { readonly code?: number };
}

/** Just enough of a Kubernetes client for the lab's own parts: small, and bounded in every call. */
export interface ClusterClient {
  request(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    url: string,
    options: { readonly body?: unknown; readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<unknown>;
  /** Resolves when the stream ends, rejects when it breaks or stays silent for `silentMs`. */
  watch(
    url: string,
    options: { readonly silentMs: number; readonly signal: AbortSignal },
    onEvent: (event: WatchEvent) => void,
  ): Promise<void>;
  close(): void;
}

const answerBytesMax = 64 * 1024 * 1024;

const readAll = async (response: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    const piece = Buffer.from(chunk);
    bytes += piece.length;
    if (bytes > answerBytesMax) throw new Error('the Kubernetes API answered more than can be right');
    chunks.push(piece);
  }
  return Buffer.concat(chunks).toString();
};

const messageIn = (text: string): string => {
  try {
    const status: unknown = JSON.parse(text);
    if (typeof status === 'object' && status !== null && 'message' in status) return String(status.message);
    return text;
  } catch {
    return text;
  }
};

/** Whole lines of a stream; unlike readline it leaves the stream's errors to whoever reads it. */
const onLines = (response: IncomingMessage, onLine: (line: string) => void): void => {
  let rest = '';
  response.setEncoding('utf8');
  response.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
};

/** The API of `region` as `place` reaches it: over the place's own link. */
export const createClusterClient = (layout: LabLayout, place: Place, region: string): ClusterClient => {
  const port = forwardPort(layout, place, `kubernetes/${region}`);
  const ca = readFileSync(path.join(layout.stateDir, 'ca.pem'));
  return createClientAt({ port, ca, token: layout.token });
};

export const createClientAt = (server: {
  readonly port: number;
  readonly ca: string | Buffer;
  readonly token: string;
}): ClusterClient => {
  const agent = new Agent({ keepAlive: true, ca: server.ca });
  const base = { host: '127.0.0.1', port: server.port, agent };
  const headers = { authorization: `Bearer ${server.token}`, 'user-agent': 'lab' };

  const open = (method: string, url: string, body: unknown, signal: AbortSignal): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
      const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
      const content = bytes === undefined ? {} : { 'content-type': type, 'content-length': bytes.length };
      const sent = request({ ...base, method, path: url, signal, headers: { ...headers, ...content } }, resolve);
      sent.setNoDelay(true);
      sent.on('error', reject);
      sent.end(bytes);
    });

  return {
    async request(method, url, { body, timeoutMs, signal }) {
      const limit = AbortSignal.timeout(Math.ceil(timeoutMs));
      const response = await open(method, url, body, signal === undefined ? limit : AbortSignal.any([signal, limit]));
      const text = await readAll(response);
      const status = response.statusCode ?? 0;
      if (status >= 300) throw new ClusterClientError(status, `${method} ${url}: ${status} ${messageIn(text)}`);
      return text === '' ? undefined : JSON.parse(text);
    },
    async watch(url, { silentMs, signal }, onEvent) {
      const response = await open('GET', url, undefined, signal);
      if (response.statusCode !== 200) {
        throw new ClusterClientError(response.statusCode ?? 0, `GET ${url}: ${messageIn(await readAll(response))}`);
      }
      const silence = setTimeout(
        () => response.destroy(new Error(`the watch was silent for ${silentMs} ms`)),
        silentMs,
      );
      response.on('data', () => silence.refresh());
      try {
        await new Promise<void>((resolve, reject) => {
          response.on('error', reject);
          response.on('close', resolve);
          onLines(response, (line) => onEvent(JSON.parse(line)));
        });
      } finally {
        clearTimeout(silence);
      }
    },
    close: () => agent.destroy(),
  };
};

/** Lists a collection, then follows it, and lists again whenever the watch ends or is too old, until aborted. */
export const follow = async <T extends KubernetesObject>(
  client: ClusterClient,
  collection: string,
  options: {
    readonly timeoutMs: number;
    readonly retryMs: number;
    readonly silentMs: number;
    readonly signal: AbortSignal;
  },
  handlers: {
    onList(objects: readonly T[]): void;
    onEvent(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void;
    onTrouble(error: unknown): void;
    sleep(durationMs: number, signal: AbortSignal): Promise<void>;
  },
): Promise<void> => {
  const { signal, timeoutMs, retryMs, silentMs } = options;
  const join = collection.includes('?') ? '&' : '?';
  while (!signal.aborted) {
    try {
      // The API answers a list with its items and the revision to watch from.
      const list = (await client.request('GET', collection, { timeoutMs, signal })) as {
        readonly items: readonly T[];
        readonly metadata: { readonly resourceVersion: string };
      };
      handlers.onList(list.items);
      let revision = list.metadata.resourceVersion;
      for (let gone = false; !gone; ) {
        const url = `${collection}${join}watch=true&allowWatchBookmarks=true&resourceVersion=${revision}`;
        await client.watch(url, { silentMs, signal }, ({ type, object }) => {
          if (type === 'ERROR') {
            gone = true;
            return;
          }
          revision = object.metadata.resourceVersion;
          // The collection's path says which kind its events carry.
          if (type !== 'BOOKMARK') handlers.onEvent(type, object as T);
        });
      }
    } catch (error) {
      if (signal.aborted) return;
      handlers.onTrouble(error);
      await handlers.sleep(retryMs, signal);
    }
  }
};
