import { z } from 'zod';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Component, ComponentContext } from '../component.ts';
import { ControlError, type ControlRoute, serveControl } from '../control.ts';
import type { LabLayout, Place } from '../layout.ts';
import { clientPlace, databaseNodes } from '../layout.ts';
import { afterOutcome, newTargetHealth, type Outcome, type TargetHealth, watchZone } from './dns-health.ts';
import { serveDns } from './dns-wire.ts';
import { answerAt, authorityOf, type CnameRecord, serviceTtlSeconds, type ZoneData } from './dns-zone.ts';
import { type RoutingState, routeOf } from './geo-routing.ts';

const recordBody = z.strictObject({
  type: z.literal('CNAME'),
  value: z.string().min(1).max(253),
  ttlSeconds: z
    .number()
    .nonnegative()
    .max(2 ** 31 - 1),
});
const endpointBody = z.strictObject({ zone: z.string().min(1) });
const weightBody = z.strictObject({ weight: z.number().min(0).max(100) });
const overrideBody = z.strictObject({ healthy: z.boolean().nullable() });

const canonical = (name: string): string => name.toLowerCase().replace(/\.$/, '');

/** Everything that is asked, told and found out while the DNS runs. */
interface State extends RoutingState {
  readonly records: Map<string, CnameRecord>;
  readonly endpoints: Map<string, string>;
  readonly weights: Map<string, number>;
  readonly overrides: Map<string, boolean>;
  readonly zones: Map<string, TargetHealth>;
}

const createState = (layout: LabLayout): State => {
  const { regions, service, billing } = layout.environment;
  const nowMs = systemClock.monotonicMs();
  const primary = regions.find((region) => region.role === 'primary') ?? regions[0];
  const alias = (host: string, instance: string): readonly [string, CnameRecord] => {
    const name = canonical(host);
    const value = `${instance}.${service.databaseDomain}`;
    return [name, { name, value, ttlSeconds: serviceTtlSeconds(layout) }];
  };
  const aliases = [alias(service.databaseHost, primary?.database.instance ?? '')];
  if (billing !== undefined) aliases.push(alias(billing.host, billing.instance));
  // An instance's first server is the one it starts writing on.
  const writers = databaseNodes(layout.environment).filter(({ role }) => role !== 'standby');
  const zones = new Map(
    regions.flatMap((region) => region.zones.map(({ name: zone }) => [zone, newTargetHealth(nowMs)])),
  );
  const zonesOfRegion = (region: string): readonly string[] =>
    regions.find((one) => one.name === region)?.zones.map((zone) => zone.name) ?? [];
  const state: State = {
    records: new Map(aliases),
    endpoints: new Map(writers.map(({ instance, id }) => [instance, id])),
    weights: new Map(),
    overrides: new Map(),
    zones,
    isZoneHealthy: (zone) => zones.get(zone)?.healthy ?? false,
    isRegionHealthy: (region) => state.overrides.get(region) ?? zonesOfRegion(region).some(state.isZoneHealthy),
    weightOf: (region) => state.weights.get(region) ?? 100,
  };
  return state;
};

/**
 * What each place's resolver believes of the records in Route 53: it asks when it is asked, and then keeps the answer
 * for its TTL. Hence a change of a record reaches a client up to one TTL later, as it does anywhere. The answers of
 * GeoDNS itself are not kept: clients do that.
 */
const createRecordView = (state: State): ZoneData['recordFor'] => {
  const kept = new Map<string, { readonly record: CnameRecord; readonly untilMs: number }>();
  return (place, name) => {
    const key = `${place} ${name}`;
    const nowMs = systemClock.monotonicMs();
    const held = kept.get(key);
    if (held !== undefined && nowMs < held.untilMs) {
      return { ...held.record, ttlSeconds: Math.floor((held.untilMs - nowMs) / 1000) };
    }
    const record = state.records.get(name);
    if (record === undefined) kept.delete(key);
    else kept.set(key, { record, untilMs: nowMs + record.ttlSeconds * 1000 });
    return record;
  };
};

