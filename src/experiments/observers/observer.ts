import { deadline } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Observation } from '../../core/observation.ts';
import type { Session } from '../reverter.ts';

/**
 * Watches one side of the platform during a run and says what changed, and between which two looks. It never decides
 * anything: what it saw goes to the journal, and analysis reads it there.
 */
export interface Observer {
  readonly name: string;
  /** Looks again and again until the signal aborts. A look that fails is reported and the next one is taken. */
  watch(session: Session, signal: AbortSignal, see: (observation: Observation) => void, lost: Lost): Promise<void>;
}

/** Told when an observer could not look, so that a missing observation is never taken for "nothing happened". */
export type Lost = (observer: string, message: string) => void;

/** Real milliseconds between two looks: fine in a scaled lab, and gentle on a cloud's rate limits. */
export const lookEveryMs = (session: Session, finestMs: number): number =>
  Math.min(2000, Math.max(finestMs, 3000 / session.timeScale));

const lookWithinMs = 5000;

/**
 * Calls `look` on a steady rhythm, at the finest every `finestMs`. `compare` gets the previous and the present state
 * with the bracket in which any difference between them arose: from the start of the previous look to the end of this
 * one.
 */
export const compareLooks = async <State>(
  session: Session,
  observer: string,
  signal: AbortSignal,
  lost: Lost,
  finestMs: number,
  look: (signal: AbortSignal) => Promise<State>,
  compare: (before: State, now: State, bracket: { readonly minMs: number; readonly maxMs: number }) => void,
): Promise<void> => {
  const { clock } = session;
  let previous: { readonly state: State; readonly startMs: number } | undefined;
  while (!signal.aborted) {
    const startMs = clock.monotonicMs();
    const limit = deadline(clock, lookWithinMs, new Error(`no answer within ${lookWithinMs} ms`), signal);
    try {
      const state = await look(limit.signal);
      const endMs = clock.monotonicMs();
      if (previous !== undefined) compare(previous.state, state, { minMs: previous.startMs, maxMs: endMs });
      previous = { state, startMs };
    } catch (error) {
      if (signal.aborted) return;
      lost(observer, messageOf(error));
    } finally {
      limit.dispose();
    }
    await clock.sleep(lookEveryMs(session, finestMs), signal).catch(() => undefined);
  }
};
