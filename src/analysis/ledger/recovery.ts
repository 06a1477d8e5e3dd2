import type { Bracket } from '../record.ts';
import { bracketOf, type Span } from '../span.ts';
import type { Sets } from './check.ts';
import type { Epoch } from './epochs.ts';
import type { Write } from './history.ts';

/*
 * How much time of acknowledged data was lost when one authority gave way to another: from the recovery point, up to
 * which everything is there, to the end of the old authority. Both are instants that nobody saw: brackets.
 */

/** What the run knows of the end of an authority, besides the ledger itself. */
export interface Hints {
  /** From then on nobody could reach the old authority: such as a black hole that was verified. */
  readonly cutOffMs?: number | undefined;
  /** It was seen to be shut: stopped, fenced. */
  readonly fencedMs?: number | undefined;
}

export interface AuthorityEnd extends Span {
  /** How its upper end is known. */
  readonly by: 'a refusal' | 'the fence' | 'the fault' | 'nothing';
}

/** What the server says that is no writer any more; a time-out, a reset or a cut socket is none of these. */
const refusals: ReadonlySet<string> = new Set(['refused', '57P03', '25006', 'READONLY']);

export const isRefusal = ({ out, code }: Write): boolean => out === 'fail' && refusals.has(code);

/** t_F: from its last acknowledged write to the first proof that it takes none any more. Unbounded without one. */
export const authorityEnd = (epoch: Epoch, writes: readonly Write[], hints: Hints = {}): AuthorityEnd => {
  const minMs = epoch.lastInvokedMs;
  const served = new Set(epoch.writes.map(({ stream }) => stream));
  let refusedMs = Number.POSITIVE_INFINITY;
  for (const write of writes) {
    const atOld = write.by !== undefined && epoch.servers.has(write.by) && served.has(write.stream);
    if (atOld && isRefusal(write) && write.invokedMs > minMs) refusedMs = Math.min(refusedMs, write.endedMs);
  }
  const proofs: readonly (readonly [AuthorityEnd['by'], number])[] = [
    ['a refusal', refusedMs],
    ['the fence', hints.fencedMs ?? Number.POSITIVE_INFINITY],
    ['the fault', hints.cutOffMs ?? Number.POSITIVE_INFINITY],
  ];
  const [by, maxMs] = proofs.reduce((best, one) => (one[1] < best[1] ? one : best));
  if (maxMs === Number.POSITIVE_INFINITY) return { minMs, maxMs, by: 'nothing' };
  // Whatever was said to have ended it: what it acknowledged later, it acknowledged.
  return { minMs, maxMs: Math.max(maxMs, epoch.lastAckMs), by };
};

/** One authority's reign and what of it did not survive. */
export interface Handover {
  readonly epoch: Epoch;
  readonly lost: readonly Write[];
  readonly survived: number;
  /** False when something survived that was acknowledged after something lost. */
  readonly isPrefix: boolean;
  readonly end: AuthorityEnd;
  /** Up to which everything acknowledged is there; `null` when nothing was lost. */
  readonly recoveryPoint: Span | null;
  /** Real milliseconds of acknowledged data lost. */
  readonly rpo: Bracket;
  /** From the first lost to the last lost: what a look at the rows alone would tell. */
  readonly spanOfLostMs: number;
}

const smallest = (values: readonly number[]): number =>
  values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const greatest = (values: readonly number[]): number =>
  values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);

/**
 * t_RP of an epoch that lost writes. Prefix loss: between the sending of the last that survived, but not after that of
 * the first lost, and the acknowledgement of the first lost; otherwise the first lost commit alone can be placed.
 * `survivors` are those of the epoch, or of the ones before it where it has none: then all of it is lost, and the point
 * lies further back; unbounded when nothing at all survived.
 */
export const recoveryPointOf = (lost: readonly Write[], survivors: readonly Write[], isPrefix: boolean): Span => {
  const firstLostMs = smallest(lost.map(({ invokedMs }) => invokedMs));
  const maxMs = smallest(lost.map(({ endedMs }) => endedMs));
  if (!isPrefix) return { minMs: firstLostMs, maxMs };
  return { minMs: Math.min(greatest(survivors.map(({ invokedMs }) => invokedMs)), firstLostMs), maxMs };
};

