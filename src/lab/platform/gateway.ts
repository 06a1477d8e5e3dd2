import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Component, ComponentContext } from '../component.ts';
import type { LabLayout } from '../layout.ts';
import { scaled, scaledTimeout, zonePlace } from '../layout.ts';
import { expositionType, renderMetrics } from '../monitoring/exposition.ts';
import { createRequestMetrics, type RequestMetrics, type RequestOutcome } from '../monitoring/request-metrics.ts';
import type { DatabaseClient } from './database-client.ts';
import { createDatabaseClient } from './database-client.ts';
import type { Discovery, PodTarget } from './discovery.ts';
import { startDiscovery } from './discovery.ts';
import type { Ejection } from './ejection.ts';
import { createEjection } from './ejection.ts';
import { createHealth } from './health.ts';
import type { Handler } from './http.ts';
import {
  answerTimeout,
  CallError,
  call,
  clientController,
  egressAgent,
  HttpError,
  pathOf,
  podHost,
  readAll,
  readBody,
  relay,
  sendError,
  sendJson,
  serve,
} from './http.ts';
import { modelEntry, parseChat, promptOf } from './llm.ts';
import { preferZone } from './orchestrator.ts';

/**
 * The API's front: takes a chat, has the conversation written to PostgreSQL before the first token goes out, and relays
 * the orchestrator's answer. A conversation that could not be written is a 503: the service has not served.
 */

const bodyBytesMax = 1024 * 1024;
const databaseConnectionsMax = 6;
const databaseConnectionsReady = 2;
const promptKeptMax = 2000;
const orchestratorAttempts = 2;
/** Documented time. */
const ejectionFirstMs = 10_000;
const ejectionLongestMs = 60_000;
/** A new connection to a database elsewhere takes this many round trips; distance is real time, never scaled. */
const connectRoundTrips = 4;

const requestIdForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Writes the conversation once, however often it is retried, and says which server acknowledged it. */
const insertText = `WITH written AS (
    INSERT INTO conversations (id, created_at, region, prompt, answer) VALUES ($1, now(), $2, $3, '')
    ON CONFLICT (id) DO NOTHING)
  SELECT (SELECT system_identifier FROM pg_control_system())::text || ':' ||
    substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ':' || coalesce(inet_server_port()::text, 'local') || ':' ||
    to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS epoch`;

interface Parts {
  readonly context: ComponentContext;
  readonly zone: string;
  readonly region: string;
  readonly database: DatabaseClient;
  readonly discovery: Discovery;
  readonly ejection: Ejection;
  readonly agent: ReturnType<typeof egressAgent>;
  readonly answerMs: number;
  readonly requests: RequestMetrics;
  /** Answers that were cut because what they relayed broke off, not because their client left. */
  readonly broken: WeakSet<ServerResponse>;
}

/** Longest that the writer, wherever it is now, may take to acknowledge: the documented time-out and the distance. */
const databaseLimitMs = (layout: LabLayout): number =>
  scaledTimeout(layout, layout.settings.gateway.databaseTimeout) +
  connectRoundTrips * 2 * layout.settings.network.betweenRegions;

const writeConversation = async (parts: Parts, id: string, prompt: string): Promise<string> => {
  const values = [id, parts.region, prompt.slice(0, promptKeptMax)];
  try {
    const { rows } = await parts.database.query({ name: 'conversation', text: insertText, values });
    return String(rows[0]?.['epoch'] ?? '');
  } catch (error) {
    throw new HttpError(
      503,
      'server_error',
      'database_unavailable',
      `the conversation could not be stored: ${messageOf(error)}`,
      { 'retry-after': '1' },
    );
  }
};

