import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Component, ComponentContext } from '../component.ts';
import { regionOfZone, scaled, scaledTimeout, zonePlace } from '../layout.ts';
import type { Discovery, PodTarget } from './discovery.ts';
import { startDiscovery } from './discovery.ts';
import type { Handler } from './http.ts';
import {
  answerTimeout,
  CallError,
  call,
  clientController,
  egressAgent,
  fetchText,
  HttpError,
  podHost,
  relay,
  serve,
} from './http.ts';

/**
 * A zone's entry, as one node of a cloud load balancer: it checks the gateways of its whole region, spreads requests
 * over those in service, brings a returning one in slowly, and tries another one while the client has seen nothing.
 */

const replayBytesMax = 64 * 1024;
/** Share of a full one that a target starts with in its slow start. */
const slowStartShareMin = 0.1;

/** One gateway as this balancer sees it. */
export interface Target {
  readonly pod: PodTarget;
  healthy: boolean;
  /** Consecutive checks that contradict `healthy`. */
  streak: number;
  /** Monotonic instant at which its slow start began; undefined when it is due its full share. */
  rampFromMs: number | undefined;
  /** Running credit of the weighted turns. */
  credit: number;
  readonly stop: AbortController;
}

export const weightOf = (target: Target, nowMs: number, slowStartMs: number): number => {
  if (target.rampFromMs === undefined || slowStartMs <= 0) return 1;
  return Math.max(slowStartShareMin, Math.min(1, (nowMs - target.rampFromMs) / slowStartMs));
};

/**
 * The next target by smooth weighted turns: over any stretch each gets its share, spread evenly. Targets in service
 * come first; when none is, all are offered, as load balancers do, for the checks may be what is wrong.
 */
export const nextTarget = (
  targets: readonly Target[],
  tried: ReadonlySet<Target>,
  nowMs: number,
  slowStartMs: number,
): Target | undefined => {
  const fresh = targets.filter((target) => !tried.has(target));
  const healthy = fresh.filter((target) => target.healthy);
  const candidates = healthy.length > 0 ? healthy : fresh;
  let total = 0;
  let best: Target | undefined;
  for (const target of candidates) {
    const weight = weightOf(target, nowMs, slowStartMs);
    total += weight;
    target.credit += weight;
    if (best === undefined || target.credit > best.credit) best = target;
  }
  if (best !== undefined) best.credit -= total;
  return best;
};

interface Parts {
  readonly context: ComponentContext;
  readonly zone: string;
  readonly agent: ReturnType<typeof egressAgent>;
  readonly targets: Map<string, Target>;
  readonly slowStartMs: number;
  readonly answerMs: number;
}

const turned = (parts: Parts, target: Target, healthy: boolean, reason: string): void => {
  const { context, zone, targets } = parts;
  target.healthy = healthy;
  target.streak = 0;
  target.credit = 0;
  const others = [...targets.values()].some((other) => other !== target && other.healthy);
  target.rampFromMs = healthy && others ? systemClock.monotonicMs() : undefined;
  const { name, zone: targetZone } = target.pod;
  context.truth('balancer.target-changed', zone, { target: name, targetZone, healthy, reason });
  context.log(`${name} in ${targetZone} is ${healthy ? 'in' : 'out of'} service: ${reason}`);
};

/** Checks one target until it is deregistered: it takes several answers in a row to change what is thought of it. */
const watchTarget = async (parts: Parts, target: Target): Promise<void> => {
  const { context, agent } = parts;
  const { period, timeout, failures, successes } = context.layout.settings.balancer;
  const headMs = scaledTimeout(context.layout, timeout);
  const { signal } = target.stop;
  const { zone, port } = target.pod;
  let first = true;
  while (!signal.aborted) {
    let reason = 'answers its checks';
    let alive = false;
    try {
      const path = '/healthz';
      const { status } = await fetchText({ agent, host: podHost(zone), port, method: 'GET', path, headMs, signal });
      alive = status === 200;
      if (!alive) reason = `status ${status}`;
    } catch (error) {
      reason = messageOf(error);
    }
    if (signal.aborted) return;
    target.streak = alive === target.healthy ? 0 : target.streak + 1;
    // The first answer ever decides alone: nothing is known that it could contradict.
    const needed = first && alive ? 1 : alive ? successes : failures;
    if (target.streak >= needed) turned(parts, target, alive, reason);
    first = false;
    await systemClock.sleep(scaled(context.layout, period), signal).catch(() => undefined);
  }
};

/** Registers the gateways that the region's API shows as ready, deregisters the others. */
const register = (parts: Parts, discovery: Discovery): void => {
  const { targets, context } = parts;
  const ready = new Map(discovery.ready('gateway').map((pod) => [pod.key, pod]));
  for (const [key, target] of targets) {
    if (ready.has(key)) continue;
    targets.delete(key);
    target.stop.abort();
    if (target.healthy) turned(parts, target, false, 'deregistered');
  }
  for (const [key, pod] of ready) {
    if (targets.has(key)) continue;
    const stop = new AbortController();
    const target: Target = { pod, healthy: false, streak: 0, rampFromMs: undefined, credit: 0, stop };
    targets.set(key, target);
    watchTarget(parts, target).catch((error: unknown) => context.log(`check of ${pod.name}: ${messageOf(error)}`));
  }
};

