import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import { scaled } from '../layout.ts';
import { HttpError, pathOf, readBody, sendJson, serve } from './http.ts';

/**
 * A model server: OpenAI's chat API over a bounded queue. It says the question back, so that an answer can be checked;
 * what matters is when it starts, how it streams, and how it fails.
 */

const bodyBytesMax = 1024 * 1024;

export interface ChatRequest {
  readonly model: string | undefined;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly maxTokens: number | undefined;
}

const refuse = (code: string, message: string): never => {
  throw new HttpError(400, 'invalid_request_error', code, message);
};

const textOf = (content: unknown): string => {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part) => (typeof part?.text === 'string' ? part.text : '')).join(' ');
};

/** Reads the part of OpenAI's chat request that the lab honours. Throws `HttpError` 400 in OpenAI's words. */
export const parseChat = (body: Buffer): ChatRequest => {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    return refuse('invalid_json', 'the body is not JSON');
  }
  if (typeof value !== 'object' || value === null) return refuse('invalid_json', 'the body is not a JSON object');
  const { model, messages, stream, stream_options: options } = value;
  const maxTokens = value['max_completion_tokens'] ?? value['max_tokens'] ?? undefined;
  if (!Array.isArray(messages) || messages.length === 0) return refuse('missing_messages', 'messages: at least one');
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && Number(maxTokens) > 0)) {
    return refuse('invalid_max_tokens', 'max_tokens: a positive whole number');
  }
  return {
    model: typeof model === 'string' ? model : undefined,
    messages: messages.map((message) => ({ role: String(message?.role), content: textOf(message?.content) })),
    stream: stream === true,
    includeUsage: (options as { include_usage?: unknown } | undefined)?.include_usage === true,
    maxTokens: maxTokens === undefined ? undefined : Number(maxTokens),
  };
};

/** The last thing the user said. */
export const promptOf = (chat: ChatRequest): string =>
  chat.messages.findLast((message) => message.role === 'user')?.content ?? '';

const wordsOf = (text: string): readonly string[] => text.split(/\s+/).filter((word) => word !== '');

/** `count` tokens: the prompt's own words, again and again. */
export const answerTokens = (prompt: string, count: number): readonly string[] => {
  const words = wordsOf(prompt);
  return Array.from({ length: count }, (_, index) => {
    const word = words.length === 0 ? 'lab' : (words[index % words.length] ?? '');
    return index === 0 ? word : ` ${word}`;
  });
};

export interface Queue {
  readonly running: number;
  readonly waiting: number;
  /** Resolves when a slot is free; the caller releases it. Throws `HttpError` 429 at once when the queue is full. */
  enter(signal: AbortSignal): Promise<() => void>;
}

/** At most `concurrency` at work and `waitingMax` in line, first come first served. */
export const createQueue = (concurrency: number, waitingMax: number): Queue => {
  let running = 0;
  const line: (() => void)[] = [];
  const leave = (): void => {
    const next = line.shift();
    if (next === undefined) running -= 1;
    else next();
  };
  const slot = (): (() => void) => {
    let held = true;
    return () => {
      if (held) leave();
      held = false;
    };
  };
  return {
    get running() {
      return running;
    },
    get waiting() {
      return line.length;
    },
    async enter(signal) {
      if (running < concurrency) {
        running += 1;
        return slot();
      }
      if (line.length >= waitingMax) {
        throw new HttpError(429, 'rate_limit_error', 'queue_full', `${waitingMax} requests wait already`, {
          'retry-after': '1',
        });
      }
      await new Promise<void>((resolve, reject) => {
        const start = (): void => {
          signal.removeEventListener('abort', giveUp);
          resolve();
        };
        const giveUp = (): void => {
          line.splice(line.indexOf(start), 1);
          reject(signal.reason);
        };
        line.push(start);
        signal.addEventListener('abort', giveUp, { once: true });
      });
      return slot();
    },
  };
};

interface Answer {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly tokens: readonly string[];
  readonly finish: 'stop' | 'length';
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number; readonly total_tokens: number };
}

const answerTo = (chat: ChatRequest, model: string, tokensMax: number): Answer => {
  const count = Math.min(chat.maxTokens ?? tokensMax, tokensMax);
  const promptTokens = chat.messages.reduce((sum, message) => sum + wordsOf(message.content).length, 0);
  return {
    id: `chatcmpl-${randomUUID()}`,
    created: Math.floor(systemClock.nowMs() / 1000),
    model,
    tokens: answerTokens(promptOf(chat), count),
    finish: count < tokensMax ? 'length' : 'stop',
    usage: { prompt_tokens: promptTokens, completion_tokens: count, total_tokens: promptTokens + count },
  };
};

const chunkOf = (answer: Answer, more: Record<string, unknown>): string => {
  const { id, created, model } = answer;
  return `data: ${JSON.stringify({ id, object: 'chat.completion.chunk', created, model, ...more })}\n\n`;
};