const callOne = async (parts: Parts, pod: PodTarget, body: Buffer, signal: AbortSignal): Promise<IncomingMessage> => {
  const { agent, answerMs, ejection } = parts;
  const startedMs = systemClock.monotonicMs();
  try {
    return await call({
      agent,
      host: podHost(pod.zone),
      port: pod.port,
      method: 'POST',
      path: '/v1/chat/completions',
      headers: { 'content-type': 'application/json' },
      body,
      headMs: answerMs,
      signal,
    });
  } catch (error) {
    // A caller that gave up after a long silence has seen the same as our own time-out, only sooner.
    const longSilence = systemClock.monotonicMs() - startedMs > answerMs / 2;
    if (!signal.aborted || longSilence) ejection.failed(pod.key);
    throw error;
  }
};

/** The head of an orchestrator's answer; another one is asked when the first cannot be reached or does not answer. */
const askOrchestrator = async (
  parts: Parts,
  body: Buffer,
  signal: AbortSignal,
  turn: number,
): Promise<{ readonly answer: IncomingMessage; readonly pod: PodTarget }> => {
  const tried = new Set<string>();
  for (let attempt = 1; ; attempt += 1) {
    const ready = parts.discovery.ready('orchestrator').filter((pod) => !tried.has(pod.key));
    const near = preferZone(parts.ejection.offer(ready), parts.zone);
    const pod = near[turn % near.length];
    if (pod === undefined)
      throw new HttpError(503, 'server_error', 'no_orchestrator', 'no orchestrator can be reached');
    tried.add(pod.key);
    try {
      const answer = await callOne(parts, pod, body, signal);
      parts.ejection.succeeded(pod.key);
      return { answer, pod };
    } catch (error) {
      if (signal.aborted || attempt >= orchestratorAttempts) throw error;
    }
  }
};

const passedOn = ['x-served-pod', 'x-served-zone', 'x-attempts', 'x-documents', 'retry-after'] as const;

const headersOf = (answer: IncomingMessage, more: Record<string, string>): Record<string, string> => {
  const headers = { ...more };
  for (const name of passedOn) {
    const value = answer.headers[name];
    if (typeof value === 'string') headers[name] = value;
  }
  return headers;
};

const relayAnswer = async (
  parts: Parts,
  answer: IncomingMessage,
  pod: PodTarget,
  headers: Record<string, string>,
  response: ServerResponse,
  startedMs: number,
): Promise<void> => {
  const { requests } = parts;
  const status = answer.statusCode ?? 502;
  const sawFirstToken = (): void => {
    if (status === 200) requests.firstToken(systemClock.monotonicMs() - startedMs);
  };
  const contentType = answer.headers['content-type'] ?? 'application/json';
  if (!contentType.startsWith('text/event-stream')) {
    const body = await readAll(answer, parts.answerMs);
    sawFirstToken();
    response.writeHead(status, { ...headers, 'content-type': contentType, 'content-length': body.length });
    response.end(body);
    return;
  }
  const limits = { firstMs: parts.answerMs, idleMs: parts.answerMs };
  const { end, bytes } = await relay(answer, response, limits, () => {
    sawFirstToken();
    response.writeHead(status, { ...headers, 'content-type': contentType, 'cache-control': 'no-cache' });
  });
  if (end === 'complete' && bytes > 0) response.end();
  else if (end === 'client-gone' || bytes > 0) {
    if (end !== 'client-gone') parts.broken.add(response);
    response.destroy();
  } else {
    parts.ejection.failed(pod.key);
    throw new CallError('connection', 'the orchestrator broke off before the first token');
  }
};

/** How an exchange ended, once its connection is done with it. */
const outcomeOf = ({ broken }: Parts, response: ServerResponse): RequestOutcome => {
  if (broken.has(response)) return 'failed';
  if (!response.writableFinished) return 'abandoned';
  if (response.statusCode >= 500) return 'failed';
  return response.statusCode >= 400 ? 'refused' : 'served';
};

