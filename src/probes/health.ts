import { z } from 'zod';
import { defineProbe } from './probe.ts';
import { askService, failedLook, serviceOf } from './service.ts';

/** Far beyond any health answer: more is not read into memory. */
const bodyCharactersMax = 100_000;

export const health = defineProbe({
  name: 'health',
  summary: "The service's own /health, as its clients reach it: 200 and status healthy.",
  params: z.strictObject({}),
  required: false,
  defaults: { everyMs: 200, timeoutMs: 1000 },
  async open(_params, context) {
    const { createHttpClient } = await import('../adapters/http.ts');
    const client = createHttpClient(context.stream.connection, context.stream.timeoutMs, context.clock);
    serviceOf(context);
    return {
      async look(attempt) {
        let text = '';
        const outcome = await askService(attempt, context, client, {
          method: 'GET',
          path: '/health',
          headers: { accept: 'application/json' },
          body: null,
          onData(piece, atMs) {
            attempt.seen.firstByteMs ??= atMs;
            if (text.length < bodyCharactersMax) text += piece.toString('utf8');
          },
        });
        if ('code' in outcome) return outcome;
        const failed = failedLook(outcome);
        if (failed !== undefined) return failed;
        return { code: saysHealthy(text) ? 'ok' : 'wrong-content', endedMs: outcome.endedMs };
      },
      close: () => client.close(),
    };
  },
});

const saysHealthy = (text: string): boolean => {
  try {
    const body: unknown = JSON.parse(text);
    return typeof body === 'object' && body !== null && 'status' in body && body.status === 'healthy';
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
};
