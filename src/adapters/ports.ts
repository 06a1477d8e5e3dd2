/**
 * The outside world as blackstart sees it: narrow ports, no SDK types. Adapters implement them on the official clients;
 * tests implement them in a few lines. Every call is bounded by the signal it is given.
 */

export interface PodContainer {
  readonly name: string;
  /** `runtime://id`; empty before the container exists. */
  readonly id: string;
  readonly ready: boolean;
  readonly restartCount: number;
  /** ISO instant of the running container's start; null when it does not run. */
  readonly startedAt: string | null;
}

export interface Pod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly node: string | null;
  readonly zone: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly phase: string;
  readonly ready: boolean;
  readonly deleting: boolean;
  readonly createdAt: string;
  readonly containers: readonly PodContainer[];
}

export interface ClusterNode {
  readonly name: string;
  readonly zone: string | null;
  readonly ready: boolean;
}

/** A pod that runs one shell script on a node, in the node's PID namespace, and expires by itself. */
export interface HelperPod {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly script: string;
  readonly env: Readonly<Record<string, string>>;
  readonly activeDeadlineSeconds: number;
}

/** A Kubernetes event about a pod. */
export interface PodReport {
  /** `Killing`, `Unhealthy`, `Started`… */
  readonly reason: string;
  readonly message: string;
}

export interface PodEvent {
  readonly type: 'added' | 'modified' | 'deleted';
  readonly pod: Pod;
}

export interface KubernetesPort {
  listPods(namespace: string, selector: string, signal: AbortSignal): Promise<readonly Pod[]>;
  /** `undefined` when there is none (404). */
  getPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  /** Deletes exactly the pod with this uid (precondition); a pod that is gone counts as deleted; 409 is CONFLICT. */
  deletePod(
    namespace: string,
    name: string,
    options: { readonly uid: string; readonly gracePeriodSeconds: number },
    signal: AbortSignal,
  ): Promise<void>;
  createHelperPod(helper: HelperPod, signal: AbortSignal): Promise<Pod>;
  /** What the helper printed so far. */
  podLog(namespace: string, name: string, signal: AbortSignal): Promise<string>;
  /** What the control plane and the nodes said of the pod with this uid, also of one that is gone. */
  podEvents(namespace: string, uid: string, signal: AbortSignal): Promise<readonly PodReport[]>;
  listNodes(signal: AbortSignal): Promise<readonly ClusterNode[]>;
  /** Lists, then watches, and lists again whenever the watch ends or expires (410), until the signal aborts. */
  watchPods(
    namespace: string,
    selector: string,
    signal: AbortSignal,
    onEvent: (event: PodEvent) => void,
  ): Promise<void>;
  canI(verb: string, resource: string, namespace: string, signal: AbortSignal): Promise<boolean>;
}

export interface FisTemplate {
  readonly description: string;
  readonly roleArn: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly stopConditions: readonly { readonly source: string; readonly value?: string }[];
  readonly targets: Readonly<
    Record<
      string,
      | { readonly resourceType: string; readonly resourceArns: readonly string[]; readonly selectionMode: string }
      | {
          readonly resourceType: string;
          readonly resourceTags: Readonly<Record<string, string>>;
          readonly filters?: readonly { readonly path: string; readonly values: readonly string[] }[];
          readonly selectionMode: string;
        }
      | {
          readonly resourceType: string;
          readonly parameters: Readonly<Record<string, string>>;
          readonly selectionMode: string;
        }
    >
  >;
  readonly actions: Readonly<
    Record<
      string,
      {
        readonly actionId: string;
        readonly parameters: Readonly<Record<string, string>>;
        readonly targets: Readonly<Record<string, string>>;
      }
    >
  >;
}

export type FisStatus =
  | 'pending'
  | 'initiating'
  | 'running'
  | 'completed'
  | 'stopping'
  | 'stopped'
  | 'failed'
  | 'cancelled';

