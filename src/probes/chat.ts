import { z } from 'zod';
import type { HttpClient } from '../adapters/http.ts';
import { durationMs } from '../core/duration.ts';
import { createChatAnswer } from './chat-answer.ts';
import { type Attempt, defineProbe, type Look, type ProbeContext } from './probe.ts';
import { askService, failedLook, serviceOf } from './service.ts';

const params = z.strictObject({
  /** What is asked; the answer's content is not judged, its completeness is. */
  prompt: z.string().min(1).default('Reply with one short sentence.'),
  /** Tokens asked for. Two make a stream with a first token and an end; more cost the platform, and money elsewhere. */
  maxTokens: z.int().positive().max(4096).default(2),
  /** A pause between two tokens longer than this makes the answer bad. */
  tokenGap: durationMs.default(1000),
  /** Models a client that retries: further attempts after a failed one, all within the probe's time-out. */
  retries: z.int().min(0).max(10).default(0),
  /** Pause before the first retry; it doubles with each further one. */
  backoff: durationMs.default(50),
});

/** The request that a chat probe sends; the body is the same every time. */
const requestOf = (context: ProbeContext, prompt: string, maxTokens: number) => ({
  method: 'POST' as const,
  path: '/v1/chat/completions',
  headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
  body: JSON.stringify({
    model: serviceOf(context).model,
    stream: true,
    max_tokens: maxTokens,
    messages: [{ role: 'user', content: prompt }],
  }),
});

const ask = async (
  attempt: Attempt,
  context: ProbeContext,
  client: HttpClient,
  request: ReturnType<typeof requestOf>,
  tokenGapMs: number,
): Promise<Look> => {
  const answer = createChatAnswer();
  const decoder = new TextDecoder();
  const outcome = await askService(attempt, context, client, {
    ...request,
    onData(piece, atMs) {
      answer.push(decoder.decode(piece, { stream: true }), atMs);
      if (answer.state.firstTokenMs !== null) attempt.seen.firstByteMs = answer.state.firstTokenMs;
    },
  });
  if ('code' in outcome) return outcome;
  const { endedMs } = outcome;
  const failed = failedLook(outcome);
  if (failed !== undefined) return failed;
  const { firstTokenMs, longestGapMs, complete, malformed, failed: failedInside } = answer.state;
  if (failedInside) return { code: 'stream-error', endedMs };
  if (malformed) return { code: 'wrong-content', endedMs };
  if (!complete) return { code: 'truncated', endedMs };
  if (firstTokenMs === null) return { code: 'wrong-content', endedMs };
  if (longestGapMs > tokenGapMs) return { code: 'token-gap', endedMs };
  return { code: 'ok', endedMs, answeredMs: firstTokenMs };
};

/** Each attempt of a retrying client gets an equal share of what is left, so that the last one still has time. */
const askRetrying = async (
  attempt: Attempt,
  context: ProbeContext,
  { retries, backoff: backoffMs }: { readonly retries: number; readonly backoff: number },
  once: (one: Attempt) => Promise<Look>,
): Promise<Look> => {
  const endMs = attempt.sentMs + context.stream.timeoutMs;
  for (let tried = 1; ; tried += 1) {
    attempt.seen.attempts = tried;
    delete attempt.seen.firstByteMs;
    const shareMs = Math.max(0, endMs - context.clock.monotonicMs()) / (retries + 2 - tried);
    const ended = new AbortController();
    const limit = new AbortController();
    context.clock.sleep(shareMs, ended.signal).then(
      () => limit.abort(new Error('attempt timed out')),
      () => undefined,
    );
    const signal = AbortSignal.any([attempt.signal, limit.signal]);
    const look = await once({ index: attempt.index, sentMs: attempt.sentMs, signal, seen: attempt.seen });
    ended.abort();
    if (look.code === 'ok' || tried > retries) return look;
    const pauseMs = Math.min(backoffMs * 2 ** (tried - 1), endMs - context.clock.monotonicMs());
    const timedOut = await context.clock.sleep(pauseMs, attempt.signal).then(
      () => false,
      () => true,
    );
    if (timedOut) return look;
  }
};

export const chat = defineProbe({
  name: 'chat',
  summary: 'One streamed chat answer: first token in time, stream complete, no long pause.',
  params,
  required: true,
  defaults: { everyMs: 100, timeoutMs: 2000 },
  async open({ prompt, maxTokens, tokenGap, retries, backoff }, context) {
    const { createHttpClient } = await import('../adapters/http.ts');
    const client = createHttpClient(context.stream.connection, context.stream.timeoutMs, context.clock);
    const request = requestOf(context, prompt, maxTokens);
    const once = (attempt: Attempt): Promise<Look> => ask(attempt, context, client, request, tokenGap);
    return {
      look: (attempt) => (retries === 0 ? once(attempt) : askRetrying(attempt, context, { retries, backoff }, once)),
      close: () => client.close(),
    };
  },
});
