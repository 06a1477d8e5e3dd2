import { z } from 'zod';
import { type Blind, type InstrumentRecord, type Sample, streamSchema } from './sample.ts';

/** A stream and the parameters of its probe, as the experiment file gives them. */
export const probedStreamSchema = z.strictObject({
  ...streamSchema.shape,
  params: z.record(z.string(), z.unknown()).default({}),
});
export type ProbedStream = z.input<typeof probedStreamSchema>;

/** Everything one sender process needs; free of secrets. */
export const senderConfigSchema = z.strictObject({
  runId: z.string(),
  seed: z.number(),
  /** Its name: the location's, or that with what it does. */
  sender: z.string(),
  /** `host:port` of the location's DNS resolver; null is the machine's own. */
  resolver: z.string().nullable(),
  service: z
    .strictObject({
      host: z.string(),
      databaseHost: z.string(),
      databaseName: z.string(),
      objectsHost: z.string().optional(),
      model: z.string(),
      regions: z.array(z.strictObject({ name: z.string(), role: z.string() })).optional(),
      databaseInstances: z.record(z.string(), z.string()).optional(),
      billing: z.strictObject({ host: z.string(), databaseName: z.string() }).optional(),
      objectsHosts: z.record(z.string(), z.string()).optional(),
    })
    .nullable(),
  database: z.strictObject({ user: z.string(), passwordFile: z.string() }).nullable(),
  awsCredentialsFile: z.string().nullable().optional(),
  streams: z.array(probedStreamSchema),
  /** Port of the null target that the control stream looks at. */
  nullTargetPort: z.int(),
  samplesFile: z.string(),
  instrumentFile: z.string(),
  blindFile: z.string(),
  /** Where the attempts of this process's ledgers are kept, one file per stream. */
  ledgersFolder: z.string(),
});
export type SenderConfig = z.output<typeof senderConfigSchema>;

/** From the parent. */
export const toSenderSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('open'), config: senderConfigSchema }),
  /** An instant of the machine's monotonic clock, common to all senders of a run. */
  z.strictObject({ kind: z.literal('start'), startMs: z.number() }),
  z.strictObject({ kind: z.literal('stop') }),
]);
export type ToSender = z.input<typeof toSenderSchema>;

/** How a stream stands, for progress: counted as outcomes come in, not in send order. */
export interface StreamCounts {
  readonly good: number;
  readonly slow: number;
  readonly bad: number;
  readonly dropped: number;
  /** Good outcomes since the last one that was not. */
  readonly goodInARow: number;
  readonly last: Pick<Sample, 'outcome' | 'code' | 'region' | 'zone' | 'answer' | 'sentMs'> | null;
}

/** From the sender. */
export type FromSender =
  | { readonly kind: 'alive' }
  | { readonly kind: 'opened' }
  | {
      readonly kind: 'progress';
      readonly samples: readonly Sample[];
      readonly counts: Readonly<Record<string, StreamCounts>>;
      readonly blind: readonly Blind[];
      readonly instrument: InstrumentRecord | null;
    }
  | { readonly kind: 'trouble'; readonly stream: string; readonly message: string }
  | { readonly kind: 'failed'; readonly code: string | null; readonly message: string; readonly hint: string }
  | { readonly kind: 'stopped' };
