import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import { scaled, scaledTimeout, zonePlace } from '../layout.ts';
import type { Discovery, PodTarget } from './discovery.ts';
import { startDiscovery } from './discovery.ts';
import type { Ejection } from './ejection.ts';
import { createEjection } from './ejection.ts';
import type { Handler } from './http.ts';
import {
  answerTimeout,
  CallError,
  call,
  clientController,
  egressAgent,
  fetchText,
  HttpError,
  pathOf,
  podHost,
  readAll,
  readBody,
  relay,
  sendJson,
  serve,
} from './http.ts';
import type { ChatRequest } from './llm.ts';
import { parseChat, promptOf } from './llm.ts';

/**
 * Puts a question together with what retrieval finds and gives it to a model pod. A pod that fails before its first
 * token is replaced by another one and nobody notices but for the delay; after the first token the stream is the
 * client's, and what breaks then is shown as broken.
 */

const bodyBytesMax = 1024 * 1024;
/** Documented time. A pod that failed is left alone for as long as liveness may take to find out. */
const ejectionFirstMs = 10_000;
const ejectionLongestMs = 60_000;
const documentsWanted = 3;

interface Parts {
  readonly context: ComponentContext;
  readonly discovery: Discovery;
  readonly ejection: Ejection;
  readonly outstanding: Map<string, number>;
  readonly agent: ReturnType<typeof egressAgent>;
  readonly limits: { readonly ragMs: number; readonly firstTokenMs: number; readonly wholeMs: number };
}

/**
 * The ready pods that were not tried yet and have the least work from here, one of them by turns; one that was tried
 * again when there is no other.
 */
export const leastOutstanding = <T extends { readonly key: string }>(
  targets: readonly T[],
  outstanding: ReadonlyMap<string, number>,
  tried: ReadonlySet<string>,
  turn: number,
): T | undefined => {
  const fresh = targets.filter((target) => !tried.has(target.key));
  const candidates = fresh.length > 0 ? fresh : targets;
  const work = (target: T): number => outstanding.get(target.key) ?? 0;
  const least = Math.min(...candidates.map(work));
  const equal = candidates.filter((target) => work(target) === least);
  return equal[turn % equal.length];
};

/** Same zone first: a call that need not leave its zone is not exposed to another's failure. */
export const preferZone = <T extends { readonly zone: string }>(targets: readonly T[], zone: string): readonly T[] => {
  const near = targets.filter((target) => target.zone === zone);
  return near.length > 0 ? near : targets;
};

/** Texts that bear on the question; none when retrieval fails: an answer without documents beats no answer. */
const retrieve = async (
  parts: Parts,
  prompt: string,
  signal: AbortSignal,
  turn: number,
): Promise<readonly string[]> => {
  const { agent, context, discovery, ejection, limits } = parts;
  const offered = ejection.offer(discovery.ready('rag'));
  const near = preferZone(offered, context.options['zone'] ?? '');
  const pod = near[turn % near.length];
  if (pod === undefined) return [];
  try {
    const { status, text } = await fetchText({
      agent,
      host: podHost(pod.zone),
      port: pod.port,
      method: 'POST',
      path: '/retrieve',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: prompt, k: documentsWanted }),
      headMs: limits.ragMs,
      signal,
    });
    ejection.succeeded(pod.key);
    if (status !== 200) return [];
    const { matches } = JSON.parse(text) as { readonly matches: readonly { readonly text: string }[] };
    return matches.map((match) => match.text);
  } catch (error) {
    if (!(error instanceof CallError && error.failure === 'aborted')) ejection.failed(pod.key);
    return [];
  }
};

const promptBody = (chat: ChatRequest, documents: readonly string[]): string => {
  const context = documents.length === 0 ? [] : [{ role: 'system', content: documents.join('\n') }];
  return JSON.stringify({
    model: chat.model,
    messages: [...context, ...chat.messages],
    stream: chat.stream,
    ...(chat.includeUsage ? { stream_options: { include_usage: true } } : {}),
    ...(chat.maxTokens === undefined ? {} : { max_tokens: chat.maxTokens }),
  });
};

interface Attempt {
  readonly pod: PodTarget;
  readonly number: number;
  readonly documents: number;
}

const headersOf = ({ pod, number, documents }: Attempt): Record<string, string> => ({
  'x-served-pod': pod.name,
  'x-served-zone': pod.zone,
  'x-attempts': String(number),
  'x-documents': String(documents),
});

/** How one attempt ended: `served` (the client has its answer or knows that it broke), or why another should try. */
type Outcome = 'served' | 'failed' | 'busy';

const streamOnce = async (
  parts: Parts,
  attempt: Attempt,
  answer: IncomingMessage,
  response: ServerResponse,
  firstMs: number,
): Promise<Outcome> => {
  const limits = { firstMs, idleMs: parts.limits.firstTokenMs };
  const { end, bytes } = await relay(answer, response, limits, () => {
    response.writeHead(200, {
      ...headersOf(attempt),
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
    });
  });
  if (end === 'complete' && bytes > 0) {
    response.end();
    parts.ejection.succeeded(attempt.pod.key);
    return 'served';
  }
  if (end !== 'client-gone') parts.ejection.failed(attempt.pod.key);
  if (bytes === 0 && end !== 'client-gone') return 'failed';
  // A token is out already: only a cut connection says truthfully that the rest will not come.
  response.destroy();
  return 'served';
};

