import { type History, idOf, type Read, type Write } from './history.ts';

/**
 * What became of every write, after Jepsen's `set-full` checker: an element is lost only when a read that began after
 * its acknowledgement did not find it. All sets hold write ids.
 */
export interface Sets {
  /** Acknowledged, and not there. */
  readonly lost: ReadonlySet<string>;
  /** Those of the lost whose acknowledgement was weaker than promised. */
  readonly lostWeak: ReadonlySet<string>;
  /** Nobody could tell, and there. */
  readonly recovered: ReadonlySet<string>;
  /** Nobody could tell, and not there. */
  readonly indeterminate: ReadonlySet<string>;
  /** Certainly refused, and there nevertheless: the engine, or the mapping of its errors, is broken. */
  readonly resurrected: ReadonlySet<string>;
  /** There, and never attempted. */
  readonly phantom: ReadonlySet<string>;
  /** There more than once. */
  readonly duplicate: ReadonlySet<string>;
  /** Acknowledged, missed by a read that began later, and there in the end. */
  readonly stale: ReadonlySet<string>;
  /** Acknowledged, not there, and no final read began after its acknowledgement. */
  readonly neverRead: ReadonlySet<string>;
  /** Nobody could tell, seen by some read, and gone in the end. */
  readonly vanished: ReadonlySet<string>;
}

const sameNumbers = (one: ReadonlySet<number>, other: ReadonlySet<number>): boolean =>
  one.size === other.size && [...one].every((seq) => other.has(seq));

const sameCounts = (one: ReadonlyMap<number, number>, other: ReadonlyMap<number, number>): boolean =>
  one.size === other.size && [...one].every(([seq, count]) => other.get(seq) === count);

/** The last of two final reads in a row that agree, or why there is none. */
export const finalRead = ({ reads }: History): Read | { readonly missing: string } => {
  const finals = reads.filter((read) => read.final && read.copy === null);
  const readable = finals.filter(({ code }) => code === 'ok');
  if (finals.length === 0) return { missing: 'what is there in the end was not read' };
  const [before, last] = readable.slice(-2);
  if (before === undefined) return { missing: `what is there in the end could not be read (${finals.at(-1)?.code})` };
  if (last === undefined) return { missing: 'what is there in the end was read only once' };
  const agree =
    finals.at(-1) === last && sameNumbers(before.seen, last.seen) && sameCounts(before.repeated, last.repeated);
  return agree ? last : { missing: 'two reads in the end did not agree: the store was not at rest' };
};

export const isRead = (found: Read | { readonly missing: string }): found is Read => !('missing' in found);

/** Index of the first write with this number or a later one. */
const firstFrom = (writes: readonly Write[], seq: number): number => {
  let low = 0;
  for (let high = writes.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if ((writes[middle]?.seq ?? 0) < seq) low = middle + 1;
    else high = middle;
  }
  return low;
};

const never = { id: '', seq: -1, invokedMs: Number.POSITIVE_INFINITY, endedMs: Number.POSITIVE_INFINITY };

/**
 * Classifies every write of one ledger against its final read. `last` may be another full read that counts as the end,
 * such as the one of a copy that takes over.
 */
export const checkLedger = ({ stream, writes, reads }: History, last: Read): Sets => {
  const there = last.seen;
  const lost = new Set<string>();
  const lostWeak = new Set<string>();
  const recovered = new Set<string>();
  const indeterminate = new Set<string>();
  const resurrected = new Set<string>();
  const stale = new Set<string>();
  const neverRead = new Set<string>();
  const vanished = new Set<string>();

  const seenOnce = new Set<number>();
  for (const read of reads) if (read.code === 'ok') for (const seq of read.seen) seenOnce.add(seq);

  for (const { id, seq, out, endedMs, weak } of writes) {
    const isThere = there.has(seq);
    if (out === 'ok' && !isThere) {
      // A read under way at the acknowledgement may rightly have missed it: concurrent absence is not loss.
      const target = last.startMs > endedMs ? lost : neverRead;
      target.add(id);
      if (target === lost && weak) lostWeak.add(id);
    }
    if (out === 'info') (isThere ? recovered : indeterminate).add(id);
    if (out === 'info' && !isThere && seenOnce.has(seq)) vanished.add(id);
    if (out === 'fail' && isThere) resurrected.add(id);
  }

  const acknowledged = writes.filter(({ out, seq }) => out === 'ok' && there.has(seq));
  for (const read of reads) {
    if (read.code !== 'ok' || read === last) continue;
    for (let index = firstFrom(acknowledged, read.since); index < acknowledged.length; index += 1) {
      const { id, seq, invokedMs, endedMs } = acknowledged[index] ?? never;
      if (invokedMs >= read.startMs) break;
      if (endedMs < read.startMs && !read.seen.has(seq)) stale.add(id);
    }
  }

  const attempted = new Set(writes.map(({ seq }) => seq));
  const phantom = new Set([...there].filter((seq) => !attempted.has(seq)).map((seq) => idOf(stream, seq)));
  for (const key of last.foreign) phantom.add(`${stream}#${key}`);
  const duplicate = new Set([...last.repeated].filter(([, count]) => count > 1).map(([seq]) => idOf(stream, seq)));

  return {
    lost,
    lostWeak,
    recovered,
    indeterminate,
    resurrected,
    phantom,
    duplicate,
    stale,
    neverRead,
    vanished,
  };
};

/**
 * Acknowledged by an epoch after something of that epoch was lost, and there: what was lost is no mere tail. Over all
 * ledgers of a store, because they share its log.
 */
export const holesOf = (writes: readonly Write[], sets: Pick<Sets, 'lost' | 'neverRead'>): ReadonlySet<string> => {
  const firstLost = new Map<string, number>();
  for (const { id, epoch = '', endedMs } of writes) {
    if (sets.lost.has(id)) firstLost.set(epoch, Math.min(firstLost.get(epoch) ?? Number.POSITIVE_INFINITY, endedMs));
  }
  const survived = ({ id, out }: Write): boolean => out === 'ok' && !sets.lost.has(id) && !sets.neverRead.has(id);
  return new Set(
    writes.flatMap((write) =>
      survived(write) && write.invokedMs > (firstLost.get(write.epoch ?? '') ?? Number.POSITIVE_INFINITY)
        ? [write.id]
        : [],
    ),
  );
};

const keys = [
  'lost',
  'lostWeak',
  'recovered',
  'indeterminate',
  'resurrected',
  'phantom',
  'duplicate',
  'stale',
  'neverRead',
  'vanished',
] as const satisfies readonly (keyof Sets)[];

/** The sets of several ledgers of one store. */
export const unionOf = (all: readonly Sets[]): Sets =>
  Object.fromEntries(keys.map((key) => [key, new Set(all.flatMap((sets) => [...sets[key]]))])) as unknown as Sets;
