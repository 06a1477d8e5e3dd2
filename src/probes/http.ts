import { z } from 'zod';
import type { HttpOutcome } from '../adapters/http.ts';
import { defineProbe, type Look } from './probe.ts';
import { isLook, locate } from './service.ts';

const params = z.strictObject({
  url: z.url({ protocol: /^https?$/, error: 'write an http or https URL, such as http://127.0.0.1:8080/' }),
  method: z.enum(['GET', 'HEAD', 'POST']).default('GET'),
  headers: z.record(z.string(), z.string()).default({}),
  /** The one status that is good; 200–399 when absent. Redirects are not followed. */
  status: z.int().min(100).max(599).optional(),
});

export const http = defineProbe({
  name: 'http',
  summary: 'One request to a URL: the whole answer in time, with a good status.',
  params,
  required: true,
  defaults: { everyMs: 100, timeoutMs: 1000 },
  async open({ url, method, headers, status }, context) {
    const { createHttpClient } = await import('../adapters/http.ts');
    const client = createHttpClient(context.stream.connection, context.stream.timeoutMs, context.clock);
    const target = new URL(url);
    const secure = target.protocol === 'https:';
    const port = target.port === '' ? (secure ? 443 : 80) : Number(target.port);
    return {
      async look(attempt) {
        const found = await locate(attempt, () => context.names.host(target.hostname, port, attempt.signal));
        if (isLook(found)) return found;
        const outcome = await client.send({
          secure,
          address: found.address,
          port,
          host: target.host,
          method,
          path: `${target.pathname}${target.search}`,
          headers,
          body: null,
          signal: attempt.signal,
          onHead: () => {
            attempt.seen.firstByteMs = context.clock.monotonicMs();
          },
        });
        return lookOf(outcome, status);
      },
      close: () => client.close(),
    };
  },
});

const lookOf = ({ failure, ours, status, endedMs }: HttpOutcome, wanted: number | undefined): Look => {
  if (failure !== null) return { code: failure, endedMs, ...(ours ? { unsent: true } : {}) };
  const good = wanted === undefined ? status !== null && status >= 200 && status < 400 : status === wanted;
  return { code: good ? 'ok' : String(status), endedMs };
};
