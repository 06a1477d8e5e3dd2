import type { Environment, LabSettings } from '../core/environment.ts';

/**
 * Where something is. Traffic between two places crosses links that can be cut:
 * `zone/us-west-2a`, `region/us-west-2` (a regional service: no zone failure reaches it), `client/us-west`,
 * `edge` (GeoDNS and its health checkers), `operator` (the person at the keyboard; control planes).
 */
export type Place = `zone/${string}` | `region/${string}` | `client/${string}` | 'edge' | 'operator';

/** A destination with a fixed port. Pods have none: they are reached through an egress (HTTP CONNECT). */
export interface Endpoint {
  /**
   * `balancer/<zone>`, `postgres/<server>`, `wal/<server>`, `vector/<region>`, `objects/<region>`,
   * `kubernetes/<region>`, `cache/<index>`.
   */
  readonly id: string;
  readonly place: Place;
  /** Loopback port the component itself listens on. Nobody but the links connects to it. */
  readonly port: number;
}

/** A listener of the links: what `source` connects to in order to reach `endpoint`. */
export interface Forward {
  readonly source: Place;
  readonly endpoint: string;
  readonly port: number;
}

/** Everything a component needs to know; one JSON file in the lab's state folder, readable by the owner alone. */
export interface LabLayout {
  readonly environment: Environment;
  readonly settings: LabSettings;
  readonly timeScale: number;
  readonly stateDir: string;
  /** Bearer token of every control API, the Kubernetes API and (as the secret key) the AWS API. */
  readonly token: string;
  readonly awsAccessKeyId: string;
  readonly endpoints: readonly Endpoint[];
  readonly forwards: readonly Forward[];
  /** Place → port of its egress: `CONNECT <zone>.zone.lab:<port>` reaches a pod's port in that zone. */
  readonly egress: Readonly<Record<Place, number>>;
  /** Place → port of its DNS resolver (UDP and TCP): each client location, each zone, and the operator. */
  readonly resolvers: Readonly<Record<Place, number>>;
  /** Control APIs on loopback (bearer token): links, dns, database, supervisor. `aws` is the AWS API itself. */
  readonly control: Readonly<Record<'supervisor' | 'links' | 'dns' | 'database' | 'aws', number>>;
  /** One-way delay (ms, real) added on the way from a primary to a replica: WAL of `endpoint` as seen from `source`. */
  readonly walDelays: readonly { readonly source: Place; readonly endpoint: string; readonly delayMs: number }[];
  readonly databaseUser: string;
  readonly databasePassword: string;
  /** Path of a redis-server, or null: then there is no cache. */
  readonly redisServer: string | null;
}

export const zonePlace = (zone: string): Place => `zone/${zone}`;
export const regionPlace = (region: string): Place => `region/${region}`;
export const clientPlace = (client: string): Place => `client/${client}`;

/** Documented milliseconds → real milliseconds of this lab. */
export const scaled = (layout: LabLayout, documentedMs: number): number => documentedMs / layout.timeScale;

/** A scaled time-out, never below what real work needs. */
export const scaledTimeout = (layout: LabLayout, documentedMs: number): number =>
  Math.max(scaled(layout, documentedMs), layout.settings.timeoutFloor);

/** The loopback port at which `source` reaches `endpoint`. */
export const forwardPort = (layout: LabLayout, source: Place, endpoint: string): number => {
  const found = layout.forwards.find((forward) => forward.source === source && forward.endpoint === endpoint);
  if (found === undefined) throw new Error(`no link from ${source} to ${endpoint}`);
  return found.port;
};

export const regionOfZone = (environment: Environment, zone: string): string => {
  const region = environment.regions.find((candidate) => candidate.zones.some((one) => one.name === zone));
  if (region === undefined) throw new Error(`no region has zone ${zone}`);
  return region.name;
};

/** The bucket that holds a region's documents. */
export const bucketOfRegion = (environment: Environment, region: string): string =>
  environment.regions.find(({ name }) => name === region)?.objects?.bucket ?? `documents-${region}`;

/** The region of one of the platform's buckets. */
export const regionOfBucket = (environment: Environment, bucket: string): string | undefined =>
  environment.regions.find(({ name }) => bucketOfRegion(environment, name) === bucket)?.name;

/** PostgreSQL nodes: which zone each runs in, the RDS instance it belongs to, and what it starts as. */
export interface DatabaseNode {
  /** `postgres/<server>`. */
  readonly id: string;
  /** Unique: the zone's name, or with the instance before it where a zone has a server of another database. */
  readonly server: string;
  readonly zone: string;
  readonly region: string;
  readonly instance: string;
  /** Instance it replicates from; undefined for the servers of a primary. */
  readonly source: string | undefined;
  readonly role: 'primary' | 'standby' | 'replica';
  readonly lagMs: number;
  /** The database that clients of its instance connect to. */
  readonly databaseName: string;
}

