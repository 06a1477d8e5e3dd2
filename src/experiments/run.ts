import { rollbackIncomplete } from '../core/undo.ts';
import { type RunEnd, type RunRequest, withRun } from './harness.ts';
import { randomFrom } from './plan.ts';
import { findFault } from './reverter.ts';
import type { Running } from './running.ts';
import type { ExperimentFault } from './scenario.ts';

/** Documented milliseconds over which the moment of injection is drawn: the longest period of the platform's checks. */
const phaseWindowDocumentedMs = 30_000;
/** Documented milliseconds the platform has, after the undo, to be steady and redundant again. */
const settleDocumentedMs = 60 * 60_000;
const settleLeastMs = 120_000;

/**
 * Periodic mechanisms (health checks, leases) answer differently depending on when in their period a fault hits them,
 * so the moment is drawn from the run's seed.
 */
const randomPhase = async (running: Running, seed: number): Promise<void> => {
  const waitMs = randomFrom(seed ^ 0x70686173)() * running.real(phaseWindowDocumentedMs);
  await running.fact('phase.offsetMs', waitMs);
  await running.session.clock.sleep(waitMs, running.signal);
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
export const runExperiment = async (request: RunRequest, faults: readonly ExperimentFault[]): Promise<RunEnd> =>
  await withRun(request, faults, async (running) => {
    await running.phase('wait', 'waiting for the drawn moment', () => randomPhase(running, request.seed));
    const sinceMs = running.session.clock.monotonicMs();
    await running.phase('inject', 'injecting the fault', async () => {
      for (const fault of faults) await running.inject(fault);
    });
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
  for (const { name, database } of environment.regions) {
    const what = `${database.instance} to be redundant again`;
    const redundant = await running.until(what, atMostMs, async (signal) => {
      const now = await ports.rds(name).describe(database.instance, signal);
      const whole = now?.source !== null || !now.multiZone || now.secondaryZone !== null;
      return now?.status === 'available' && whole ? true : undefined;
    });
    await running.fact(`settled.${database.instance}`, redundant === true);
  }
};