const attemptOnce = async (
  parts: Parts,
  attempt: Attempt,
  chat: ChatRequest,
  body: string,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<Outcome> => {
  const { agent, ejection, limits } = parts;
  const { pod } = attempt;
  const startedMs = systemClock.monotonicMs();
  const headMs = chat.stream ? limits.firstTokenMs : limits.wholeMs;
  try {
    const answer = await call({
      agent,
      host: podHost(pod.zone),
      port: pod.port,
      method: 'POST',
      path: '/v1/chat/completions',
      headers: { 'content-type': 'application/json' },
      body,
      headMs,
      signal,
    });
    const leftMs = Math.max(1, headMs - (systemClock.monotonicMs() - startedMs));
    if (answer.statusCode === 200 && chat.stream) return await streamOnce(parts, attempt, answer, response, leftMs);
    const text = await readAll(answer, leftMs);
    if (answer.statusCode === 429) return 'busy';
    if (answer.statusCode !== 200) {
      ejection.failed(pod.key);
      return 'failed';
    }
    ejection.succeeded(pod.key);
    response.writeHead(200, {
      ...headersOf(attempt),
      'content-type': 'application/json',
      'content-length': text.length,
    });
    response.end(text);
    return 'served';
  } catch (error) {
    if (signal.aborted) throw error;
    if (!(error instanceof CallError)) throw error;
    ejection.failed(pod.key);
    return 'failed';
  }
};

const refusal = (reached: boolean, busy: boolean, attempts: number): HttpError => {
  const headers = { 'x-attempts': String(attempts) };
  if (!reached) return new HttpError(503, 'server_error', 'no_model', 'no model pod is ready', headers);
  if (busy) {
    return new HttpError(429, 'rate_limit_error', 'queue_full', 'every model pod that was asked is full', {
      ...headers,
      'retry-after': '1',
    });
  }
  return new HttpError(502, 'server_error', 'model_failed', `${attempts} model pods failed to answer`, headers);
};

const createHandler = (parts: Parts): Handler => {
  const { context, discovery, ejection, outstanding } = parts;
  const { retries } = context.layout.settings.orchestrator;
  let turn = 0;

  const chat = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const asked = parseChat(await readBody(request, bodyBytesMax));
    const signal = clientController(response).signal;
    turn += 1;
    const documents = await retrieve(parts, promptOf(asked), signal, turn);
    const body = promptBody(asked, documents);
    const tried = new Set<string>();
    let busy = false;
    for (let number = 1; number <= retries + 1; number += 1) {
      signal.throwIfAborted();
      const pod = leastOutstanding(ejection.offer(discovery.ready('llm')), outstanding, tried, turn + number);
      if (pod === undefined) throw refusal(false, busy, number - 1);
      tried.add(pod.key);
      outstanding.set(pod.key, (outstanding.get(pod.key) ?? 0) + 1);
      try {
        const attempt = { pod, number, documents: documents.length };
        const outcome = await attemptOnce(parts, attempt, asked, body, response, signal);
        if (outcome === 'served') return;
        busy = outcome === 'busy';
      } finally {
        const left = (outstanding.get(pod.key) ?? 1) - 1;
        if (left > 0) outstanding.set(pod.key, left);
        else outstanding.delete(pod.key);
      }
    }
    throw refusal(true, busy, retries + 1);
  };

  return async (request, response) => {
    const path = pathOf(request);
    if (request.method === 'POST' && path === '/v1/chat/completions') return chat(request, response);
    if (path === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (path === '/readyz') {
      const ready = discovery.isSynced() && !context.signal.aborted;
      return sendJson(response, ready ? 200 : 503, { status: ready ? 'ready' : 'not ready' });
    }
    throw new HttpError(404, 'invalid_request_error', 'not_found', `there is no ${request.method} ${path}`);
  };
};

const assemble = (context: ComponentContext): Parts => {
  const { layout, options } = context;
  const { zone = '', region = '' } = options;
  const { orchestrator, llm } = layout.settings;
  const firstTokenMs = scaledTimeout(layout, orchestrator.firstTokenTimeout) + llm.firstToken;
  return {
    context,
    discovery: startDiscovery(context, { place: zonePlace(zone), region }, ['llm', 'rag']),
    ejection: createEjection(
      systemClock.monotonicMs,
      scaled(layout, ejectionFirstMs),
      scaled(layout, ejectionLongestMs),
    ),
    outstanding: new Map(),
    agent: egressAgent(layout, zonePlace(zone), firstTokenMs),
    limits: {
      ragMs: scaledTimeout(layout, orchestrator.firstTokenTimeout / 2),
      firstTokenMs,
      // A whole answer comes when its last token is made.
      wholeMs: answerTimeout(layout, orchestrator.firstTokenTimeout),
    },
  };
};

export const component: Component = {
  kind: 'orchestrator',
  async start(context) {
    const parts = assemble(context);
    const { port } = await serve(context, 0, createHandler(parts));
    return { port };
  },
};
