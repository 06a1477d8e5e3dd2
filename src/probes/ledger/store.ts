import type { z } from 'zod';
import type { Attempt, ProbeContext, ProbedService } from '../probe.ts';
import type { LedgerEnd } from './line.ts';

/** What became of one write. When unsure it is `info`: that can weaken a verdict, never falsify it. */
export interface Written extends Pick<LedgerEnd, 'out' | 'code' | 'weak' | 'epoch' | 'by' | 'position'> {
  /** When the answer was complete, or the error known; the ledger's own stamp if absent. */
  readonly endedMs?: number;
  /** The ledger could not write through no fault of the store: it counts as not sent. */
  readonly unsent?: boolean;
}

/** What one read found. */
export interface Found {
  /** Who answered. */
  readonly node?: string;
  readonly epoch?: string;
  /** Every number ≥ `since` that is there; one that is there twice stands twice. */
  readonly seqs: readonly number[];
  /** Keys under this ledger's name that no write of it can have made. */
  readonly foreign?: readonly string[];
}

/** Why a read found nothing out: not an empty store, an unreadable one. */
export class UnreadableError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UnreadableError';
    this.code = code;
  }
}

/** One ledger in one store: a stream's name is its namespace there, a number its record. */
export interface LedgerSession {
  /**
   * Writes record `attempt.index` once, self-identifying (run, stream, number). Never retries, never throws for what
   * the store did; ends at the signal of the attempt as `info`.
   */
  write(attempt: Attempt): Promise<Written>;
  /**
   * Reads this ledger's records, numbers ≥ `since`: at the authority (`copy` null), or at a region's copy. Throws
   * UnreadableError when it cannot be read.
   */
  read(copy: string | null, since: number, signal: AbortSignal): Promise<Found>;
  /** Takes this ledger's records away. */
  remove(signal: AbortSignal): Promise<void>;
  /** Frees what the session holds. */
  close(signal: AbortSignal): Promise<void>;
}

/** One store whose acknowledged writes are counted: one file, and a line in the registry of probes. */
export interface LedgerStore<Params extends z.ZodObject> {
  /** Name as a probe: `postgres-ledger`. */
  readonly name: string;
  readonly summary: string;
  /** The store's own parameters; those that all ledgers have are added by `defineLedger`. */
  readonly params: Params;
  readonly defaults: { readonly everyMs: number; readonly timeoutMs: number };
  /** Why a platform has no such store, where it may do without; absent for a store that every platform has. */
  absent?(service: ProbedService): string | undefined;
  open(params: z.output<Params>, context: ProbeContext): Promise<LedgerSession>;
}
