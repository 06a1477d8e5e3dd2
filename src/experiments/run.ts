import { deadline } from '../core/clock.ts';
import { BlackstartError, messageOf } from '../core/errors.ts';
import { databasesOf, resolveRegion } from '../core/places.ts';
import { rollbackIncomplete } from '../core/undo.ts';
import { type RunEnd, type RunRequest, withRun } from './harness.ts';
import { mechanisms, type Standing } from './mechanisms.ts';
import { nextAt, type Phase, positionAt, positionOf, type Round } from './phase.ts';
import { randomFrom } from './plan.ts';
import { findFault } from './reverter.ts';
import type { Running } from './running.ts';
import type { ExperimentFault } from './scenario.ts';

type Aligned = Extract<Phase, object>;

/** Documented milliseconds over which the moment of injection is drawn: the longest period of the platform's checks. */
const phaseWindowDocumentedMs = 30_000;
/** Documented milliseconds the platform has, after the undo, to be steady and redundant again. */
const settleDocumentedMs = 60 * 60_000;
const settleLeastMs = 120_000;

/** Real milliseconds a mechanism has to say where it stands. */
const standingWithinMs = 5000;

const standingOf = async (running: Running, { mechanism: name, region }: Aligned): Promise<Standing> => {
  const { session, signal } = running;
  const mechanism = mechanisms.find((one) => one.name === name);
  if (mechanism === undefined) throw new Error(`there is no mechanism ${name}`);
  const reason = new BlackstartError(
    'UNREACHABLE',
    `${name} of ${region} did not say where it stands within ${standingWithinMs / 1000} s`,
    'Without it the phase cannot be chosen: use "phase: random", or mend what answers for it.',
  );
  const limit = deadline(session.clock, standingWithinMs, reason, signal);
  try {
    return await mechanism.standing(session, region, limit.signal);
  } finally {
    limit.dispose();
  }
};

/** Waits for a position in the cycle of a mechanism, and writes down where that was. */
const alignedPhase = async (running: Running, aligned: Aligned, random: number, round: Round): Promise<void> => {
  const { clock } = running.session;
  const { cycle } = await standingOf(running, aligned);
  const { at } = aligned;
  const positionMs = typeof at === 'number' ? running.real(at) : positionOf(at, cycle, random, round);
  const nowMs = clock.monotonicMs();
  const dueMs = nextAt(cycle, positionMs, nowMs);
  await running.fact('phase.mechanism', aligned.mechanism);
  await running.fact('phase.region', resolveRegion(running.session.environment, aligned.region).name);
  await running.fact('phase.at', at);
  await running.fact('phase.periodMs', cycle.periodMs);
  await running.fact('phase.durationMs', cycle.durationMs);
  await running.fact('phase.positionMs', positionAt(cycle, dueMs));
  await running.fact('phase.offsetMs', dueMs - nowMs);
  const what = `${aligned.mechanism} of ${aligned.region} to be where the fault is to meet it`;
  running.live({ type: 'awaiting', what, atMostMs: dueMs - nowMs });
  await clock.sleep(dueMs - clock.monotonicMs(), running.signal);
  // Passes may have ended while it waited: what is shown now is what the fault meets.
  await running.fact('phase.takenMs', (await standingOf(running, aligned)).takenMs);
};

/**
 * Periodic mechanisms (health checks, leases, syncs) answer differently depending on when in their period a fault hits
 * them, so the moment is drawn from the run's seed, or chosen.
 */
const awaitPhase = async (running: Running, phase: Phase, seed: number, round: Round): Promise<void> => {
  const random = randomFrom(seed ^ 0x70686173)();
  if (typeof phase === 'object') return await alignedPhase(running, phase, random, round);
  const waitMs = phase === 'random' ? random * running.real(phaseWindowDocumentedMs) : running.real(phase);
  await running.fact('phase.at', phase);
  await running.fact('phase.offsetMs', waitMs);
  await running.session.clock.sleep(waitMs, running.signal);
};

/** What is shown once the fault was injected: another state than before, when a pass ended meanwhile. */
const noteTaken = async (running: Running, phase: Phase): Promise<void> => {
  if (typeof phase !== 'object') return;
  try {
    await running.fact('phase.takenAfterMs', (await standingOf(running, phase)).takenMs);
  } catch (error) {
    // The fault may have taken away who could tell. The phase that was aimed at is on record.
    running.signal.throwIfAborted();
    running.live({ type: 'note', text: `the phase cannot be checked after the injection: ${messageOf(error)}` });
  }
};

