import { z } from 'zod';
import type { Clock } from '../core/clock.ts';
import type { LedgerSession } from './ledger/store.ts';
import type { Names } from './names.ts';
import type { Sample, Stream } from './sample.ts';

const perRegionNames = z.record(z.string(), z.string()).optional();

/** The platform as a probe needs to know it; names only, so that it fits every environment. */
export const probedServiceSchema = z.object({
  host: z.string(),
  databaseHost: z.string(),
  databaseName: z.string(),
  objectsHost: z.string().optional(),
  model: z.string(),
  regions: z.array(z.object({ name: z.string(), role: z.string() })).optional(),
  /** DNS name of each region's own database instance, by the region's name and as `primary` and `failover`. */
  databaseInstances: perRegionNames,
  /** DNS name of each region's object store, likewise; SRV `_http._tcp.<name>`. */
  objectsHosts: perRegionNames,
  /** DNS name of each region's vector store, likewise; SRV `_http._tcp.<name>`. */
  vectorStores: perRegionNames,
  /** The database of critical data; absent where the platform has none. */
  billing: z.object({ host: z.string(), databaseName: z.string() }).optional(),
  /** `host:port` of each node of the cache; none where there is no cache. */
  cacheNodes: z.array(z.string()).optional(),
});
export type ProbedService = z.output<typeof probedServiceSchema>;

/** What a probe is opened with: one session per stream, living as long as the sender. */
export interface ProbeContext {
  readonly runId: string;
  readonly stream: Stream;
  /** Null when only URLs are observed. */
  readonly service: ProbedService | null;
  /** Where the database password is read from, when the probe opens; never the password itself. */
  readonly database: { readonly user: string; readonly passwordFile: string } | null;
  /** A shared credentials file for requests that are signed; the AWS SDK's own chain when there is none. */
  readonly awsCredentialsFile?: string | null;
  /** Where a ledger keeps its attempts; nowhere when absent. */
  readonly ledgerFile?: string | undefined;
  /** The location's own resolution: every time anew for a fresh stream, as long as the TTL allows for a kept one. */
  readonly names: Names;
  readonly clock: Clock;
}

type Seen = {
  -readonly [Key in 'firstByteMs' | 'address' | 'region' | 'zone' | 'pod' | 'epoch' | 'answer' | 'attempts']?: Exclude<
    Sample[Key],
    undefined
  >;
};

/** One probe under way. */
export interface Attempt {
  readonly index: number;
  /** Actual send. */
  readonly sentMs: number;
  /** Aborts at the probe's time-out: whatever is still open is destroyed then. */
  readonly signal: AbortSignal;
  /** Filled in as facts become known, so that a probe that times out still says whom it asked. */
  readonly seen: Seen & {
    /** What a time-out at this stage is called; `timeout` when not set. */
    timeoutCode?: string;
  };
}

/** What one probe saw. The sender adds the stream, the schedule, and whether good was good in time. */
export interface Look {
  /** `ok`, or why it is bad. */
  readonly code: string;
  /** When the answer was complete, or the error known; the sender's own stamp if absent. */
  readonly endedMs?: number;
  /** The instant that the latency limit judges; `endedMs` if absent. */
  readonly answeredMs?: number;
  /** The probe could not look, through no fault of the target: it counts as not sent. */
  readonly unsent?: boolean;
}

export interface ProbeSession {
  /** Looks once. Never retries quietly, never throws for what the target did. */
  look(attempt: Attempt): Promise<Look>;
  /** Frees what the session holds; bounded by the signal. */
  close(signal: AbortSignal): Promise<void>;
}

/** One way of looking from outside. */
export interface ProbeDefinition<Params extends z.ZodType> {
  readonly name: string;
  readonly summary: string;
  readonly params: Params;
  /** Whether a stream must hold the baseline and recover when the experiment does not say. */
  readonly required: boolean;
  readonly defaults: { readonly everyMs: number; readonly timeoutMs: number };
  /** Why it has nothing to look at on this platform: its streams are left out then, and the run says so. */
  absent?(service: ProbedService): string | undefined;
  open(params: z.output<Params>, context: ProbeContext): Promise<ProbeSession>;
  /** Of a ledger: opens the store that it writes to, to read back what is there and to take it away. */
  openLedger?(params: z.output<Params>, context: ProbeContext): Promise<LedgerSession>;
}

/** A probe with its types closed over: parameters are parsed at its edge. */
export type Probe = ProbeDefinition<z.ZodType>;

export const defineProbe = <Params extends z.ZodType>(probe: ProbeDefinition<Params>): Probe => ({
  ...probe,
  open: (params, context) => probe.open(probe.params.parse(params), context),
});
