import type { Bracket } from '../record.ts';
import { bracketOf } from '../span.ts';
import type { History, Read, Write } from './history.ts';

/*
 * How far a copy is behind, on one clock: the ledger's own process writes at the authority and looks at the copy, so no
 * two hosts' clocks are compared, and an idle primary is no false alarm.
 */

/** From a write's acknowledgement until a copy showed it. */
export interface VisibilityLag {
  readonly write: Write;
  /** Infinite at its upper end when the copy never showed it. */
  readonly lag: Bracket;
}

export const looksAt = ({ reads }: History, copy: string): readonly Read[] =>
  reads.filter((read) => read.copy === copy && !read.final && read.code === 'ok');

/**
 * `lag ∈ [send of the last look not showing it − ack, end of the first look showing it − send]`, for every acknowledged
 * write that was looked for.
 */
export const visibilityLags = (history: History, copy: string): readonly VisibilityLag[] => {
  const looks = looksAt(history, copy);
  const lags: VisibilityLag[] = [];
  let pending = history.writes.filter(({ out }) => out === 'ok');
  let before: Read | undefined;
  for (const look of looks) {
    const left: Write[] = [];
    let index = 0;
    for (; index < pending.length; index += 1) {
      const write = pending[index];
      // Sent in the order of their numbers: nothing from here on can be there yet.
      if (write === undefined || write.invokedMs > look.endMs) break;
      if (!look.seen.has(write.seq)) {
        if (write.seq >= look.since) left.push(write);
        continue;
      }
      const minMs = Math.max(0, (before?.startMs ?? write.endedMs) - write.endedMs);
      const maxMs = look.endMs - write.invokedMs;
      lags.push({ write, lag: bracketOf((minMs + maxMs) / 2, minMs, maxMs) });
    }
    pending = [...left, ...pending.slice(index)];
    before = look;
  }
  const last = looks.at(-1);
  if (last !== undefined) {
    for (const write of pending) {
      if (write.endedMs >= last.startMs || write.seq < last.since) continue;
      const minMs = last.startMs - write.endedMs;
      lags.push({ write, lag: bracketOf(minMs, minMs, Number.POSITIVE_INFINITY) });
    }
  }
  return lags;
};

/** What a copy has shown up to and including one look. */
const shownUntil = (
  looks: readonly Read[],
  untilMs: number,
): { shown: ReadonlySet<number>; last: Read | undefined } => {
  const shown = new Set<number>();
  let last: Read | undefined;
  for (const look of looks) {
    if (look.startMs > untilMs) break;
    for (const seq of look.seen) shown.add(seq);
    last = look;
  }
  return { shown, last };
};

/**
 * What would be lost if the copy took over at an instant: `[send of the last look − ack of the oldest write it did not
 * show, instant − send of the newest it showed]`. A lag that has stood still shows here, a finished sample would not.
 */
export const potentialRpo = (history: History, copy: string, atMs: number): Bracket | undefined => {
  const { shown, last } = shownUntil(looksAt(history, copy), atMs);
  if (last === undefined) return undefined;
  const acknowledged = history.writes.filter(({ out }) => out === 'ok');
  let oldestHiddenMs = Number.POSITIVE_INFINITY;
  let newestShownMs = Number.NEGATIVE_INFINITY;
  for (const { seq, invokedMs, endedMs } of acknowledged) {
    if (shown.has(seq)) newestShownMs = Math.max(newestShownMs, invokedMs);
    else if (endedMs < last.startMs) oldestHiddenMs = Math.min(oldestHiddenMs, endedMs);
  }
  const minMs = Number.isFinite(oldestHiddenMs) ? Math.max(0, last.startMs - oldestHiddenMs) : 0;
  const maxMs = Number.isFinite(newestShownMs) ? Math.max(minMs, atMs - newestShownMs) : Number.POSITIVE_INFINITY;
  return bracketOf(Number.isFinite(maxMs) ? (minMs + maxMs) / 2 : minMs, minMs, maxMs);
};

/** A copy's state as a full read that counts as the end: everything it showed up to an instant. */
export const copyAsFinal = (history: History, copy: string, untilMs: number): Read | undefined => {
  const { shown, last } = shownUntil(looksAt(history, copy), untilMs);
  return last === undefined ? undefined : { ...last, since: 0, seen: shown };
};
