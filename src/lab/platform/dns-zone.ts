import type { Answer, RecordType } from 'dns-packet';
import { databaseInstances, forwardPort, type LabLayout, type Place, scaled } from '../layout.ts';
import { type Route, type RoutingState, routeOf, zonesOf } from './geo-routing.ts';

export interface CnameRecord {
  readonly name: string;
  readonly value: string;
  readonly ttlSeconds: number;
}

export interface ZoneAnswer {
  readonly answers: readonly Answer[];
  readonly additionals: readonly Answer[];
  /** The name, or the last one of its chain, exists, whether or not it has a record of the type. */
  readonly exists: boolean;
}

/** What the lab's names stand for; everything in it changes while the lab runs. */
export interface ZoneData {
  readonly layout: LabLayout;
  readonly routing: RoutingState;
  /** Records people keep in Route 53, as this place sees them: a resolver keeps what it got for its TTL. */
  recordFor(place: Place, name: string): CnameRecord | undefined;
  /** Server (`postgres/<server>`) that an instance's writer is. */
  writerServer(instance: string): string | undefined;
  random(): number;
}

/** TTL of an RDS endpoint, documented time. */
const endpointTtlMs = 5000;
const hopsMax = 8;
const address = '127.0.0.1';

const wholeSeconds = (layout: LabLayout, documentedMs: number): number =>
  Math.floor(scaled(layout, documentedMs) / 1000);

/** Domains the lab answers for: its names without their first label. */
export const apexesOf = ({ environment: { service, billing } }: LabLayout): readonly string[] => [
  ...new Set(
    [
      service.host,
      service.databaseHost,
      service.databaseDomain,
      ...(service.objectsHost === undefined ? [] : [service.objectsHost]),
      ...(billing === undefined ? [] : [billing.host]),
    ].map((name) => name.split('.').slice(1).join('.')),
  ),
];

export const serviceTtlSeconds = (layout: LabLayout): number => wholeSeconds(layout, layout.settings.dns.ttl);

/** The records of one name, without following CNAMEs. `undefined`: there is no such name. */
const recordsAt = (data: ZoneData, place: Place, name: string): readonly Answer[] | undefined => {
  const { layout } = data;
  const { service, regions } = layout.environment;
  const ttl = serviceTtlSeconds(layout);
  const toZones = ({ region, zones }: Route, at: string): Answer[] =>
    zones.map((zone, index) => ({
      type: 'SRV',
      name: at,
      ttl,
      data: {
        priority: (index + 1) * 10,
        weight: 0,
        port: forwardPort(layout, place, `balancer/${zone}`),
        target: `${zone}.${region}.${service.host}`,
      },
    }));
  const addressAt = (at: string, seconds: number): Answer => ({ type: 'A', name: at, ttl: seconds, data: address });
  const textAt = (at: string, region: string): Answer => ({ type: 'TXT', name: at, ttl, data: region });

  const { objectsHost } = service;
  if (objectsHost !== undefined && (name === objectsHost || name === `_http._tcp.${objectsHost}`)) {
    // Documents follow the service: the region that is healthy and near, by its own object store.
    const region = routeOf(layout.environment, place, data.routing, data.random)?.region;
    if (region === undefined) return [];
    if (name === objectsHost) return [addressAt(name, ttl), textAt(name, region)];
    const port = forwardPort(layout, place, `objects/${region}`);
    const target = `${region}.${objectsHost}`;
    return [{ type: 'SRV', name, ttl, data: { priority: 10, weight: 0, port, target } }];
  }
  if (name === service.host || name === `_http._tcp.${service.host}`) {
    const route = routeOf(layout.environment, place, data.routing, data.random);
    if (route === undefined) return [];
    return name === service.host ? [addressAt(name, ttl), textAt(name, route.region)] : toZones(route, name);
  }
  for (const region of regions) {
    const host = `${region.name}.${service.host}`;
    if (objectsHost !== undefined && name === `${region.name}.${objectsHost}`) return [addressAt(name, ttl)];
    if (objectsHost !== undefined && name === `_http._tcp.${region.name}.${objectsHost}`) {
      const port = forwardPort(layout, place, `objects/${region.name}`);
      const target = `${region.name}.${objectsHost}`;
      return [{ type: 'SRV', name, ttl, data: { priority: 10, weight: 0, port, target } }];
    }
    if (name === host) return [addressAt(name, ttl), textAt(name, region.name)];
    if (name === `_http._tcp.${host}`) {
      const zones = zonesOf(layout.environment, region.name, data.routing);
      return toZones({ region: region.name, zones }, name);
    }
    if (region.zones.some((zone) => name === `${zone.name}.${host}`)) return [addressAt(name, ttl)];
  }
  for (const instance of databaseInstances(layout.environment)) {
    const endpoint = `${instance}.${service.databaseDomain}`;
    const endpointTtl = wholeSeconds(layout, endpointTtlMs);
    if (name === endpoint) return [addressAt(name, endpointTtl)];
    const server = data.writerServer(instance);
    if (name === `_postgresql._tcp.${endpoint}` && server !== undefined) {
      const port = forwardPort(layout, place, server);
      return [{ type: 'SRV', name, ttl: endpointTtl, data: { priority: 10, weight: 0, port, target: endpoint } }];
    }
  }
  return undefined;
};

