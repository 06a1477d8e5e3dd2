import { createHash } from 'node:crypto';
import type { Environment } from '../core/environment.ts';
import { BlackstartError } from '../core/errors.ts';
import type { Fault, FaultContext, Permission, Planned } from './fault.ts';
import { faultContext, findFault, type Session } from './reverter.ts';

/** One use of a fault in an experiment or a drill. Durations are documented milliseconds. */
export interface FaultUse {
  readonly fault: string;
  readonly with: Readonly<Record<string, unknown>>;
  /** The target's side ends the fault by itself after this. */
  readonly atMostMs: number;
}

export interface PlannedFault {
  readonly use: FaultUse;
  readonly fault: Fault;
  readonly planned: readonly Planned<unknown>[];
  readonly permissions: readonly Permission[];
}

/** What would be touched, what would survive, and why it may not be done. Nothing is changed to find out. */
export interface Plan {
  readonly faults: readonly PlannedFault[];
  readonly zones: readonly string[];
  readonly regions: readonly string[];
  readonly pods: number;
  /** Why the environment's limits refuse it; empty when they do not. */
  readonly refusals: readonly string[];
  /** The same targets in the same state give the same hash: drift between plan and injection shows. */
  readonly hash: string;
}

/** Mulberry32 (Tommy Ettinger, public domain): a small seeded generator, uniform in [0, 1). */
export const randomFrom = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

const percent = (share: number): string => `${Math.round(share * 100)} %`;

/** Why the limits of the environment refuse this blast radius. Pure. */
export const refusalsOf = (limits: Environment['limits'], planned: readonly Planned<unknown>[]): readonly string[] => {
  const zones = new Set(planned.flatMap((one) => one.blast.zones));
  const regions = new Set(planned.flatMap((one) => one.blast.regions));
  const pods = planned.reduce((sum, one) => sum + one.blast.pods, 0);
  const refusals: string[] = [];
  // Pods that go with a zone or a region are bounded by those limits; the pod limit is for faults on pods themselves.
  if (zones.size === 0 && regions.size === 0 && pods > limits.podsMax) {
    refusals.push(`${pods} pods are more than limits.podsMax (${limits.podsMax})`);
  }
  if (regions.size === 0 && zones.size > limits.zonesMax) {
    refusals.push(`${zones.size} zones are more than limits.zonesMax (${limits.zonesMax})`);
  }
  if (regions.size > limits.regionsMax) {
    refusals.push(`${regions.size} regions are more than limits.regionsMax (${limits.regionsMax})`);
  }
  for (const { target, blast } of planned) {
    for (const [workload, { ready, surviving }] of Object.entries(blast.workloads)) {
      if (ready > 0 && surviving / ready >= limits.survivingShareMin) continue;
      refusals.push(
        ready === 0
          ? `${target}: no ready pod of ${workload} was found, so nothing can be said of what survives`
          : `${target}: ${surviving} of ${ready} ${workload} pods survive (${percent(surviving / ready)}), less than ` +
              `limits.survivingShareMin (${percent(limits.survivingShareMin)})`,
      );
    }
  }
  return refusals;
};

const planOne = async (session: Session, use: FaultUse, context: FaultContext): Promise<PlannedFault> => {
  const fault = findFault(session.faults, use.fault);
  const planned = await fault.plan(use.with, context);
  if (planned.length === 0) {
    throw new BlackstartError(
      'PLAN_REFUSED',
      `${use.fault} found no target`,
      'A fault without a target proves nothing. Check its parameters against "blackstart plan" and the environment.',
    );
  }
  return { use, fault, planned, permissions: fault.permissions(use.with, session.environment) };
};

/**
 * Plans every fault with the run's own randomness, so that the plan a person saw is the one that is injected. The hash
 * covers targets and undo records, that is the state they were found in.
 */
export const planFaults = async (
  session: Session,
  runId: string,
  uses: readonly FaultUse[],
  seed: number,
  signal: AbortSignal,
): Promise<Plan> => {
  const faults: PlannedFault[] = [];
  for (const [index, use] of uses.entries()) {
    const more = { random: randomFrom(seed + index), expiryMs: use.atMostMs };
    faults.push(await planOne(session, use, faultContext(session, runId, signal, more)));
  }
  const planned = faults.flatMap((one) => one.planned);
  const hashed = JSON.stringify(planned.map(({ target, undo }) => [target, undo]));
  return {
    faults,
    zones: [...new Set(planned.flatMap((one) => one.blast.zones))],
    regions: [...new Set(planned.flatMap((one) => one.blast.regions))],
    pods: planned.reduce((sum, one) => sum + one.blast.pods, 0),
    refusals: refusalsOf(session.environment.limits, planned),
    hash: createHash('sha256').update(hashed).digest('hex').slice(0, 16),
  };
};

/** Throws PLAN_REFUSED when the environment's limits do not allow the plan. */
export const assertAllowed = (plan: Plan): void => {
  if (plan.refusals.length === 0) return;
  throw new BlackstartError(
    'PLAN_REFUSED',
    plan.refusals.join('; '),
    'Choose a smaller blast radius, or change the limits in the environment file with its owner.',
  );
};