const describeRegions = (layout: LabLayout, state: State): unknown => ({
  regions: layout.environment.regions.map((region) => {
    const zones = region.zones.map(({ name }) => ({ zone: name, ...(state.zones.get(name) ?? newTargetHealth(0)) }));
    const worst = zones.toSorted((one, other) => other.failures - one.failures)[0];
    const healthy = state.isRegionHealthy(region.name);
    const changes = zones.map(({ sinceMs }) => sinceMs);
    return {
      region: region.name,
      healthy,
      // It became unhealthy with the last of its zones, and healthy with the first.
      sinceMs: healthy ? Math.min(...changes) : Math.max(...changes),
      failures: Math.min(...zones.map(({ failures }) => failures)),
      lastReason: worst?.lastReason ?? '',
      override: state.overrides.get(region.name) ?? null,
      weight: state.weightOf(region.name),
      zones: zones.map(({ zone, healthy: zoneHealthy, failures, sinceMs, lastReason, checkedAtMs }) => ({
        zone,
        healthy: zoneHealthy,
        failures,
        sinceMs,
        lastReason,
        checkedAtMs,
      })),
    };
  }),
});

/** Tells, for tests, whenever what a client location would be answered has changed. */
const createAnswerLog = (context: ComponentContext, state: State): (() => void) => {
  const { layout, truth } = context;
  const answerOf = (place: Place): string => JSON.stringify(routeOf(layout.environment, place, state, () => 0));
  const places = layout.environment.clients.map((client) => clientPlace(client.name));
  const last = new Map(places.map((place) => [place, answerOf(place)]));
  return () => {
    const atMs = systemClock.monotonicMs();
    for (const place of places) {
      const now = answerOf(place);
      const before = last.get(place) ?? now;
      if (now === before) continue;
      last.set(place, now);
      truth('dns.answer-changed', place, { atMs, from: JSON.parse(before), to: JSON.parse(now) });
    }
  };
};

const bodyOf = <T>(schema: z.ZodType<T>, body: unknown): T => {
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw new ControlError(400, 'InvalidInput', z.prettifyError(parsed.error));
  return parsed.data;
};

const routesOf = (context: ComponentContext, state: State, changed: () => void): readonly ControlRoute[] => {
  const { layout } = context;
  const regionOf = (name = ''): string => {
    if (layout.environment.regions.some((region) => region.name === name)) return name;
    throw new ControlError(404, 'NotFound', `there is no region ${name}`);
  };
  const recordsOf = (): readonly unknown[] => [...state.records.values()].map((one) => ({ type: 'CNAME', ...one }));
  return [
    { route: 'GET /health', answer: () => describeRegions(layout, state) },
    { route: 'GET /records', answer: () => ({ records: recordsOf() }) },
    {
      route: 'PUT /records/:name',
      answer: ({ params, body }) => {
        const { value, ttlSeconds } = bodyOf(recordBody, body);
        const name = canonical(params['name'] ?? '');
        const before = state.records.get(name)?.value ?? null;
        state.records.set(name, { name, value, ttlSeconds });
        context.truth('dns.record-changed', name, { from: before, to: value });
        return { type: 'CNAME', name, value, ttlSeconds };
      },
    },
    {
      route: 'DELETE /records/:name',
      answer: ({ params }) => {
        const name = canonical(params['name'] ?? '');
        if (!state.records.delete(name)) throw new ControlError(404, 'NotFound', `there is no record ${name}`);
        context.truth('dns.record-changed', name, { to: null });
        return undefined;
      },
    },
    {
      route: 'PUT /endpoints/:instance',
      answer: ({ params, body }) => {
        const { zone } = bodyOf(endpointBody, body);
        const instance = params['instance'] ?? '';
        if (!state.endpoints.has(instance)) throw new ControlError(404, 'NotFound', `there is no instance ${instance}`);
        const nodes = databaseNodes(layout.environment).filter((node) => node.instance === instance);
        const server = nodes.find((node) => node.zone === zone)?.id;
        if (server === undefined) {
          throw new ControlError(400, 'InvalidInput', `no PostgreSQL server of ${instance} is in ${zone}`);
        }
        state.endpoints.set(instance, server);
        return { instance, zone };
      },
    },
    {
      route: 'GET /weights/:region',
      answer: ({ params }) => ({ weight: state.weightOf(regionOf(params['region'])) }),
    },
    {
      route: 'PUT /weights/:region',
      answer: ({ params, body }) => {
        const { weight } = bodyOf(weightBody, body);
        state.weights.set(regionOf(params['region']), weight);
        context.truth('dns.weight-changed', params['region'] ?? '', { weight });
        changed();
        return { weight };
      },
    },
    {
      route: 'GET /health-overrides/:region',
      answer: ({ params }) => ({ healthy: state.overrides.get(regionOf(params['region'])) ?? null }),
    },
    {
      route: 'PUT /health-overrides/:region',
      answer: ({ params, body }) => {
        const { healthy } = bodyOf(overrideBody, body);
        const region = regionOf(params['region']);
        if (healthy === null) state.overrides.delete(region);
        else state.overrides.set(region, healthy);
        changed();
        return { healthy };
      },
    },
  ];
};