const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const endToEnd = (headers: IncomingHttpHeaders): OutgoingHttpHeaders => {
  const kept: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) if (!hopByHop.has(name)) kept[name] = value;
  return kept;
};

/** The request's body: all of it when it is short enough to be sent again, else its beginning. */
const readReplayable = (request: IncomingMessage): Promise<{ readonly body: Buffer; readonly whole: boolean }> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= replayBytesMax) return;
      request.pause();
      settle(() => resolve({ body: Buffer.concat(chunks), whole: false }));
    };
    const onEnd = (): void => settle(() => resolve({ body: Buffer.concat(chunks), whole: true }));
    const onClose = (): void => settle(() => reject(new CallError('aborted', 'the client is gone')));
    const settle = (act: () => void): void => {
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      act();
    };
    request.on('data', onData).once('end', onEnd).once('close', onClose).once('error', onClose);
  });

interface Incoming {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer;
  readonly whole: boolean;
  readonly signal: AbortSignal;
}

/** Gives the request to one target. Returns false when the client has seen nothing and another one may try. */
const forward = async (parts: Parts, target: Target, incoming: Incoming): Promise<boolean> => {
  const { request, response, headers, body, whole, signal } = incoming;
  const answer = await call({
    agent: parts.agent,
    host: podHost(target.pod.zone),
    port: target.pod.port,
    method: request.method ?? 'GET',
    path: request.url ?? '/',
    headers,
    ...(body.length > 0 ? { body } : {}),
    ...(whole ? {} : { rest: request }),
    headMs: parts.answerMs,
    signal,
  });
  const writeHead = (): void => {
    response.writeHead(answer.statusCode ?? 502, endToEnd(answer.headers));
  };
  const limits = { firstMs: parts.answerMs, idleMs: parts.answerMs };
  const { end, bytes } = await relay(answer, response, limits, writeHead);
  if (end === 'complete') {
    if (bytes === 0) writeHead();
    response.end();
    return true;
  }
  if (bytes === 0 && end !== 'client-gone') return false;
  // Half an answer went out: cutting the connection is the only way to say that it is not whole.
  response.destroy();
  return true;
};

const createHandler = (parts: Parts): Handler => {
  const { retries } = parts.context.layout.settings.balancer;
  return async (request, response) => {
    const controller = clientController(response);
    const { body, whole } = await readReplayable(request);
    const headers = endToEnd(request.headers);
    headers['x-request-id'] ??= randomUUID();
    const through = [request.headers['x-forwarded-for'], request.socket.remoteAddress].flat();
    headers['x-forwarded-for'] = through.filter((address) => address !== undefined).join(', ');
    const incoming = { request, response, headers, body, whole, signal: controller.signal };
    const tried = new Set<Target>();
    let last: unknown;
    for (let attempt = 0; attempt <= (whole ? retries : 0); attempt += 1) {
      const nowMs = systemClock.monotonicMs();
      const target = nextTarget([...parts.targets.values()], tried, nowMs, parts.slowStartMs);
      if (target === undefined) break;
      tried.add(target);
      try {
        if (await forward(parts, target, incoming)) return;
        last = new CallError('connection', `${target.pod.name} broke off before it answered`);
      } catch (error) {
        if (controller.signal.aborted || !(error instanceof CallError)) throw error;
        last = error;
      }
    }
    if (last === undefined) throw new HttpError(503, 'server_error', 'no_gateway', 'no gateway is registered');
    const timedOut = last instanceof CallError && last.failure === 'timeout';
    throw new HttpError(timedOut ? 504 : 502, 'server_error', 'gateway_failed', messageOf(last));
  };
};

export const component: Component = {
  kind: 'balancer',
  async start(context) {
    const { layout, options } = context;
    const { zone = '' } = options;
    const { balancer } = layout.settings;
    const endpoint = layout.endpoints.find((candidate) => candidate.id === `balancer/${zone}`);
    if (endpoint === undefined) throw new Error(`the layout has no balancer/${zone}`);
    const answerMs = answerTimeout(layout, balancer.upstreamTimeout);
    const parts: Parts = {
      context,
      zone,
      agent: egressAgent(layout, zonePlace(zone), answerMs),
      targets: new Map(),
      slowStartMs: scaled(layout, balancer.slowStart),
      answerMs,
    };
    const where = { place: zonePlace(zone), region: regionOfZone(layout.environment, zone) };
    const discovery = startDiscovery(context, where, ['gateway']);
    discovery.onChange(() => register(parts, discovery));
    context.signal.addEventListener('abort', () => {
      for (const target of parts.targets.values()) target.stop.abort();
    });
    const { port } = await serve(context, endpoint.port, createHandler(parts));
    return { port };
  },
};
