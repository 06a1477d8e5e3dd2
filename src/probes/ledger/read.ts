import type { Clock } from '../../core/clock.ts';
import { toRanges } from '../../core/ranges.ts';
import type { LedgerRead } from './line.ts';
import { type LedgerSession, UnreadableError } from './store.ts';

/** Instants are written to the microsecond. */
export const roundMs = (ms: number): number => Math.round(ms * 1000) / 1000;

interface ReadOptions {
  readonly session: LedgerSession;
  readonly copy: string | null;
  readonly since: number;
  readonly final: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const repeatedOf = (seqs: readonly number[]): Record<string, number> => {
  const counts = new Map<number, number>();
  for (const seq of seqs) counts.set(seq, (counts.get(seq) ?? 0) + 1);
  return Object.fromEntries([...counts].filter(([, count]) => count > 1).map(([seq, count]) => [`${seq}`, count]));
};

/** One read as the ledger's file keeps it. A store that cannot be read is a line too, with its reason. */
export const readLine = async (options: ReadOptions): Promise<{ line: LedgerRead; seqs: readonly number[] }> => {
  const { session, copy, since, final, clock, signal } = options;
  const startMs = roundMs(clock.monotonicMs());
  const common = { kind: 'read' as const, copy, final, since, startMs };
  try {
    const { seqs, node, epoch, foreign = [] } = await session.read(copy, since, signal);
    const repeated = repeatedOf(seqs);
    const line: LedgerRead = {
      ...common,
      endMs: roundMs(clock.monotonicMs()),
      code: 'ok',
      ...(node === undefined ? {} : { node }),
      ...(epoch === undefined ? {} : { epoch }),
      seen: toRanges(seqs),
      ...(Object.keys(repeated).length === 0 ? {} : { repeated }),
      ...(foreign.length === 0 ? {} : { foreign: [...foreign] }),
    };
    return { line, seqs };
  } catch (error) {
    if (!(error instanceof UnreadableError) && !signal.aborted) throw error;
    const code = error instanceof UnreadableError ? error.code : 'timeout';
    return { line: { ...common, endMs: roundMs(clock.monotonicMs()), code, seen: '' }, seqs: [] };
  }
};