type Zoned = Omit<DatabaseNode, 'id' | 'server' | 'zone' | 'role' | 'region'>;

const conversationNodes = (environment: Environment): readonly DatabaseNode[] => {
  const primary = environment.regions.find(({ role }) => role === 'primary')?.database.instance;
  const { databaseName } = environment.service;
  return environment.regions.flatMap((region): DatabaseNode[] => {
    const { instance, zone, standbyZone, lag } = region.database;
    const source = region.role === 'primary' ? undefined : primary;
    const base: Zoned = { instance, source, lagMs: lag ?? 0, databaseName };
    const node = (at: string, role: DatabaseNode['role']): DatabaseNode => ({
      ...base,
      id: `postgres/${at}`,
      server: at,
      zone: at,
      region: region.name,
      role,
    });
    if (region.role !== 'primary') return [node(zone, 'replica')];
    return standbyZone === undefined ? [node(zone, 'primary')] : [node(zone, 'primary'), node(standbyZone, 'standby')];
  });
};

const billingNodes = (environment: Environment): readonly DatabaseNode[] => {
  if (environment.billing === undefined) return [];
  const { instance, zone, standbyZone, databaseName } = environment.billing;
  const node = (at: string, role: DatabaseNode['role']): DatabaseNode => {
    const server = `${instance}-${at}`;
    const region = regionOfZone(environment, at);
    return {
      id: `postgres/${server}`,
      server,
      zone: at,
      region,
      instance,
      source: undefined,
      role,
      lagMs: 0,
      databaseName,
    };
  };
  return [node(zone, 'primary'), node(standbyZone, 'standby')];
};

export const databaseNodes = (environment: Environment): readonly DatabaseNode[] => [
  ...conversationNodes(environment),
  ...billingNodes(environment),
];

/** RDS instances, each once. */
export const databaseInstances = (environment: Environment): readonly string[] => [
  ...new Set(databaseNodes(environment).map(({ instance }) => instance)),
];

/** A server's own database: the primary whose log it has, itself or by replication. */
export const clusterOf = ({ source, instance }: Pick<DatabaseNode, 'source' | 'instance'>): string =>
  source ?? instance;

/**
 * The cache belongs to the primary region, "3 nodes across AZs": its primary in the first zone, replicas in the others.
 * A node of another region would be further away than the budget of /health allows.
 */
const cacheZone = (environment: Environment, index: number): string => {
  const primary = environment.regions.find(({ role }) => role === 'primary') ?? environment.regions[0];
  const [first, ...others] = primary?.zones.map(({ name }) => name) ?? [];
  const zone = index === 0 ? first : (others[(index - 1) % others.length] ?? first);
  return zone ?? '';
};

/** The endpoints, links and resolvers an environment needs, before ports are known. Pure. */
export const shapeOf = (
  environment: Environment,
  cacheNodes: number,
): {
  readonly endpoints: readonly { readonly id: string; readonly place: Place }[];
  readonly sources: readonly Place[];
  readonly resolverPlaces: readonly Place[];
} => {
  const zones = environment.regions.flatMap((region) => region.zones.map((zone) => zone.name));
  const regions = environment.regions.map((region) => region.name);
  const clients = environment.clients.map((client) => clientPlace(client.name));
  const nodes = databaseNodes(environment);
  return {
    endpoints: [
      ...zones.map((zone) => ({ id: `balancer/${zone}`, place: zonePlace(zone) })),
      ...nodes.map((node) => ({ id: node.id, place: zonePlace(node.zone) })),
      ...nodes.map((node) => ({ id: `wal/${node.server}`, place: zonePlace(node.zone) })),
      ...regions.map((region) => ({ id: `vector/${region}`, place: regionPlace(region) })),
      ...regions.map((region) => ({ id: `objects/${region}`, place: regionPlace(region) })),
      ...regions.map((region) => ({ id: `kubernetes/${region}`, place: regionPlace(region) })),
      ...Array.from({ length: cacheNodes }, (_, index) => ({
        id: `cache/${index}`,
        place: zonePlace(cacheZone(environment, index)),
      })),
    ],
    sources: [...zones.map(zonePlace), ...regions.map(regionPlace), ...clients, 'edge', 'operator'],
    resolverPlaces: [...clients, ...zones.map(zonePlace), 'operator'],
  };
};
