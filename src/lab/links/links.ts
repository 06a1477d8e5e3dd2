import net from 'node:net';
import { z } from 'zod';
import { systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import { ControlError, serveControl } from '../control.ts';
import { type Place, zonePlace } from '../layout.ts';
import { markUsed } from '../used.ts';
import { type Connection, type Effects, openConnection } from './connection.ts';
import { egressAnswer, readConnect } from './egress.ts';
import { distancesOf } from './geography.ts';
import { effectOf, parseRule, type Rule } from './rules.ts';

const listen = (port: number, onClient: (client: net.Socket) => void, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, onClient);
    server.once('error', reject);
    server.listen({ port, host: '127.0.0.1', backlog: 1024, signal }, () => resolve());
  });

const isWal = (endpoint: string): boolean => endpoint.startsWith('wal/');

const podPrefix = 'pod/';
/** `<zone>:<port>` of the pod at the other end of a connection. */
const podOf = (endpoint: string): string | undefined =>
  endpoint.startsWith(podPrefix) ? endpoint.slice(podPrefix.length) : undefined;
const delayBody = z.strictObject({ delayMs: z.number().nonnegative().max(60_000) });

/** Every connection of the lab, and the rules that break them. */
const createLinks = (context: ComponentContext) => {
  const { layout } = context;
  const distances = distancesOf(layout);
  const rules = new Map<string, Rule>();
  const connections = new Set<Connection>();
  /** Endpoints that a rule names: their connections are not like others between the same places. */
  let ruledEndpoints: ReadonlySet<string> = new Set();
  /** Effects by source, target and kind of connection: asked for with every new connection. */
  const known = new Map<string, Effects>();
  /** Pods that a rule is about; connections to all others are as their places are. */
  const podsWithRules = new Set<string>();

  const effectsOf = (source: Place, target: Place, endpoint: string): Effects => {
    const pod = podOf(endpoint);
    const isOwn = isWal(endpoint) || ruledEndpoints.has(endpoint) || (pod !== undefined && podsWithRules.has(pod));
    const key = isOwn ? `${source} ${endpoint}` : `${source} ${target}`;
    const cached = known.get(key);
    if (cached !== undefined) return cached;
    const delayMs = distances.baseDelayMs(source, target);
    const downDelayMs = Math.max(delayMs, distances.walDelayMs(source, endpoint));
    const effects: Effects = {
      up: effectOf(distances, rules.values(), source, target, delayMs, { endpoint }),
      down: effectOf(distances, rules.values(), target, source, downDelayMs, { endpoint, sender: pod }),
    };
    known.set(key, effects);
    return effects;
  };

  const accept = (
    client: net.Socket,
    source: Place,
    target: Place,
    endpoint: string,
    port: number,
    extra: { readonly head?: Buffer; readonly greeting?: typeof egressAnswer } = {},
  ): void => {
    if (source.startsWith('client/')) markUsed(layout.stateDir);
    const connection = openConnection({
      source,
      target,
      endpoint,
      client,
      effects: effectsOf(source, target, endpoint),
      connect: () => net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }),
      onClosed: () => connections.delete(connection),
      ...extra,
    });
    connections.add(connection);
  };

  /** Applies the rules as they are now to every connection; the number of connections this changes something for. */
  const apply = (): number => {
    known.clear();
    podsWithRules.clear();
    for (const { match } of rules.values()) if ('fromPod' in match) podsWithRules.add(match.fromPod);
    ruledEndpoints = new Set(
      [...rules.values()].flatMap(({ match }) => ('from' in match ? (match.endpoints ?? []) : [])),
    );
    let affected = 0;
    for (const connection of [...connections]) {
      const { source, target, endpoint } = connection;
      if (connection.setEffects(effectsOf(source, target, endpoint))) affected += 1;
    }
    return affected;
  };

  const change = (event: string, id: string, rule: Rule): Rule & { readonly id: string } => {
    const fromMs = systemClock.monotonicMs();
    const affected = apply();
    const atMs = systemClock.monotonicMs();
    context.truth(event, id, { atMs, fromMs, rule, affected, connections: connections.size });
    context.log(`${event} ${id} ${JSON.stringify(rule)} affects ${affected} of ${connections.size} connections`);
    return { id, ...rule };
  };

  return {
    accept,
    zones: new Set(layout.environment.regions.flatMap((region) => region.zones.map((zone) => zone.name))),
    list: () => [...rules].map(([id, rule]) => ({ id, ...rule })),
    put: (id: string, body: unknown) => {
      const rule = parseRule(distances, body);
      rules.set(id, rule);
      return change('link.rule-added', id, rule);
    },
    remove: (id: string) => {
      const rule = rules.get(id);
      if (rule === undefined) return { id };
      rules.delete(id);
      return change('link.rule-removed', id, rule);
    },
    walDelays: distances.walDelays,
    /** From now on, and for what is under way, the log comes to `source` this much later. */
    setWalDelay: (source: string, body: unknown) => {
      const parsed = delayBody.safeParse(body);
      if (!parsed.success) throw new ControlError(400, 'InvalidInput', z.prettifyError(parsed.error));
      const { delayMs } = parsed.data;
      const streams = distances.setWalDelay(source as Place, delayMs);
      if (streams === 0) throw new ControlError(404, 'NotFound', `no log comes to ${source} from another region`);
      const affected = apply();
      context.truth('link.wal-delay-changed', source, { delayMs, affected });
      return { source, delayMs };
    },
    /** Open connections per pair of places. */
    count: () => {
      const counts = new Map<string, number>();
      for (const { source, target } of connections) {
        const pair = `${source} → ${target}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
      return Object.fromEntries([...counts].toSorted(([one], [other]) => one.localeCompare(other)));
    },
  };
};

/**
 * The links: every connection of the lab crosses this process. One listener per pair of place and endpoint, one egress
 * (HTTP CONNECT) per place for pods, whose ports come and go, and rules that hold, cut, delay or throttle by place.
 */
export const component: Component = {
  kind: 'links',
  start: async (context) => {
    const { layout, signal } = context;
    const links = createLinks(context);
    const endpoints = new Map(layout.endpoints.map((endpoint) => [endpoint.id, endpoint]));
    const forwards = layout.forwards.map((forward) => {
      const endpoint = endpoints.get(forward.endpoint);
      if (endpoint === undefined) throw new Error(`the layout has no endpoint ${forward.endpoint}`);
      const { source, port } = forward;
      return listen(port, (client) => links.accept(client, source, endpoint.place, endpoint.id, endpoint.port), signal);
    });
    const egresses = Object.entries(layout.egress).map(([place, port]) =>
      listen(
        port,
        (client) =>
          readConnect(client, (request) => {
            if (!links.zones.has(request.zone)) return false;
            const extra = { head: request.rest, greeting: egressAnswer };
            const endpoint = `${podPrefix}${request.zone}:${request.port}`;
            links.accept(client, place as Place, zonePlace(request.zone), endpoint, request.port, extra);
            return true;
          }),
        signal,
      ),
    );
    await Promise.all([...forwards, ...egresses]);
    await serveControl(
      layout,
      'links',
      [
        { route: 'GET /rules', answer: () => links.list() },
        { route: 'PUT /rules/:id', answer: ({ params, body }) => links.put(params['id'] ?? '', body) },
        { route: 'DELETE /rules/:id', answer: ({ params }) => links.remove(params['id'] ?? '') },
        { route: 'GET /wal-delays', answer: () => links.walDelays() },
        {
          route: 'PUT /wal-delays/:source',
          answer: ({ params, body }) => links.setWalDelay(params['source'] ?? '', body),
        },
        { route: 'GET /connections', answer: () => links.count() },
      ],
      signal,
    );
    return { listeners: forwards.length + egresses.length };
  },
};
