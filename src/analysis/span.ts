import type { Bracket } from './record.ts';

/** An instant nobody could see exactly, on the machine's monotonic clock. `maxMs` is infinite for one not seen yet. */
export interface Span {
  readonly minMs: number;
  readonly maxMs: number;
}

export const clamp = (value: number, min: number, max: number): number => Math.min(max, Math.max(min, value));

const middleOf = (span: Span): number => (Number.isFinite(span.maxMs) ? (span.minMs + span.maxMs) / 2 : span.minMs);

/** A bracket with its estimate put inside it. */
export const bracketOf = (estimateMs: number, minMs: number, maxMs: number): Bracket => ({
  estimateMs: clamp(estimateMs, minMs, maxMs),
  minMs,
  maxMs,
});

/** Time from one uncertain instant to another; never negative. */
export const elapsed = (from: Span, to: Span): Bracket => {
  const minMs = Math.max(0, to.minMs - from.maxMs);
  const maxMs = Math.max(minMs, to.maxMs - from.minMs);
  return bracketOf(middleOf(to) - middleOf(from), minMs, maxMs);
};

export const nothing: Bracket = { estimateMs: 0, minMs: 0, maxMs: 0 };

export const sum = (brackets: readonly Bracket[]): Bracket =>
  brackets.reduce(
    (total, one) => ({
      estimateMs: total.estimateMs + one.estimateMs,
      minMs: total.minMs + one.minMs,
      maxMs: total.maxMs + one.maxMs,
    }),
    nothing,
  );

export const scaled = (bracket: Bracket, factor: number): Bracket => ({
  estimateMs: bracket.estimateMs * factor,
  minMs: bracket.minMs * factor,
  maxMs: bracket.maxMs * factor,
});

/** The longest, by estimate and then by its upper end. */
export const worst = <T>(items: readonly T[], bracketOfItem: (item: T) => Bracket): T | undefined =>
  items.reduce<T | undefined>((found, item) => {
    if (found === undefined) return item;
    const a = bracketOfItem(found);
    const b = bracketOfItem(item);
    if (a.maxMs === Number.POSITIVE_INFINITY && b.maxMs !== Number.POSITIVE_INFINITY) return found;
    if (b.maxMs === Number.POSITIVE_INFINITY && a.maxMs !== Number.POSITIVE_INFINITY) return item;
    return b.estimateMs > a.estimateMs || (b.estimateMs === a.estimateMs && b.maxMs > a.maxMs) ? item : found;
  }, undefined);
