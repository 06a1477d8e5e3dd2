import type { Bracket } from '../record.ts';
import { bracketOf } from '../span.ts';
import { type Epoch, epochsOf } from './epochs.ts';
import type { History, Read, Write } from './history.ts';
import { isRefusal } from './recovery.ts';

/** The evidence ladder of a split brain, over all ledgers of a store on one clock. */
export interface SplitBrain {
  readonly epochs: readonly Epoch[];
  /** E0: two servers answered as primaries, again and again, at the same time. A hint, not a proof. */
  readonly dualRoleMs: number;
  /** E1: acknowledged by an old epoch although sent after a newer one had acknowledged. A proof. */
  readonly dualAcknowledged: readonly Write[];
  /** How long both acknowledged; null when they did not. */
  readonly overlap: Bracket | null;
  /** E2: of those, not there in the end: the data diverged. */
  readonly divergent: readonly Write[];
}

/** Runs of two and more looks in a row that one epoch answered as a primary. */
const rolesOf = (reads: readonly Read[]): ReadonlyMap<string, readonly { fromMs: number; toMs: number }[]> => {
  const runs = new Map<string, { fromMs: number; toMs: number; looks: number }[]>();
  const lastOf = new Map<string, string | undefined>();
  for (const { copy, epoch, startMs, endMs, code } of reads) {
    if (code !== 'ok') continue;
    const place = copy ?? '';
    const own = runs.get(epoch ?? '') ?? [];
    const open = own.at(-1);
    if (epoch !== undefined) {
      if (open !== undefined && lastOf.get(place) === epoch) {
        open.toMs = endMs;
        open.looks += 1;
      } else own.push({ fromMs: startMs, toMs: endMs, looks: 1 });
      runs.set(epoch, own);
    }
    lastOf.set(place, epoch);
  }
  return new Map([...runs].map(([epoch, own]) => [epoch, own.filter(({ looks }) => looks > 1)]));
};

const longestOverlapMs = (roles: ReturnType<typeof rolesOf>): number => {
  let longest = 0;
  const all = [...roles];
  for (const [index, [, own]] of all.entries()) {
    for (const [, others] of all.slice(index + 1)) {
      for (const one of own) {
        for (const other of others) {
          longest = Math.max(longest, Math.min(one.toMs, other.toMs) - Math.max(one.fromMs, other.fromMs));
        }
      }
    }
  }
  return longest;
};

/** Longest time that an epoch acknowledged beside all its successors. */
const overlapOf = (epochs: readonly Epoch[]): Bracket | null => {
  let longest: Bracket | null = null;
  for (const [index, old] of epochs.entries()) {
    for (const next of epochs.slice(index + 1)) {
      if (old.lastInvokedMs <= next.firstAckMs) continue;
      const minMs = old.lastInvokedMs - next.firstAckMs;
      const maxMs = old.lastAckMs - Math.min(...next.writes.map(({ invokedMs }) => invokedMs));
      const bracket = bracketOf((minMs + maxMs) / 2, minMs, maxMs);
      if (longest === null || bracket.estimateMs > longest.estimateMs) longest = bracket;
    }
  }
  return longest;
};

export const splitBrainOf = (histories: readonly History[], lost: ReadonlySet<string>): SplitBrain => {
  const epochs = epochsOf(histories.flatMap(({ writes }) => writes));
  const dualAcknowledged = epochs.flatMap((old, index) => {
    const newerMs = Math.min(...epochs.slice(index + 1).map(({ firstAckMs }) => firstAckMs));
    return old.writes.filter(({ invokedMs }) => invokedMs > newerMs);
  });
  const reads = histories.flatMap((history) => history.reads).toSorted((a, b) => a.startMs - b.startMs);
  return {
    epochs,
    dualRoleMs: longestOverlapMs(rolesOf(reads)),
    dualAcknowledged,
    overlap: overlapOf(epochs),
    divergent: dualAcknowledged.filter(({ id }) => lost.has(id)),
  };
};

/** What was heard from a server that must not take writes, while it was tried again and again. */
export interface Fence {
  readonly attempts: number;
  readonly refused: ReadonlyMap<string, number>;
  /** Neither refused nor acknowledged. */
  readonly unanswered: number;
  readonly acknowledged: number;
  /** End of the first refusal. */
  readonly firstRefusedMs: number | undefined;
  /** Longest stretch within the asked-for time in which nothing was heard to refuse. */
  readonly longestUnheardMs: number;
}

/**
 * Writes tried at these servers between two instants. From `shutMs` on their own control plane says that they are shut:
 * a write that certainly failed there is a refusal then, whatever the network made of it.
 */
export const fenceOf = (
  writes: readonly Write[],
  servers: ReadonlySet<string>,
  fromMs: number,
  toMs: number,
  shutMs = Number.POSITIVE_INFINITY,
): Fence => {
  const tried = writes
    .filter(({ by, invokedMs }) => by !== undefined && servers.has(by) && invokedMs >= fromMs && invokedMs < toMs)
    .toSorted((a, b) => a.invokedMs - b.invokedMs);
  const refused = new Map<string, number>();
  let heardMs = fromMs;
  let longestUnheardMs = 0;
  let firstRefusedMs: number | undefined;
  for (const write of tried) {
    const isShut = write.out === 'fail' && write.invokedMs >= shutMs;
    if (!isRefusal(write) && !isShut) continue;
    refused.set(write.code, (refused.get(write.code) ?? 0) + 1);
    firstRefusedMs ??= write.endedMs;
    longestUnheardMs = Math.max(longestUnheardMs, write.invokedMs - heardMs);
    heardMs = Math.max(heardMs, write.invokedMs);
  }
  const refusedCount = [...refused.values()].reduce((total, count) => total + count, 0);
  const acknowledged = tried.filter(({ out }) => out === 'ok').length;
  return {
    attempts: tried.length,
    refused,
    unanswered: tried.length - refusedCount - acknowledged,
    acknowledged,
    firstRefusedMs,
    longestUnheardMs: Math.max(longestUnheardMs, toMs - heardMs),
  };
};
