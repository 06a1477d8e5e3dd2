import { open } from 'node:fs/promises';
import { http } from '../node-http.ts';
import { logFileOf } from './container.ts';

const logBytesMax = 8 * 1024 * 1024;

/** The last `logBytesMax` of a file; empty when there is none yet. */
const readTail = async (file: string): Promise<Buffer> => {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, logBytesMax);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
};

/** The last lines of a log, as `tailLines` asks for. */
export const lastLines = (text: string, count: number): string => {
  const lines = text.split('\n');
  const ended = lines.at(-1) === '' ? 1 : 0;
  return count === 0 ? '' : lines.slice(-(count + ended)).join('\n');
};

/** What the API asks of a node: the logs of its containers. Resolves with the port. */
export const startKubeletServer = (options: {
  readonly token: string;
  readonly logFolder: string;
  readonly signal: AbortSignal;
}): Promise<number> => {
  const server = http.createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const url = new URL(request.url ?? '/', 'http://node');
      const [, kind, namespace = '', pod = '', container = ''] = url.pathname.split('/').map(decodeURIComponent);
      if (request.headers.authorization !== `Bearer ${options.token}`) {
        response.writeHead(401).end();
        return;
      }
      if (kind !== 'containerLogs') {
        response.writeHead(404).end();
        return;
      }
      const bytes = await readTail(logFileOf(options.logFolder, namespace, pod, container));
      const tail = url.searchParams.get('tailLines');
      const body = tail === null ? bytes : Buffer.from(lastLines(bytes.toString(), Number(tail)));
      response.writeHead(200, { 'content-length': body.length, connection: 'close' }).end(body);
    };
    answer().catch((error: unknown) => response.destroy(error instanceof Error ? error : new Error(String(error))));
  });
  options.signal.addEventListener('abort', () => server.close(), { once: true });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (address === null || typeof address === 'string') reject(new Error('the node agent has no port'));
      else resolve(address.port);
    });
  });
};