/** One server-sent event per token; the last write carries the finish, the usage if asked for, and `[DONE]`. */
const stream = async (
  response: ServerResponse,
  answer: Answer,
  chat: ChatRequest,
  gapMs: number,
  signal: AbortSignal,
): Promise<void> => {
  for (const [index, token] of answer.tokens.entries()) {
    if (index > 0) await systemClock.sleep(gapMs, signal);
    else response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    const delta = index === 0 ? { role: 'assistant', content: token } : { content: token };
    let text = chunkOf(answer, { choices: [{ index: 0, delta, finish_reason: null }] });
    const isLast = index === answer.tokens.length - 1;
    if (isLast) {
      text += chunkOf(answer, { choices: [{ index: 0, delta: {}, finish_reason: answer.finish }] });
      if (chat.includeUsage) text += chunkOf(answer, { choices: [], usage: answer.usage });
      text += 'data: [DONE]\n\n';
    }
    if (isLast) response.end(text);
    else response.write(text);
  }
};

const whole = (answer: Answer): Record<string, unknown> => ({
  id: answer.id,
  object: 'chat.completion',
  created: answer.created,
  model: answer.model,
  choices: [
    { index: 0, message: { role: 'assistant', content: answer.tokens.join('') }, finish_reason: answer.finish },
  ],
  usage: answer.usage,
});

interface Counts {
  answered: number;
  refused: number;
  tokens: number;
}

const metricsText = (queue: Queue, counts: Counts, loaded: boolean): string =>
  [
    '# TYPE llm_queue_depth gauge',
    `llm_queue_depth ${queue.waiting}`,
    '# TYPE llm_running gauge',
    `llm_running ${queue.running}`,
    '# TYPE llm_model_loaded gauge',
    `llm_model_loaded ${loaded ? 1 : 0}`,
    '# TYPE llm_requests_total counter',
    `llm_requests_total{result="answered"} ${counts.answered}`,
    `llm_requests_total{result="refused"} ${counts.refused}`,
    '# TYPE llm_tokens_total counter',
    `llm_tokens_total ${counts.tokens}`,
    '',
  ].join('\n');

const startModel = (context: ComponentContext): ((request: IncomingMessage, response: ServerResponse) => unknown) => {
  const { layout, options, signal } = context;
  const { llm } = layout.settings;
  const { model } = layout.environment.service;
  const queue = createQueue(llm.concurrency, llm.queueMax);
  const counts: Counts = { answered: 0, refused: 0, tokens: 0 };
  const identity = { 'x-served-pod': options['pod'] ?? '', 'x-served-zone': options['zone'] ?? '' };
  const loadMs = options['initial'] === '1' ? 0 : scaled(layout, llm.modelLoad);
  const loadedAtMs = systemClock.monotonicMs() + loadMs;
  const isLoaded = (): boolean => systemClock.monotonicMs() >= loadedAtMs;

  const chat = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const asked = parseChat(await readBody(request, bodyBytesMax));
    if (!isLoaded()) throw new HttpError(503, 'server_error', 'model_loading', 'the model is being loaded');
    const gone = new AbortController();
    response.once('close', () => gone.abort(new Error('the client is gone')));
    const leave = await queue.enter(gone.signal).catch((error: unknown) => {
      if (error instanceof HttpError) counts.refused += 1;
      throw error;
    });
    try {
      const answer = answerTo(asked, model, llm.tokens);
      await systemClock.sleep(llm.firstToken, gone.signal);
      for (const [name, value] of Object.entries(identity)) response.setHeader(name, value);
      if (asked.stream) await stream(response, answer, asked, llm.tokenGap, gone.signal);
      else {
        await systemClock.sleep(llm.tokenGap * (answer.tokens.length - 1), gone.signal);
        sendJson(response, 200, whole(answer));
      }
      counts.answered += 1;
      counts.tokens += answer.tokens.length;
    } finally {
      leave();
    }
  };

  return (request, response) => {
    const path = pathOf(request);
    if (request.method === 'POST' && path === '/v1/chat/completions') return chat(request, response);
    if (path === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (path === '/readyz') {
      const ready = isLoaded() && !signal.aborted;
      return sendJson(response, ready ? 200 : 503, { status: ready ? 'ready' : 'loading' });
    }
    if (path === '/v1/models') return sendJson(response, 200, { object: 'list', data: [modelEntry(model)] });
    if (path === '/metrics') {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
      return response.end(metricsText(queue, counts, isLoaded()));
    }
    throw new HttpError(404, 'invalid_request_error', 'not_found', `there is no ${request.method} ${path}`);
  };
};

/** One entry of `/v1/models`. */
export const modelEntry = (model: string): Record<string, unknown> => ({
  id: model,
  object: 'model',
  created: 0,
  owned_by: 'blackstart-lab',
});

export const component: Component = {
  kind: 'llm',
  async start(context) {
    const handle = startModel(context);
    const { port } = await serve(context, 0, async (request, response) => void (await handle(request, response)));
    return { port };
  },
};
