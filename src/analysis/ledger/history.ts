import { fromRanges } from '../../core/ranges.ts';
import type { LedgerEnd, LedgerLine } from '../../probes/ledger/line.ts';

/** One attempted write. */
export interface Write {
  /** Of all ledgers of a store: `<stream>#<number>`. */
  readonly id: string;
  readonly stream: string;
  readonly seq: number;
  /** Sent; before its first byte. */
  readonly invokedMs: number;
  /** Answered or given up; infinite when its process ended first. */
  readonly endedMs: number;
  readonly out: LedgerEnd['out'];
  readonly code: string;
  readonly weak: boolean;
  readonly epoch: string | undefined;
  readonly by: string | undefined;
}

/** One read of the authority (`copy` null) or of a region's copy. */
export interface Read {
  readonly stream: string;
  readonly copy: string | null;
  readonly final: boolean;
  readonly startMs: number;
  readonly endMs: number;
  /** `ok`, or why nothing was read. */
  readonly code: string;
  readonly node: string | undefined;
  readonly epoch: string | undefined;
  /** Numbers below were not asked for. */
  readonly since: number;
  readonly seen: ReadonlySet<number>;
  readonly repeated: ReadonlyMap<number, number>;
  readonly foreign: readonly string[];
}

/** What one ledger attempted and what was read of it. */
export interface History {
  readonly stream: string;
  /** In order of their numbers, which is the order of their sending. */
  readonly writes: readonly Write[];
  /** In order of their beginning. */
  readonly reads: readonly Read[];
}

export const idOf = (stream: string, seq: number): string => `${stream}#${seq}`;

/** The history that a ledger's file tells. An attempt without an end is `info`: its process was killed. */
export const historyOf = (stream: string, lines: readonly LedgerLine[]): History => {
  const ends = new Map<number, LedgerEnd>();
  for (const line of lines) if (line.kind === 'end') ends.set(line.seq, line);
  const writes = lines.flatMap((line): Write[] => {
    if (line.kind !== 'invoke') return [];
    const end = ends.get(line.seq);
    return [
      {
        id: idOf(stream, line.seq),
        stream,
        seq: line.seq,
        invokedMs: line.atMs,
        endedMs: end?.atMs ?? Number.POSITIVE_INFINITY,
        out: end?.out ?? 'info',
        code: end?.code ?? 'process-ended',
        weak: end?.weak === true,
        epoch: end?.epoch,
        by: end?.by,
      },
    ];
  });
  const reads = lines.flatMap((line): Read[] =>
    line.kind !== 'read'
      ? []
      : [
          {
            stream,
            copy: line.copy,
            final: line.final,
            startMs: line.startMs,
            endMs: line.endMs,
            code: line.code,
            node: line.node,
            epoch: line.epoch,
            since: line.since,
            seen: fromRanges(line.seen),
            repeated: new Map(Object.entries(line.repeated ?? {}).map(([seq, count]) => [Number(seq), count])),
            foreign: line.foreign ?? [],
          },
        ],
  );
  return {
    stream,
    writes: writes.toSorted((a, b) => a.seq - b.seq),
    reads: reads.toSorted((a, b) => a.startMs - b.startMs),
  };
};
