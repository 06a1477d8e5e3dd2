import type { Clock } from './clock.ts';
import { deadline } from './clock.ts';
import { BlackstartError, isBlackstartError, messageOf } from './errors.ts';
import type { Armed, Journal } from './journal.ts';

/** Where an undo stands, as the target's side shows it. */
export type RevertState =
  | { readonly state: 'reverted' }
  | { readonly state: 'pending'; readonly detail: string }
  | { readonly state: 'conflict'; readonly difference: string };

/** Puts things back from undo records alone; the faults implement it. */
export interface Reverter {
  revert(fault: string, undo: unknown, signal: AbortSignal): Promise<void>;
  isReverted(fault: string, undo: unknown, signal: AbortSignal): Promise<RevertState>;
  /** Real milliseconds that the way back of a fault takes beyond the limits. */
  wayBackMs?(fault: string): number;
}

export interface UndoDependencies {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly reverter: Reverter;
  /** Real milliseconds for one revert call, and for the target to be seen back. */
  readonly limits: { readonly revertMs: number; readonly verifyMs: number; readonly attemptsMax: number };
  /** Told what is being put back, for people to see. */
  readonly onProgress: (event: { readonly target: string; readonly state: string }) => void;
}

export interface RevertOutcome {
  readonly reverted: readonly Armed[];
  readonly outstanding: readonly { readonly armed: Armed; readonly reason: string; readonly conflict: boolean }[];
}

const retryPauseMs = 500;
const lookEveryMs = 100;

/** Recording a revert is best effort: a full disk must not stop the mending. The first such failure is handed back. */
const record = async (journal: Journal, body: Parameters<Journal['append']>[0], failures: unknown[]): Promise<void> => {
  try {
    await journal.append(body);
  } catch (error) {
    failures.push(error);
  }
};

/** Bounds a call that may ignore its signal: the deadline wins, and the runner goes on to the next target. */
const within = async <T>(
  clock: Clock,
  durationMs: number,
  what: string,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> => {
  const reason = new BlackstartError('UNREACHABLE', `${what} took longer than ${durationMs} ms`, 'See the journal.');
  const limit = deadline(clock, durationMs, reason);
  try {
    return await Promise.race([
      call(limit.signal),
      new Promise<never>((_, reject) => {
        limit.signal.addEventListener('abort', () => reject(limit.signal.reason), { once: true });
      }),
    ]);
  } finally {
    limit.dispose();
  }
};

const settle = async (dependencies: UndoDependencies, armed: Armed): Promise<RevertState> => {
  const { clock, reverter, limits } = dependencies;
  const verifyMs = limits.verifyMs + (reverter.wayBackMs?.(armed.fault) ?? 0);
  return await within(clock, verifyMs, `checking that ${armed.target} is back`, async (signal) => {
    for (;;) {
      const state = await reverter.isReverted(armed.fault, armed.undo, signal);
      if (state.state !== 'pending') return state;
      dependencies.onProgress({ target: armed.target, state: state.detail });
      await clock.sleep(lookEveryMs, signal);
    }
  });
};

const revertOne = async (dependencies: UndoDependencies, armed: Armed): Promise<RevertState> => {
  const { clock, reverter, limits } = dependencies;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await within(clock, limits.revertMs, `putting ${armed.target} back`, (signal) =>
        reverter.revert(armed.fault, armed.undo, signal),
      );
      return await settle(dependencies, armed);
    } catch (error) {
      if (isBlackstartError(error) && error.code === 'CONFLICT')
        return { state: 'conflict', difference: error.message };
      if (attempt >= limits.attemptsMax) throw error;
      await clock.sleep(retryPauseMs * attempt);
    }
  }
};

/**
 * Puts everything back, newest first: each under its own deadlines, all of them attempted whatever fails, each verified
 * on the target's side. Never aborted: being told to stop is a reason to roll back. Records what it did as it goes.
 */
export const revertAll = async (
  dependencies: UndoDependencies,
  newestFirst: readonly Armed[],
): Promise<RevertOutcome> => {
  const { journal, clock, onProgress } = dependencies;
  const reverted: Armed[] = [];
  const outstanding: { armed: Armed; reason: string; conflict: boolean }[] = [];
  const recordFailures: unknown[] = [];
  for (const armed of newestFirst) {
    const { undoId, target } = armed;
    onProgress({ target, state: 'putting back' });
    const minMs = clock.monotonicMs();
    await record(journal, { type: 'undo.started', undoId }, recordFailures);
    try {
      const state = await revertOne(dependencies, armed);
      if (state.state === 'conflict') {
        outstanding.push({ armed, reason: state.difference, conflict: true });
        await record(journal, { type: 'undo.conflict', undoId, difference: state.difference }, recordFailures);
        onProgress({ target, state: 'changed by somebody else: left as it is' });
      } else {
        reverted.push(armed);
        await record(journal, { type: 'undo.done', undoId, minMs, maxMs: clock.monotonicMs() }, recordFailures);
        onProgress({ target, state: 'back' });
      }
    } catch (error) {
      const reason = messageOf(error);
      outstanding.push({ armed, reason, conflict: false });
      await record(journal, { type: 'undo.failed', undoId, message: reason }, recordFailures);
      onProgress({ target, state: `not put back: ${reason}` });
    }
  }
  const [firstFailure] = recordFailures;
  if (firstFailure !== undefined)
    onProgress({ target: journal.file, state: `not recorded: ${messageOf(firstFailure)}` });
  return { reverted, outstanding };
};

/** The error of a rollback that did not put everything back; carries what went wrong before as its cause. */
export const rollbackIncomplete = (
  outcome: RevertOutcome,
  runId: string,
  cause?: unknown,
): BlackstartError | undefined => {
  const [first] = outcome.outstanding;
  if (first === undefined) return undefined;
  const more = outcome.outstanding.length - 1;
  return new BlackstartError(
    first.conflict ? 'CONFLICT' : 'ROLLBACK_INCOMPLETE',
    `${first.armed.target} is not back: ${first.reason}${more > 0 ? ` (and ${more} more)` : ''}`,
    first.conflict
      ? 'Somebody else changed it during the run. Decide which state is right, then restore it by hand.'
      : `Run "blackstart recover ${runId}" once the target can be reached.`,
    cause === undefined ? undefined : { cause },
  );
};