/** A CNAME of the name itself, or of the name that a service prefix (`_postgresql._tcp.`) is put before. */
const aliasOf = (data: ZoneData, place: Place, name: string): CnameRecord | undefined => {
  const [prefix = '', bare = name] = /^((?:_[^.]+\.){2})(.+)$/.exec(name)?.slice(1) ?? [];
  const record = data.recordFor(place, bare);
  if (record === undefined) return undefined;
  return { name, value: `${prefix}${record.value.toLowerCase().replace(/\.$/, '')}`, ttlSeconds: record.ttlSeconds };
};

/** A name with nothing of its own exists when there is something below it. */
const hasBelow = (data: ZoneData, name: string): boolean => {
  const { environment } = data.layout;
  const { service, regions, billing } = environment;
  const known = [`_http._tcp.${service.host}`, `_postgresql._tcp.${service.databaseHost}`];
  if (billing !== undefined) known.push(`_postgresql._tcp.${billing.host}`);
  if (service.objectsHost !== undefined) known.push(`_http._tcp.${service.objectsHost}`);
  for (const region of regions) {
    known.push(`_http._tcp.${region.name}.${service.host}`);
    if (service.objectsHost !== undefined) known.push(`_http._tcp.${region.name}.${service.objectsHost}`);
  }
  for (const instance of databaseInstances(environment)) {
    known.push(`_postgresql._tcp.${instance}.${service.databaseDomain}`);
  }
  return known.some((one) => one.endsWith(`.${name}`));
};

const soaOf = (apex: string): Answer => ({
  type: 'SOA',
  name: apex,
  ttl: 0,
  data: {
    mname: `ns.${apex}`,
    rname: `hostmaster.${apex}`,
    serial: 1,
    refresh: 7200,
    retry: 900,
    expire: 1_209_600,
    minimum: 0,
  },
});

/** The SOA that goes with a negative answer; a name outside the lab's domains has none here. */
export const authorityOf = (layout: LabLayout, name: string): Answer | undefined => {
  const apex = apexesOf(layout).find((one) => name === one || name.endsWith(`.${one}`));
  return apex === undefined ? undefined : soaOf(apex);
};

const addressesOfTargets = (answers: readonly Answer[]): Answer[] =>
  answers.flatMap((answer): Answer[] =>
    answer.type === 'SRV' ? [{ type: 'A', name: answer.data.target, ttl: answer.ttl, data: address }] : [],
  );

/** Answers a question as asked at the resolver of `place`. Names are lower case and without a final dot. */
export const answerAt = (data: ZoneData, place: Place, question: string, type: RecordType | 'ANY'): ZoneAnswer => {
  const answers: Answer[] = [];
  let name = question;
  for (let hop = 0; hop < hopsMax; hop += 1) {
    const alias = aliasOf(data, place, name);
    if (alias === undefined) break;
    answers.push({ type: 'CNAME', name, ttl: alias.ttlSeconds, data: alias.value });
    if (type === 'CNAME') return { answers, additionals: [], exists: true };
    name = alias.value;
  }
  const soa = apexesOf(data.layout).includes(name) ? soaOf(name) : undefined;
  const records = recordsAt(data, place, name) ?? (soa === undefined ? undefined : [soa]);
  const exists = records !== undefined || hasBelow(data, name);
  answers.push(...(records ?? []).filter((record) => type === 'ANY' || record.type === type));
  return { answers, additionals: addressesOfTargets(answers), exists };
};
