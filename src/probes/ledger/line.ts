import { z } from 'zod';

/*
 * What a ledger keeps of every write and every read, one NDJSON line each in `ledgers/<stream>.ndjson`. All instants
 * are milliseconds of this machine's monotonic clock: no other clock is compared.
 */

/** Written before the first byte of the write is sent, so that no attempt is unknown, whatever ends the process. */
const invokeSchema = z.strictObject({
  kind: z.literal('invoke'),
  seq: z.int().nonnegative(),
  atMs: z.number(),
});

/** An invoke without it is a write whose process ended: `info`. */
const endSchema = z.strictObject({
  kind: z.literal('end'),
  seq: z.int().nonnegative(),
  atMs: z.number(),
  /** `ok`: acknowledged. `fail`: certainly not carried out. `info`: nobody can know, such as a time-out. */
  out: z.enum(['ok', 'fail', 'info']),
  /** `ok`, an SQLSTATE, an HTTP status, `timeout`, `refused`, `reset`… */
  code: z.string(),
  /** Acknowledged, but not as durably as promised. */
  weak: z.literal(true).optional(),
  /** Who acknowledged: `system identifier:timeline:server:start time`, or what stands for it in the store. */
  epoch: z.string().optional(),
  /** The server that answered or refused. */
  by: z.string().optional(),
  /** Where the store put it: an LSN, a version, a request id. */
  position: z.string().optional(),
});

/** `0-99,101`: numbers in ascending order, runs joined. */
const rangesSchema = z.string().regex(/^(\d+(-\d+)?(,\d+(-\d+)?)*)?$/);

const readSchema = z.strictObject({
  kind: z.literal('read'),
  /** The copy that was read; null is the authority, wherever the store's own name leads. */
  copy: z.string().nullable(),
  /** A read after everything has settled; others are looks while the ledger is written. */
  final: z.boolean(),
  startMs: z.number(),
  endMs: z.number(),
  /** `ok`, or why nothing was read. */
  code: z.string(),
  node: z.string().optional(),
  epoch: z.string().optional(),
  /** Numbers below were not asked for: this read says nothing of them. */
  since: z.int().nonnegative(),
  seen: rangesSchema,
  /** Numbers that are there more than once, and how often. */
  repeated: z.record(z.string(), z.int().min(2)).optional(),
  /** What is there under this ledger's name and was never written by it, as found. */
  foreign: z.array(z.string()).optional(),
});

export const ledgerLineSchema = z.discriminatedUnion('kind', [invokeSchema, endSchema, readSchema]);
export type LedgerLine = z.output<typeof ledgerLineSchema>;
export type LedgerInvoke = z.output<typeof invokeSchema>;
export type LedgerEnd = z.output<typeof endSchema>;
export type LedgerRead = z.output<typeof readSchema>;

/** The file of a stream's ledger inside the run's folder. */
export const ledgerFileName = (stream: string): string => `${stream.replaceAll('/', '~')}.ndjson`;
export const streamOfLedgerFile = (name: string): string => name.replace(/\.ndjson$/, '').replaceAll('~', '/');
