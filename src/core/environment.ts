import { z } from 'zod';
import { durationMs } from './duration.ts';

const name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, { error: 'use lower-case letters, digits and inner hyphens' })
  .max(63);
const count = z.int().nonnegative().max(10_000);
const share = z.number().min(0).max(1);

/** Constants of the embedded lab. Durations are documented time, divided by the time scale, save those named real. */
export const labSchema = z.strictObject({
  /** Divides every documented duration of the lab. 1 is the faithful drill. */
  timeScale: z.number().min(1).max(10_000).default(30),
  /** The lab goes down by itself after this much real time without a command, run or API call. */
  idleExpiry: durationMs.default(30 * 60_000),
  /** Time-outs between components are scaled, but never below this much real time: work takes what it takes. */
  timeoutFloor: durationMs.default(250),
  network: z.strictObject({
    /** Real one-way delays: latency is a budget of users, not a recovery constant. */
    withinRegion: durationMs.default(0),
    betweenRegions: durationMs.default(20),
    clientToNearest: durationMs.default(2),
    clientToFurther: durationMs.default(25),
  }),
  dns: z.strictObject({ ttl: durationMs }),
  health: z.strictObject({
    period: durationMs,
    failures: z.int().positive(),
    successes: z.int().positive(),
    timeout: durationMs,
    /** Real: latency budgets of the dependencies behind /health. */
    budgets: z.strictObject({ database: durationMs, cache: durationMs, llm: durationMs, vector: durationMs }),
  }),
  balancer: z.strictObject({
    period: durationMs,
    failures: z.int().positive(),
    successes: z.int().positive(),
    timeout: durationMs,
    /** Attempts on other gateways before the client sees an error. */
    retries: count,
    upstreamTimeout: durationMs,
    /** A target that comes back beside healthy ones gets its full share of requests only after this. */
    slowStart: durationMs.default(30_000),
  }),
  gateway: z.strictObject({ orchestratorTimeout: durationMs, databaseTimeout: durationMs }),
  orchestrator: z.strictObject({
    /** Attempts on other pods when a pod fails or its first token does not come in time. */
    retries: count,
    firstTokenTimeout: durationMs,
  }),
  llm: z.strictObject({
    modelLoad: durationMs,
    queueMax: z.int().positive(),
    concurrency: z.int().positive(),
    /** Real. */
    firstToken: durationMs,
    /** Real. */
    tokenGap: durationMs,
    tokens: z.int().positive(),
    liveness: z.strictObject({ period: durationMs, failures: z.int().positive(), timeout: durationMs }),
    readiness: z.strictObject({ period: durationMs, failures: z.int().positive(), timeout: durationMs }),
  }),
  kubernetes: z.strictObject({
    leaseRenewal: durationMs,
    /** A node whose lease is older than this is NotReady. */
    nodeGracePeriod: durationMs,
    /** Pods of a NotReady node are replaced elsewhere after this. */
    evictionAfter: durationMs,
  }),
  database: z.strictObject({
    checkPeriod: durationMs,
    checkFailures: z.int().positive(),
    checkTimeout: durationMs,
    /** From detection to the standby's promotion: fencing, recovery and the endpoint's move. */
    failover: durationMs,
    /** What a manual promotion of a replica takes before PostgreSQL's own work. */
    promotion: durationMs,
    /** Health of a synchronous standby: out of the quorum after this. */
    synchronousTimeout: durationMs,
    /** Without it an old primary is left running when another server takes over: two may then acknowledge. */
    fencing: z.boolean().default(true),
  }),
  stores: z.strictObject({
    vectors: z.int().positive(),
    dimensions: z.int().positive(),
    /** From a PUT in the primary region's bucket to its copy's way to the buckets of the other regions. */
    objectReplication: durationMs.default(30_000),
  }),
  cache: z.strictObject({
    /** A redis-server binary; null looks on PATH. Without one the cache's targets are NOT MEASURED. */
    server: z.string().nullable().default(null),
    nodes: z.int().positive(),
    nodeTimeout: durationMs,
  }),
});
export type LabSettings = z.output<typeof labSchema>;

const zoneSchema = z.strictObject({
  name,
  /** Lab only: pods this zone runs of each workload. */
  pods: z
    .strictObject({ gateway: count.default(1), orchestrator: count.default(1), rag: count.default(1), llm: count })
    .optional(),
});

