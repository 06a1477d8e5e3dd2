import type { Ports } from '../adapters/ports.ts';
import type { Clock } from '../core/clock.ts';
import type { Environment } from '../core/environment.ts';
import { BlackstartError } from '../core/errors.ts';
import type { Reverter, UndoDependencies } from '../core/undo.ts';
import type { Fault, FaultContext } from './fault.ts';

/** An environment that can be reached: what every fault, observer and recovery works on. */
export interface Session {
  readonly clock: Clock;
  readonly environment: Environment;
  readonly timeScale: number;
  readonly ports: Ports;
  /** Name of the environment's lock. */
  readonly identity: string;
  readonly faults: readonly Fault[];
}

export const findFault = (faults: readonly Fault[], name: string): Fault => {
  const fault = faults.find((candidate) => candidate.name === name);
  if (fault === undefined) {
    throw new BlackstartError(
      'CORRUPT',
      `there is no fault "${name}" in this version`,
      'Use the version of blackstart that made the run; its name and version are in the first line of the journal.',
    );
  }
  return fault;
};

/** A fault's view of the session. Reverting needs neither randomness nor an expiry: undo records are complete. */
export const faultContext = (
  session: Session,
  runId: string,
  signal: AbortSignal,
  more?: { readonly random: () => number; readonly expiryMs: number },
): FaultContext => ({
  runId,
  environment: session.environment,
  timeScale: session.timeScale,
  clock: session.clock,
  ports: session.ports,
  signal,
  random: more?.random ?? (() => 0),
  expiryMs: more?.expiryMs ?? 0,
});

const reverterFor = (session: Session, runId: string): Reverter => ({
  revert: (fault, undo, signal) => findFault(session.faults, fault).revert(undo, faultContext(session, runId, signal)),
  isReverted: (fault, undo, signal) =>
    findFault(session.faults, fault).isReverted(undo, faultContext(session, runId, signal)),
  wayBackMs: (fault) => (findFault(session.faults, fault).wayBackMs ?? 0) / session.timeScale,
});

const fixedMs = 60_000;
/** Documented time a platform may need to be itself again after an undo (a model load, a standby's rebuild). */
const selfHealingDocumentedMs = 20 * 60_000;

export const undoDependencies = (
  session: Session,
  runId: string,
  journal: UndoDependencies['journal'],
  onProgress: UndoDependencies['onProgress'],
): UndoDependencies => ({
  journal,
  clock: session.clock,
  reverter: reverterFor(session, runId),
  limits: {
    revertMs: fixedMs + selfHealingDocumentedMs / session.timeScale,
    verifyMs: fixedMs + selfHealingDocumentedMs / session.timeScale,
    attemptsMax: 3,
  },
  onProgress,
});
