import { createServer, type RequestListener } from 'node:http';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { runProber } from './health-prober.ts';

const startServer = async (listener: RequestListener) => {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
};

/** Checks until there are as many results as wanted. */
const results = async (port: number, wanted: number, more: { periodMs?: number } = {}) => {
  const stopping = new AbortController();
  const seen: (string | undefined)[] = [];
  await runProber({
    port,
    path: '/healthz',
    periodMs: 20,
    timeoutMs: 100,
    clock: systemClock,
    signal: stopping.signal,
    onResult(problem) {
      seen.push(problem);
      if (seen.length >= wanted) stopping.abort(new Error('enough'));
    },
    ...more,
  });
  return seen;
};

describe('health checks', () => {
  it('take 2xx and 3xx for well and say what else there was, over one connection', async () => {
    let requests = 0;
    let connections = 0;
    const { server, port } = await startServer((_, response) => {
      requests += 1;
      response.writeHead([200, 302, 204, 503, 200][requests - 1] ?? 200).end('some text '.repeat(100));
    });
    server.on('connection', () => {
      connections += 1;
    });
    const bad = 'HTTP probe failed with statuscode: 503';
    expect(await results(port, 5)).toEqual([undefined, undefined, undefined, bad, undefined]);
    expect(connections).toBe(2);
    server.close();
  });

  it('notice a server that is gone, one that does not answer, and one that comes back', async () => {
    const { server, port } = await startServer((request) => request.socket.destroy());
    expect((await results(port, 2)).every((problem) => problem?.includes('/healthz'))).toBe(true);
    server.removeAllListeners('request');
    expect(await results(port, 2)).toEqual(Array(2).fill(expect.stringContaining('context deadline exceeded')));
    server.on('request', (_, response) => response.end('ok'));
    expect(await results(port, 2)).toEqual([undefined, undefined]);
    expect(await results(port, 2, { periodMs: 2500 })).toEqual([undefined, undefined]);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    expect(await results(port, 1)).toEqual([expect.stringContaining('ECONNREFUSED')]);
  });

  it('say nothing when it was the checker that was held up', async () => {
    const { server, port } = await startServer(() => undefined);
    let stalls = 0;
    const stopping = new AbortController();
    const seen: (string | undefined)[] = [];
    const running = runProber({
      port,
      path: '/',
      periodMs: 20,
      timeoutMs: 50,
      clock: systemClock,
      signal: stopping.signal,
      onResult: (problem) => {
        seen.push(problem);
        stopping.abort(new Error('enough'));
      },
    });
    for (; stalls < 3; stalls += 1) {
      const untilMs = systemClock.monotonicMs() + 200;
      while (systemClock.monotonicMs() < untilMs);
      await systemClock.sleep(1);
    }
    const during = seen.length;
    await running;
    expect(during).toBe(0);
    expect(seen).toHaveLength(1);
    server.closeAllConnections();
    server.close();
  });
});