/** What no read could tell of may be lost as well: the upper end allows for it, the lower one does not. */
const allowingFor = (rpo: Bracket, unread: readonly Write[], end: Span): Bracket => {
  const longestMs = end.maxMs - smallest(unread.map(({ invokedMs }) => invokedMs));
  return { ...rpo, maxMs: Math.max(rpo.maxMs, longestMs) };
};

const rpoOf = (end: Span, recoveryPoint: Span | null, lastAckedMs: number): Bracket => {
  if (recoveryPoint === null) return bracketOf(0, 0, Math.max(0, end.maxMs - lastAckedMs));
  const minMs = Math.max(0, end.minMs - recoveryPoint.maxMs);
  const maxMs = end.maxMs - recoveryPoint.minMs;
  return bracketOf(Number.isFinite(maxMs) ? (minMs + maxMs) / 2 : minMs, minMs, maxMs);
};

/** What one epoch lost, given what became of all writes of the store. */
export const handoverOf = (
  epoch: Epoch,
  writes: readonly Write[],
  sets: Pick<Sets, 'lost' | 'neverRead'>,
  holes: ReadonlySet<string>,
  hints: Hints = {},
): Handover => {
  const lost = epoch.writes.filter(({ id }) => sets.lost.has(id));
  const isThere = ({ id, out }: Write): boolean => out === 'ok' && !sets.lost.has(id) && !sets.neverRead.has(id);
  const unread = epoch.writes.filter(({ id }) => sets.neverRead.has(id));
  const survivors = epoch.writes.filter(isThere);
  const isPrefix = !epoch.writes.some(({ id }) => holes.has(id));
  const before = (): readonly Write[] =>
    writes.filter((write) => isThere(write) && write.endedMs <= epoch.firstAckMs && write.epoch !== epoch.name);
  const end = authorityEnd(epoch, writes, hints);
  const recoveryPoint =
    lost.length === 0 ? null : recoveryPointOf(lost, survivors.length > 0 ? survivors : before(), isPrefix);
  return {
    epoch,
    lost,
    survived: survivors.length,
    isPrefix,
    end,
    recoveryPoint,
    rpo: allowingFor(rpoOf(end, recoveryPoint, epoch.lastInvokedMs), unread, end),
    spanOfLostMs:
      lost.length === 0
        ? 0
        : greatest(lost.map(({ endedMs }) => endedMs)) - smallest(lost.map(({ invokedMs }) => invokedMs)),
  };
};

/** The smallest loss a ledger would have seen for certain, and what it had at risk in the second before an instant. */
export interface Power {
  /**
   * Longest stretch of the last second in which no acknowledged write lies whole, from its sending to its
   * acknowledgement: all that was committed within it could be lost unseen. Real; infinite without any.
   */
  readonly smallestLossMs: number;
  /** Acknowledged or in flight in the last second. */
  readonly atRisk: number;
}

const atRiskMs = 1000;

export const powerBefore = (writes: readonly Write[], atMs: number): Power => {
  const recent = writes.filter(({ invokedMs, endedMs }) => invokedMs <= atMs && endedMs >= atMs - atRiskMs);
  const whole = recent.filter(({ out, endedMs }) => out === 'ok' && endedMs <= atMs);
  const sorted = whole.toSorted((a, b) => a.invokedMs - b.invokedMs);
  let smallestLossMs = sorted.length === 0 ? Number.POSITIVE_INFINITY : 0;
  // A stretch that begins right after one was sent holds none until the first of the later ones is acknowledged.
  let nextAckMs = atMs;
  for (const { invokedMs, endedMs } of sorted.toReversed()) {
    smallestLossMs = Math.max(smallestLossMs, nextAckMs - invokedMs);
    nextAckMs = Math.min(nextAckMs, endedMs);
  }
  return { smallestLossMs, atRisk: recent.length };
};
