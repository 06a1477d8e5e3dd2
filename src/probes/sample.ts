import { z } from 'zod';

/**
 * What one probe saw, one NDJSON line in `samples/<sender>.ndjson`. All instants are milliseconds of the machine's
 * monotonic clock (`Clock.monotonicMs`); the wall-clock label of a run's origin is in its journal.
 */
export const sampleSchema = z.strictObject({
  /** Probe name in the experiment file, location and cohort: `chat/us-west/fresh`. */
  stream: z.string(),
  index: z.int().nonnegative(),
  /** On the fixed grid. */
  scheduledMs: z.number(),
  /** Actual send; equals `scheduledMs` for a dropped probe. */
  sentMs: z.number(),
  /** Response complete, error, or time-out. */
  endedMs: z.number(),
  /** `slow`: it succeeded but over its latency limit. `dropped`: the instrument failed to send. */
  outcome: z.enum(['good', 'slow', 'bad', 'dropped']),
  /** `ok`, an HTTP status, `timeout`, `refused`, `reset`, `truncated`, `dns`, `wrong-content`, an SQLSTATE… */
  code: z.string(),
  /** First token or first byte: an instant, as the others. */
  firstByteMs: z.number().optional(),
  /** Address that was used, `host:port`. */
  address: z.string().optional(),
  region: z.string().optional(),
  /** Of the pod that answered; for a DNS probe every zone of the answer in its order, separated by commas. */
  zone: z.string().optional(),
  pod: z.string().optional(),
  /** `system identifier:timeline:server:start time` of the database that acknowledged a write. */
  epoch: z.string().optional(),
  /** DNS probes: the answer in canonical text, such as `us-west-2`. */
  answer: z.string().optional(),
  /** Attempts made by a probe that models a retrying client; 1 for every other. */
  attempts: z.int().positive().optional(),
});
export type Sample = z.output<typeof sampleSchema>;

/** How one stream is sampled; fixed before the run and recorded in the journal. */
export const streamSchema = z.strictObject({
  stream: z.string(),
  /** Name in the experiment file. */
  name: z.string(),
  /** Registered probe kind: chat, health, dns, postgres-ledger, objects, objects-ledger, tcp, http. */
  probe: z.string(),
  location: z.string(),
  /** The process that sends it: the location's name, or that with what it does. It alone knows when it was blind. */
  sender: z.string(),
  connection: z.enum(['fresh', 'kept']),
  everyMs: z.number().positive(),
  timeoutMs: z.number().positive(),
  /** θ: an answer later than this is `slow`. */
  slowAfterMs: z.number().positive(),
  /** Required streams must hold the baseline and recover; others are reported only. */
  required: z.boolean(),
});
export type Stream = z.output<typeof streamSchema>;

/** What the sender process says of itself, one NDJSON line a second in `instrument/<sender>.ndjson`. */
export const instrumentSchema = z.strictObject({
  sender: z.string(),
  atMs: z.number(),
  sendLagP99Ms: z.number(),
  sendLagMaxMs: z.number(),
  eventLoopDelayMaxMs: z.number(),
  eventLoopUtilization: z.number(),
  cpuCores: z.number(),
  dropped: z.int(),
  inFlightMax: z.int(),
  /** |Δ wall clock − Δ monotonic| over the last second. */
  clockStepMs: z.number(),
  /** Control stream (same engine, local null target): probes sent and bad in this second. */
  controlSent: z.int(),
  controlBad: z.int(),
});
export type InstrumentRecord = z.output<typeof instrumentSchema>;

/** When the sender could not see, by its event-loop monitor and its control stream: `blind/<sender>.ndjson`. */
export const blindSchema = z.strictObject({
  sender: z.string(),
  fromMs: z.number(),
  toMs: z.number(),
  cause: z.string(),
});
export type Blind = z.output<typeof blindSchema>;