const createChat = (parts: Parts): ((request: IncomingMessage, response: ServerResponse) => Promise<void>) => {
  const { model } = parts.context.layout.environment.service;
  let turn = 0;
  return async (request, response) => {
    const startedMs = systemClock.monotonicMs();
    response.once('close', () => parts.requests.ended(outcomeOf(parts, response), response.statusCode));
    const body = await readBody(request, bodyBytesMax);
    const asked = parseChat(body);
    if (asked.model !== undefined && asked.model !== model) {
      throw new HttpError(404, 'invalid_request_error', 'model_not_found', `there is no model "${asked.model}"`);
    }
    const given = request.headers['x-request-id'];
    const id = typeof given === 'string' && requestIdForm.test(given) ? given.toLowerCase() : randomUUID();
    const controller = clientController(response);
    turn += 1;
    // Side by side: the answer may be prepared while the row is being written, but not a byte of it leaves before.
    const writing = writeConversation(parts, id, promptOf(asked));
    const asking = askOrchestrator(parts, body, controller.signal, turn);
    // It is awaited below; a failure before that must not count as one that nobody handles.
    asking.catch(() => undefined);
    let epoch: string;
    try {
      epoch = await writing;
    } catch (error) {
      controller.abort(error);
      throw error;
    }
    const { answer, pod } = await asking;
    await relayAnswer(
      parts,
      answer,
      pod,
      headersOf(answer, { 'x-database-epoch': epoch, 'x-request-id': id }),
      response,
      startedMs,
    );
  };
};

const createHandler = (parts: Parts): Handler => {
  const { context, discovery, zone, region } = parts;
  const { layout, signal } = context;
  const chat = createChat(parts);
  const health = createHealth(parts);
  const entry = modelEntry(layout.environment.service.model);
  const route = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = pathOf(request);
    const { method } = request;
    if (method === 'POST' && path === '/v1/chat/completions') return chat(request, response);
    if (path === '/health') {
      const { status, body } = await health();
      return sendJson(response, status, body);
    }
    if (path === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (path === '/readyz') {
      const ready = discovery.isSynced() && !signal.aborted;
      return sendJson(response, ready ? 200 : 503, { status: ready ? 'ready' : 'not ready' });
    }
    if (path === '/metrics') {
      response.writeHead(200, { 'content-type': expositionType }).end(renderMetrics(parts.requests.metrics()));
      return;
    }
    if (path === '/v1/models') return sendJson(response, 200, { object: 'list', data: [entry] });
    if (path === `/v1/models/${entry['id']}`) return sendJson(response, 200, entry);
    throw new HttpError(404, 'invalid_request_error', 'not_found', `there is no ${method} ${path}`);
  };
  return async (request, response) => {
    response.setHeader('x-gateway-zone', zone);
    response.setHeader('x-served-region', region);
    try {
      await route(request, response);
    } catch (error) {
      // Readers of a failure want to know as well where it was served: headers set above stay.
      if (!(error instanceof HttpError) || response.headersSent) throw error;
      sendError(response, error);
    }
  };
};

const assemble = (context: ComponentContext): Parts => {
  const { layout, options } = context;
  const { zone = '', region = '' } = options;
  const { service } = layout.environment;
  const answerMs = answerTimeout(layout, layout.settings.gateway.orchestratorTimeout);
  const limitMs = databaseLimitMs(layout);
  return {
    context,
    zone,
    region,
    database: createDatabaseClient(context, {
      place: zonePlace(zone),
      host: service.databaseHost,
      name: `gateway-${zone}`,
      connectionsMax: databaseConnectionsMax,
      connectMs: limitMs,
      limitMs,
    }),
    discovery: startDiscovery(context, { place: zonePlace(zone), region }, ['orchestrator', 'llm']),
    ejection: createEjection(
      systemClock.monotonicMs,
      scaled(layout, ejectionFirstMs),
      scaled(layout, ejectionLongestMs),
    ),
    agent: egressAgent(layout, zonePlace(zone), answerMs),
    answerMs,
    requests: createRequestMetrics(),
    broken: new WeakSet(),
  };
};

export const component: Component = {
  kind: 'gateway',
  async start(context) {
    const parts = assemble(context);
    parts.database.warm(databaseConnectionsReady);
    const { port, closed } = await serve(context, 0, createHandler(parts));
    closed.then(() => parts.database.close());
    return { port };
  },
};