/** Holds the fault; says whether the service was seen steady again while it lasted. */
const hold = async (running: Running, faults: readonly ExperimentFault[], sinceMs: number): Promise<boolean> => {
  const atMostMs = running.real(Math.max(...faults.map((fault) => fault.atMostMs)));
  const leftMs = (): number => Math.max(0, sinceMs + atMostMs - running.session.clock.monotonicMs());
  const fixed = faults.flatMap((fault) => (fault.holdMs === 'until-recovered' ? [] : [fault.holdMs]));
  if (fixed.length > 0) {
    const holdMs = Math.min(leftMs(), running.real(Math.max(...fixed)));
    running.live({ type: 'awaiting', what: 'the fault to have lasted long enough', atMostMs: holdMs });
    await running.session.clock.sleep(holdMs, running.signal);
  }
  if (fixed.length === faults.length) return false;
  // The fault must end by our hand, not by its expiry: the expiry is for when nobody is left.
  const marginMs = atMostMs * 0.1;
  const missing = await running.untilSteady(
    'recovery while the fault lasts',
    sinceMs,
    Math.max(0, leftMs() - marginMs),
  );
  if (missing.length > 0) running.live({ type: 'note', text: `not recovered under the fault: ${missing.join(', ')}` });
  // Clients recover before the platform has done all that is to be seen of it, such as adding capacity.
  const atLeastMs = running.real(Math.max(...faults.map((fault) => fault.atLeastMs)));
  const restMs = Math.min(leftMs() - marginMs, sinceMs + atLeastMs - running.session.clock.monotonicMs());
  if (restMs > 0) {
    running.live({ type: 'awaiting', what: 'the fault to have lasted long enough', atMostMs: restMs });
    await running.session.clock.sleep(restMs, running.signal);
  }
  return missing.length === 0;
};

/** Baseline, inject, hold, revert, confirm; then everything again is put back and verified by the harness. */
export const runExperiment = async (
  request: RunRequest,
  faults: readonly ExperimentFault[],
  round: Round = { index: 0, of: 1 },
): Promise<RunEnd> =>
  await withRun(request, faults, async (running) => {
    // All faults of an experiment are injected together: the first one says when.
    const phase = faults[0]?.phase ?? 'random';
    await running.phase('wait', 'waiting for the moment', () => awaitPhase(running, phase, request.seed, round));
    const sinceMs = running.session.clock.monotonicMs();
    await running.phase('inject', 'injecting the fault', async () => {
      for (const fault of faults) await running.inject(fault);
    });
    await noteTaken(running, phase);
    const recovered = await running.phase('fault', 'the fault lasts', () => hold(running, faults, sinceMs));
    await running.phase('revert', 'ending the fault', async () => {
      const failed = rollbackIncomplete(await running.revert(), running.runId);
      if (failed !== undefined) throw failed;
    });
    // Where there was nothing to end, the service seen steady under the fault is the service steady after it.
    const isOneShot = faults.every((use) => findFault(running.session.faults, use.fault).isOneShot === true);
    if (!(isOneShot && recovered)) await confirm(running);
    else await settle(running);
  });

/** Steady again after the undo, on probes sent since; then redundant again. */
export const confirm = async (running: Running): Promise<void> => {
  const sinceMs = running.session.clock.monotonicMs();
  const atMostMs = settleLeastMs + running.real(settleDocumentedMs);
  await running.phase('confirm', 'the service must be steady again', async () => {
    const missing = await running.untilSteady('the service to be steady again', sinceMs, atMostMs);
    if (missing.length > 0) running.live({ type: 'note', text: `not steady again: ${missing.join(', ')}` });
  });
  await settle(running);
};

const settle = (running: Running): Promise<void> =>
  running.phase('settle', 'redundancy must be back', () => untilRedundant(running));

const untilRedundant = async (running: Running): Promise<void> => {
  const { environment, ports } = running.session;
  const atMostMs = settleLeastMs + running.real(settleDocumentedMs);
  for (const { region, instance } of databasesOf(environment)) {
    const what = `${instance} to be redundant again`;
    const redundant = await running.until(what, atMostMs, async (signal) => {
      const now = await ports.rds(region).describe(instance, signal);
      const whole = now?.source !== null || !now.multiZone || now.secondaryZone !== null;
      return now?.status === 'available' && whole ? true : undefined;
    });
    await running.fact(`settled.${instance}`, redundant === true);
  }
};
