/**
 * When in the cycle of a periodic mechanism a fault is injected. Whoever copies on a grid takes a state when a pass
 * begins and shows it when the pass ends: the copy is as old as it gets, period plus duration, just before that end.
 */

/** Where in a cycle: drawn, spread evenly over the repeats of a run, the worst, or documented milliseconds into it. */
export type Moment = 'random' | 'sweep' | 'worst' | number;

/** `random` and a number wait, drawn or as told (documented ms), whatever any mechanism is about. */
export type Phase = 'random' | number | { readonly mechanism: string; readonly region: string; readonly at: Moment };

/** A mechanism's grid. Real milliseconds; instants are of this machine's monotonic clock. */
export interface Cycle {
  readonly periodMs: number;
  /** From the beginning of a pass to its end, when its result is to be seen. */
  readonly durationMs: number;
  /** When one of its passes begins: passed or to come. */
  readonly beginsMs: number;
}

/** Which run of a repeated one this is. */
export interface Round {
  readonly index: number;
  readonly of: number;
}

const modulo = (value: number, by: number): number => ((value % by) + by) % by;

/** How far into its cycle a mechanism is at an instant: from 0, where a pass begins, to less than a period. */
export const positionAt = ({ periodMs, beginsMs }: Cycle, atMs: number): number => {
  const position = modulo(atMs - beginsMs, periodMs);
  // Rounding may make a whole period of what is just short of one.
  return position < periodMs ? position : 0;
};

/** How old the state is that is shown at a position, if every pass succeeds. */
export const ageAt = ({ periodMs, durationMs }: Cycle, positionMs: number): number =>
  positionMs < durationMs ? periodMs + positionMs : positionMs;

/** The first instant that is not before another one and at this position. */
export const nextAt = (cycle: Cycle, positionMs: number, notBeforeMs: number): number =>
  notBeforeMs + modulo(positionMs - positionAt(cycle, notBeforeMs), cycle.periodMs);

/** Real: an injection takes a moment, and one that came after the end of the pass would be the mildest of all. */
const leadMostMs = 2000;

/** Where in the cycle a moment is. `random` is uniform in [0, 1). */
export const positionOf = (
  at: Exclude<Moment, number>,
  { periodMs, durationMs }: Cycle,
  random: number,
  round: Round,
): number => {
  if (at === 'random') return random * periodMs;
  if (at === 'sweep') return ((round.index + 0.5) / round.of) * periodMs;
  return durationMs - Math.min(durationMs / 2, leadMostMs);
};
