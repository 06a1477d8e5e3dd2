import type { Armed, Journal } from '../core/journal.ts';
import type { Observation } from '../core/observation.ts';
import type { RevertOutcome } from '../core/undo.ts';
import type { FaultUse } from './plan.ts';
import type { Session } from './reverter.ts';

/** What a run tells whoever draws it. Drawing never steers the run. */
export type LiveEvent =
  | { readonly type: 'phase'; readonly phase: string; readonly title: string }
  /** What the run waits for now, and for how long at most (real milliseconds). */
  | { readonly type: 'awaiting'; readonly what: string; readonly atMostMs: number }
  /** `undoing`: what is being put back, when that is what it tells of. */
  | { readonly type: 'note'; readonly text: string; readonly undoing?: string }
  | { readonly type: 'counts'; readonly locations: Readonly<Record<string, { good: number; bad: number }>> };

/** Asks the person at the keyboard; fails at once when there is none. */
export type Ask = (question: string, signal: AbortSignal) => Promise<string>;

/** A run in progress, as experiments and drill steps see it. */
export interface Running {
  readonly session: Session;
  readonly runId: string;
  readonly journal: Journal;
  /** Aborts when the run must stop; then everything is rolled back, whoever notices it. */
  readonly signal: AbortSignal;
  readonly approve: 'ask' | 'auto';
  readonly ask: Ask;
  live(event: LiveEvent): void;
  /** Real milliseconds of a documented duration. */
  real(documentedMs: number): number;
  phase<T>(phase: string, title: string, body: () => Promise<T>): Promise<T>;
  /** Arms an undo without changing anything: for a change that a later step makes. Its plan is checked first. */
  arm(use: FaultUse): Promise<void>;
  /** Plans, checks the limits, arms the undo, breaks, and waits for proof that it bit. Arms nothing that is armed. */
  inject(use: FaultUse): Promise<void>;
  /** Puts back what was armed by these faults, or everything; newest first. */
  revert(faults?: readonly string[]): Promise<RevertOutcome>;
  /** The undo records armed by a fault and not yet reverted. */
  armed(fault: string): Promise<readonly Pick<Armed, 'target' | 'undo'>[]>;
  /**
   * Waits until every required stream has been steady, by the confirmation rule, on probes sent after `sinceMs`.
   * Returns what was still missing when `atMostMs` of real time had passed; empty when all are steady.
   */
  untilSteady(what: string, sinceMs: number, atMostMs: number): Promise<readonly string[]>;
  /** Polls until `look` returns a value; `undefined` after `atMostMs`. */
  until<T>(
    what: string,
    atMostMs: number,
    look: (signal: AbortSignal) => Promise<T | undefined>,
  ): Promise<T | undefined>;
  see(observation: Observation): Promise<void>;
  fact(name: string, value: string | number | boolean): Promise<void>;
}
