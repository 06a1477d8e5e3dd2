import { deadline, poll } from '../core/clock.ts';
import { BlackstartError, messageOf } from '../core/errors.ts';
import { type Armed, type Journal, outstanding, readJournal } from '../core/journal.ts';
import { type RevertOutcome, revertAll, type UndoDependencies } from '../core/undo.ts';
import type { FaultContext, Planned } from './fault.ts';
import type { PlannedFault } from './plan.ts';
import { faultContext, type Session, undoDependencies } from './reverter.ts';

/** Real milliseconds a change may take, and within which it must show. */
const injectWithinMs = 60_000;
const biteWithinMs = 60_000;
const lookEveryMs = 50;

/** The one bracket around every change: armed (durable), then broken, then proven; and put back whatever happens. */
export interface UndoScope {
  /** Makes the undo records of a plan durable. */
  arm(planned: PlannedFault): Promise<readonly ArmedTarget[]>;
  /** Breaks what was armed and waits for proof. Abort takes effect between targets, never inside a change. */
  break(planned: PlannedFault, armed: readonly ArmedTarget[], signal: AbortSignal): Promise<void>;
  /** Puts back what these faults armed, or everything. */
  revert(faults: readonly string[] | undefined): Promise<RevertOutcome>;
  armedBy(fault: string): Promise<readonly Armed[]>;
}

export interface ArmedTarget {
  readonly undoId: string;
  readonly target: Planned<unknown>;
}

export const undoScope = (
  session: Session,
  runId: string,
  journal: Journal,
  random: () => number,
  onProgress: UndoDependencies['onProgress'],
): UndoScope => {
  const { clock } = session;
  let count = 0;

  /** A change of a runbook has no expiry of its own: it may stay as long as a run may last. */
  const heldAtMostMs = (plan: PlannedFault): number =>
    plan.use.atMostMs > 0 ? plan.use.atMostMs : session.environment.limits.runMax;

  const breakOne = async (plan: PlannedFault, { undoId, target }: ArmedTarget): Promise<void> => {
    const failed = (what: string, cause?: unknown): BlackstartError =>
      new BlackstartError(
        'INJECT_FAILED',
        `${plan.fault.name} on ${target.target}: ${what}`,
        'What was begun is put back. The journal says how far it came.',
        { cause },
      );
    const more = { random, expiryMs: plan.use.atMostMs };
    const bounded = async (call: (context: FaultContext) => Promise<unknown>): Promise<void> => {
      const limit = deadline(clock, injectWithinMs, failed(`not done within ${injectWithinMs / 1000} s`));
      try {
        await call(faultContext(session, runId, limit.signal, more));
      } catch (cause) {
        throw failed(messageOf(cause), cause);
      } finally {
        limit.dispose();
      }
    };
    await bounded(async (context) => await plan.fault.prepare?.(target, plan.use.with, context));
    const startedMs = clock.monotonicMs();
    await bounded((context) => plan.fault.inject(target, plan.use.with, context));
    await journal.append({ type: 'fault.injected', undoId, startedMs });
    await proveOne(plan, { undoId, target }, startedMs, more);
  };

  /** A fault that never shows is no error: the run goes on to be VOID, and everything is put back all the same. */
  const proveOne = async (
    plan: PlannedFault,
    { undoId, target }: ArmedTarget,
    startedMs: number,
    more: { readonly random: () => number; readonly expiryMs: number },
  ): Promise<void> => {
    const notShown = new Error('not shown');
    const limit = deadline(clock, biteWithinMs, notShown);
    try {
      const evidence = await poll(clock, lookEveryMs, limit.signal, () =>
        plan.fault.bites(target, faultContext(session, runId, limit.signal, more)),
      );
      await journal.append({
        type: 'fault.effective',
        undoId,
        minMs: startedMs,
        maxMs: clock.monotonicMs(),
        evidence,
      });
    } catch (error) {
      if (!limit.signal.aborted) throw error;
      onProgress({ target: target.target, state: `did not show its effect within ${biteWithinMs / 1000} s` });
    } finally {
      limit.dispose();
    }
  };

  return {
    async arm(plan) {
      const armed: ArmedTarget[] = [];
      for (const target of plan.planned) {
        count += 1;
        const undoId = `${count}-${plan.fault.name}`;
        const undo = plan.fault.undo.parse(target.undo);
        await journal.append({
          type: 'undo.armed',
          undoId,
          fault: plan.fault.name,
          target: target.target,
          undo: JSON.parse(JSON.stringify(undo)),
          expiresAtMs: clock.monotonicMs() + heldAtMostMs(plan) / session.timeScale,
        });
        armed.push({ undoId, target });
      }
      return armed;
    },

    async break(plan, armed, signal) {
      for (const one of armed) {
        signal.throwIfAborted();
        await breakOne(plan, one);
      }
    },

    async revert(faults) {
      const left = outstanding(await readJournal(journal.file)).filter(
        (armed) => faults === undefined || faults.includes(armed.fault),
      );
      return await revertAll(undoDependencies(session, runId, journal, onProgress), left);
    },

    async armedBy(fault) {
      return outstanding(await readJournal(journal.file)).filter((armed) => armed.fault === fault);
    },
  };
};