const startChecks = (context: ComponentContext, state: State, changed: () => void): void => {
  const { layout, signal, truth, log } = context;
  const { health } = layout.settings;
  const see = (region: string, zone: string, outcome: Outcome): void => {
    const atMs = systemClock.monotonicMs();
    const before = state.zones.get(zone) ?? newTargetHealth(atMs);
    const wasHealthy = state.isRegionHealthy(region);
    const after = afterOutcome(before, outcome, health, atMs, systemClock.nowMs());
    state.zones.set(zone, after);
    if (after.healthy === before.healthy) return;
    const detail = { atMs, healthy: after.healthy, reason: outcome.reason };
    truth('health.changed', zone, detail);
    if (state.isRegionHealthy(region) !== wasHealthy) truth('health.changed', region, detail);
    changed();
  };
  for (const region of layout.environment.regions) {
    const host = `${region.name}.${layout.environment.service.host}`;
    for (const { name: zone } of region.zones) {
      watchZone(context, { zone, region: region.name, host }, (outcome) => see(region.name, zone, outcome)).catch(
        (error: unknown) => {
          if (!signal.aborted) log(`the health check of ${zone} ended: ${messageOf(error)}`);
        },
      );
    }
  }
};

/**
 * GeoDNS: one resolver per place, each answering with that place's link ports; health checks from the edge; and the
 * records that Route 53 keeps.
 */
export const component: Component = {
  kind: 'dns',
  async start(context) {
    const { layout, signal, log } = context;
    const state = createState(layout);
    const data: ZoneData = {
      layout,
      routing: state,
      recordFor: createRecordView(state),
      writerServer: (instance) => state.endpoints.get(instance),
      random: Math.random,
    };
    const changed = createAnswerLog(context, state);
    const places = Object.entries(layout.resolvers) as [Place, number][];
    const fault = (error: Error): void => log(`resolver: ${messageOf(error)}`);
    await Promise.all(
      places.map(([place, port]) =>
        serveDns(
          port,
          ({ name, type }) => {
            const asked = canonical(name);
            const { answers, additionals, exists } = answerAt(data, place, asked, type);
            const authority = answers.length > 0 ? undefined : authorityOf(layout, asked);
            const authorities = authority === undefined ? [] : [authority];
            return { rcode: exists ? 'NOERROR' : 'NXDOMAIN', answers, additionals, authorities };
          },
          signal,
          fault,
        ),
      ),
    );
    await serveControl(layout, 'dns', routesOf(context, state, changed), signal);
    startChecks(context, state, changed);
    return { resolvers: places.length };
  },
};