const regionSchema = z.strictObject({
  name,
  role: z.enum(['primary', 'active']),
  zones: z.array(zoneSchema).min(1),
  kubernetes: z.strictObject({ context: z.string().min(1), namespace: z.string().min(1) }),
  database: z.strictObject({
    /** RDS instance identifier; its DNS name is `<instance>.<service.databaseDomain>`. */
    instance: name,
    /** The primary region's writer and its standby; lab only: which zones they start in. */
    zone: name,
    standbyZone: name.optional(),
    /** Replicas: documented replication lag behind the primary. */
    lag: durationMs.optional(),
  }),
  /** The bucket of the region's documents. The primary region's is replicated to those of the others. */
  objects: z
    .strictObject({
      bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, { error: 'this is no name of an S3 bucket' }),
    })
    .optional(),
});

/**
 * Critical data, in a database of its own: every commit is on a standby in another region before it is acknowledged,
 * and that standby takes over by itself.
 */
const billingSchema = z.strictObject({
  /** RDS instance identifier; its DNS name is `<instance>.<service.databaseDomain>`. */
  instance: name,
  /** DNS name of its writer (a CNAME kept in Route 53); SRV `_postgresql._tcp.<host>`. */
  host: z.string().min(1),
  databaseName: z.string().min(1).default('billing'),
  /** Lab only: the zones its writer and its standby start in, of two regions. */
  zone: name,
  standbyZone: name,
});

const clientSchema = z.strictObject({
  name,
  /** Preferred regions in order. A name that is in no region list is reported, never invented. */
  prefers: z.array(name).min(1),
  /** Outside the lab: address of the resolver this location uses, `host:port`. */
  resolver: z.string().optional(),
});

/** A platform that can be drilled. One YAML file in `experiments/environments/`. */
export const environmentSchema = z.strictObject({
  apiVersion: z.literal('blackstart/v1'),
  kind: z.literal('Environment'),
  name,
  title: z.string().min(1),
  /** The file of documented targets, relative to this file. */
  targets: z.string().min(1),
  service: z.strictObject({
    /** GeoDNS name of the service; per region it is `<region>.<host>`. SRV `_http._tcp.<host>` gives the port. */
    host: z.string().min(1),
    /** DNS name of the database writer (a CNAME kept in Route 53); SRV `_postgresql._tcp.<databaseHost>`. */
    databaseHost: z.string().min(1),
    /** RDS endpoints live under this domain: `<instance>.<databaseDomain>`. */
    databaseDomain: z.string().min(1),
    databaseName: z.string().min(1).default('conversations'),
    /**
     * GeoDNS name under which documents are read through the S3 API; per region it is `<region>.<objectsHost>`. SRV
     * `_http._tcp.<objectsHost>` gives the port.
     */
    objectsHost: z.string().min(1).optional(),
    hostedZoneId: z.string().min(1),
    model: z.string().min(1),
  }),
  regions: z.array(regionSchema).min(1),
  billing: billingSchema.optional(),
  clients: z.array(clientSchema).min(1),
  workloads: z.record(name, z.strictObject({ selector: z.string().min(1), container: z.string().min(1) })),
  aws: z.strictObject({
    account: z.string().regex(/^\d{12}$/, { error: 'an AWS account id is 12 digits' }),
    /** Role that FIS assumes. */
    experimentRole: z.string().min(20),
    /** CloudWatch alarm per region that stops a FIS experiment: its ARN with `{region}` in place of the region. */
    stopAlarm: z.string().min(20),
  }),
  /** Outside the lab: where the APIs are. The lab fills these in from what runs. */
  addresses: z
    .strictObject({
      kubeconfig: z.string().nullable().default(null),
      awsEndpoint: z.string().nullable().default(null),
      /** `host:port` of each node of the cache. */
      cache: z.array(z.string().regex(/^\S+:\d+$/, { error: 'write host:port' })).default([]),
    })
    .optional(),
  /** Blast radius: a plan that goes beyond is refused. */
  limits: z.strictObject({
    podsMax: z.int().positive(),
    zonesMax: z.int().positive(),
    regionsMax: z.int().positive(),
    /** At least this share of a workload's ready pods must survive outside the blast radius. */
    survivingShareMin: share,
    runMax: durationMs,
  }),
  lab: labSchema.optional(),
});
export type Environment = z.output<typeof environmentSchema>;
export type Region = Environment['regions'][number];
export type Client = Environment['clients'][number];