export interface FisExperiment {
  readonly id: string;
  readonly templateId: string;
  readonly status: FisStatus;
  readonly reason: string;
  readonly actionsMode: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly actions: Readonly<Record<string, { readonly status: string; readonly reason: string }>>;
}

export interface FisPort {
  createTemplate(template: FisTemplate, clientToken: string, signal: AbortSignal): Promise<string>;
  deleteTemplate(id: string, signal: AbortSignal): Promise<void>;
  /** Templates carrying this tag. */
  listTemplates(
    tag: string,
    value: string,
    signal: AbortSignal,
  ): Promise<readonly { readonly id: string; readonly tags: Readonly<Record<string, string>> }[]>;
  /**
   * Starts with `skip-all` and insists that the answer says so: an experiment that came back in any other mode is
   * stopped at once and the call fails.
   */
  preview(templateId: string, clientToken: string, signal: AbortSignal): Promise<FisExperiment>;
  start(
    templateId: string,
    clientToken: string,
    tags: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<FisExperiment>;
  /** `undefined` when there is none (404). */
  get(id: string, signal: AbortSignal): Promise<FisExperiment | undefined>;
  resolvedTargets(id: string, signal: AbortSignal): Promise<readonly { readonly type: string; readonly arn: string }[]>;
  /** Stopping one that has ended, or is gone, is not an error. */
  stop(id: string, signal: AbortSignal): Promise<void>;
  listExperiments(tag: string, value: string, signal: AbortSignal): Promise<readonly FisExperiment[]>;
  safetyLever(signal: AbortSignal): Promise<'disengaged' | 'engaged' | 'engaging' | 'unknown'>;
}

export interface Subnet {
  readonly id: string;
  readonly arn: string;
  readonly zone: string;
  readonly vpcId: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** Which network ACL a subnet has now. */
export interface SubnetAcl {
  readonly subnetId: string;
  readonly networkAclId: string;
  readonly associationId: string;
  /** Tags of the ACL; FIS marks its own with managedByFIS=true. */
  readonly tags: Readonly<Record<string, string>>;
}

/** Which route table a subnet has now (region partitions swap it). */
export interface SubnetRouteTable {
  readonly subnetId: string;
  readonly routeTableId: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** The machine under a database server: one that its owner runs, not RDS. */
export interface Host {
  readonly id: string;
  readonly arn: string;
  readonly zone: string;
  /** Private IPv4 address. */
  readonly address: string;
  readonly tags: Readonly<Record<string, string>>;
}
export interface Ec2Port {
  /** Running instances that carry all of these tags. */
  hosts(tags: Readonly<Record<string, string>>, signal: AbortSignal): Promise<readonly Host[]>;
  subnets(filter: { readonly zones: readonly string[] }, signal: AbortSignal): Promise<readonly Subnet[]>;
  subnetAcls(subnetIds: readonly string[], signal: AbortSignal): Promise<readonly SubnetAcl[]>;
  subnetRouteTables(subnetIds: readonly string[], signal: AbortSignal): Promise<readonly SubnetRouteTable[]>;
}

export interface DatabaseInstance {
  readonly id: string;
  readonly arn: string;
  /** RDS status: available, rebooting, failing-over, modifying, … */
  readonly status: string;
  readonly zone: string;
  readonly secondaryZone: string | null;
  readonly multiZone: boolean;
  readonly endpoint: string;
  /** Identifier of the instance it replicates from; null for a primary. */
  readonly source: string | null;
  readonly replicas: readonly string[];
}

export interface RdsPort {
  describe(instance: string, signal: AbortSignal): Promise<DatabaseInstance | undefined>;
  /** RebootDBInstance with ForceFailover. */
  failover(instance: string, signal: AbortSignal): Promise<void>;
  /** StartDBInstance, of one that is stopped: it comes back with the data it has. */
  start(instance: string, signal: AbortSignal): Promise<void>;
  /** PromoteReadReplica. One-way. */
  promote(instance: string, signal: AbortSignal): Promise<void>;
  /** Makes a lost or detached instance a replica of `source` again (CreateDBInstanceReadReplica). */
  createReplica(instance: string, source: string, signal: AbortSignal): Promise<void>;
}

/** What one checker of a health check says. */
export interface HealthReport {
  /** Where it looks from: its region and address. */
  readonly checker: string;
  readonly healthy: boolean;
  /** When it last looked, by its own wall clock (epoch). */
  readonly checkedAtMs: number;
}

export interface HealthCheckStatus {
  readonly id: string;
  /** The region it watches: its domain name is `<region>.<service host>`. */
  readonly region: string;
  readonly healthy: boolean;
  readonly detail: string;
  /** How it is set up, for people: such as `every 10 s, 3 failures`. */
  readonly configured: string;
  readonly reports: readonly HealthReport[];
}

export interface DnsRecord {
  readonly name: string;
  readonly type: 'CNAME';
  readonly value: string;
  readonly ttlSeconds: number;
}

export interface Route53Port {
  healthChecks(signal: AbortSignal): Promise<readonly HealthCheckStatus[]>;
  getRecord(zoneId: string, name: string, signal: AbortSignal): Promise<DnsRecord | undefined>;
  /** UPSERT, then waits until the change is INSYNC. */
  putRecord(zoneId: string, record: DnsRecord, signal: AbortSignal): Promise<void>;
  /** Traffic share of a region, 0–100: the weight with which GeoDNS offers it where it is preferred. */
  getWeight(zoneId: string, host: string, region: string, signal: AbortSignal): Promise<number>;
  putWeight(zoneId: string, host: string, region: string, weight: number, signal: AbortSignal): Promise<void>;
}

/** One version of an object, or a delete marker. */
export interface ObjectVersion {
  readonly key: string;
  readonly versionId: string;
  readonly isLatest: boolean;
  readonly isDeleteMarker: boolean;
}

/** One rule of a bucket's replication. */
export interface ReplicationRule {
  readonly id: string;
  readonly isEnabled: boolean;
  /** Bucket that gets the copies. */
  readonly destination: string;
}

export interface S3Port {
  versioning(bucket: string, signal: AbortSignal): Promise<'enabled' | 'suspended' | 'never-enabled'>;
  /** Empty when the bucket has none. */
  tags(bucket: string, signal: AbortSignal): Promise<Readonly<Record<string, string>>>;
  /** Empty when the bucket is not replicated. */
  replicationRules(bucket: string, signal: AbortSignal): Promise<readonly ReplicationRule[]>;
  /**
   * Versions and delete markers of every key under the prefix, all pages. Within a key the latest is first; versions
   * among themselves are newest first, and so are delete markers.
   */
  versions(bucket: string, prefix: string, signal: AbortSignal): Promise<readonly ObjectVersion[]>;
  /** Deletes what a key holds now. The id of the delete marker that hides it; `undefined` when there is none. */
  deleteObject(bucket: string, key: string, signal: AbortSignal): Promise<string | undefined>;
  /** Takes one version, or one delete marker, away for good. One that is gone counts as taken away. */
  deleteVersion(bucket: string, key: string, versionId: string, signal: AbortSignal): Promise<void>;
}

export interface CachePort {
  /** Address of the node that took a write just now; `undefined` when none did. */
  takesWrites(signal: AbortSignal): Promise<string | undefined>;
  close(): void;
}

/** An alert that reaches somebody: neither silenced nor inhibited. */
export interface Alert {
  /** Of its labels: two alerts with the same fingerprint are one, at one time or at two. */
  readonly fingerprint: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly description: string;
  readonly receivers: readonly string[];
  /** When it began, by the wall clock of whoever evaluates the rules. */
  readonly startsAt: string;
}

export interface AlertsPort {
  /** What fires now. Throws UNREACHABLE when that cannot be known: silence is never taken for "no alert". */
  firing(signal: AbortSignal): Promise<readonly Alert[]>;
  close(): void;
}

export interface VectorItem {
  readonly id: string;
  readonly vector: readonly number[];
  readonly text: string;
}

/** How a copy follows its source. Durations are real milliseconds, instants this machine's monotonic clock. */
export interface VectorSync {
  readonly periodMs: number;
  /** From a sync's start, whose state it carries, to its end, when that state is to be seen. */
  readonly durationMs: number;
  readonly fullPeriodMs: number;
  /** When the sync under way began. */
  readonly runningSinceMs: number | null;
  readonly nextDueMs: number;
  readonly nextFullDueMs: number;
  /** Who paused them; null while they go on. */
  readonly pausedBy: string | null;
  /** What kind the last one was that succeeded or failed; null before the first. */
  readonly last: { readonly kind: 'delta' | 'full'; readonly failed: boolean } | null;
  /** When the state of the source was taken that the copy shows, and what the source held then. */
  readonly shown: { readonly takenMs: number; readonly digest: string };
}

export interface VectorStatus {
  readonly role: 'source' | 'replica' | 'alone';
  readonly state: 'serving' | 'lost' | 'rebuilding';
  readonly count: number;
  /** The same for the same ids, vectors and texts; null while there is no index. */
  readonly digest: string | null;
  /** Who had the index lost; null while it is there. */
  readonly lostBy: string | null;
  /** Of a copy. */
  readonly sync: VectorSync | null;
  /** When the state was taken that the newest snapshot holds; null when there is none. */
  readonly snapshotTakenMs: number | null;
  /** The last rebuild of a lost index, and when the state it loaded was taken. */
  readonly rebuild: {
    readonly from: 'snapshot' | 'source';
    readonly takenMs: number | null;
    readonly finished: boolean;
    readonly error: string | null;
  } | null;
}

/** A region's vector store, by its own API. */
export interface VectorPort {
  status(signal: AbortSignal): Promise<VectorStatus>;
  /** Ids with a prefix, in order, after one of them; `next` is absent on the last page. */
  list(
    prefix: string,
    after: string,
    limit: number,
    signal: AbortSignal,
  ): Promise<{ readonly ids: readonly string[]; readonly next?: string | undefined }>;
  /** `undefined` when there is none. */
  get(id: string, signal: AbortSignal): Promise<VectorItem | undefined>;
  /** Ids of the nearest, best first. */
  query(vector: readonly number[], limit: number, signal: AbortSignal): Promise<readonly string[]>;
  /** Writes to the store itself, a copy too, past its syncs. */
  overwrite(items: readonly VectorItem[], signal: AbortSignal): Promise<void>;
  /** Deletes at the store itself, a copy too. What is not there counts as deleted. */
  remove(ids: readonly string[], signal: AbortSignal): Promise<void>;
  /** Loses the index; the store rebuilds it by itself after `expiresMs` of real time. */
  lose(owner: string, expiresMs: number, signal: AbortSignal): Promise<void>;
  /** Begins to rebuild a lost index. */
  rebuild(from: 'snapshot' | 'source', signal: AbortSignal): Promise<void>;
  /** Of a copy: no sync starts until it is resumed, or `forMs` of real time have passed; one under way is cut. */
  pauseSync(owner: string, forMs: number, signal: AbortSignal): Promise<void>;
  resumeSync(signal: AbortSignal): Promise<void>;
}

export interface Ports {
  kubernetes(context: string): KubernetesPort;
  fis(region: string): FisPort;
  ec2(region: string): Ec2Port;
  rds(region: string): RdsPort;
  route53(): Route53Port;
  s3(region: string): S3Port;
  /** A new watch of the cache's nodes; null where there is no cache. */
  cache(): CachePort | null;
  /** A new watch of the alerts; null where no Alertmanager is named. */
  alerts(): AlertsPort | null;
  /** A region's vector store; null where nobody says where it is. */
  vectors(region: string): VectorPort | null;
}
