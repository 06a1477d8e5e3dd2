import type { z } from 'zod';
import type { Ports } from '../adapters/ports.ts';
import type { Clock } from '../core/clock.ts';
import type { Environment } from '../core/environment.ts';
import type { RevertState } from '../core/undo.ts';

/** What a fault may use. `signal` is a deadline inside `inject` and `revert`, the abort elsewhere. */
export interface FaultContext {
  readonly runId: string;
  readonly environment: Environment;
  readonly timeScale: number;
  readonly clock: Clock;
  readonly ports: Ports;
  readonly signal: AbortSignal;
  /** Uniform in [0, 1), from the run's seed. */
  readonly random: () => number;
  /** Documented milliseconds after which the target's side ends the fault by itself. */
  readonly expiryMs: number;
}

/** One target and how it is before the fault. */
export interface Planned<Undo> {
  /** As people name it: `pod/us-west-2/platform/llm-abc12`, `zone/us-west-2a`. */
  readonly target: string;
  readonly undo: Undo;
  /** What is lost while the fault lasts, and what survives; shown by plan and checked against the limits. */
  readonly blast: BlastRadius;
}

export interface BlastRadius {
  readonly pods: number;
  readonly zones: readonly string[];
  readonly regions: readonly string[];
  /** Per workload: ready pods now, and those left while the fault lasts. */
  readonly workloads: Readonly<Record<string, { readonly ready: number; readonly surviving: number }>>;
}

/** Permissions a fault needs, in the provider's own terms; shown by plan. */
export interface Permission {
  readonly provider: 'kubernetes' | 'aws' | 'vector-store';
  readonly action: string;
  readonly resource: string;
}

/**
 * Breaks one target, and knows how to put it back from data alone. Iterating, limits, deadlines, journal and retries
 * are the runner's.
 */
export interface FaultDefinition<Params extends z.ZodType, Undo extends z.ZodType> {
  /** `area.effect`. */
  readonly name: string;
  readonly summary: string;
  readonly params: Params;
  /** JSON-safe, free of secrets; checked when written to the journal and when read back. */
  readonly undo: Undo;
  /** How the target's side ends the fault when nobody is left to do it; shown by plan. */
  readonly expiry: string;
  /** The fault is over as soon as it is injected: there is nothing to end, the platform heals by itself. */
  readonly isOneShot?: boolean;
  /** Documented milliseconds that the way back takes at most, where what heals by itself does so sooner. */
  readonly wayBackMs?: number;
  permissions(params: z.output<Params>, environment: Environment): readonly Permission[];
  /** Read-only: chooses the targets and notes how each is now. */
  plan(params: z.output<Params>, context: FaultContext): Promise<readonly Planned<z.output<Undo>>[]>;
  /**
   * What can be done beforehand without breaking anything (a template, a preview), so that the instant of `inject` is
   * narrow. Called right before `inject`, once the undo record is durable; `revert` removes it. `inject` does without.
   */
  prepare?(planned: Planned<z.output<Undo>>, params: z.output<Params>, context: FaultContext): Promise<void>;
  /** Breaks one target. Called only once its undo record is durable. */
  inject(planned: Planned<z.output<Undo>>, params: z.output<Params>, context: FaultContext): Promise<void>;
  /** Read-only proof that the fault bit, seen on the target's side; `undefined` while it does not show. */
  bites(planned: Planned<z.output<Undo>>, context: FaultContext): Promise<string | undefined>;
  /** Puts one target back, from the undo record alone. Idempotent; right even if `inject` never ran or half ran. */
  revert(undo: z.output<Undo>, context: FaultContext): Promise<void>;
  /** Read-only: is the target back? */
  isReverted(undo: z.output<Undo>, context: FaultContext): Promise<RevertState>;
  /**
   * Read-only: undo records for what a run left behind, found by the run-id tags and labels on the resources alone,
   * when there is no journal.
   */
  discover(runId: string | undefined, context: FaultContext): Promise<readonly z.output<Undo>[]>;
}

/** A fault with its types closed over: parameters and undo records are parsed at its edge. */
export type Fault = FaultDefinition<z.ZodType, z.ZodType>;

export const defineFault = <Params extends z.ZodType, Undo extends z.ZodType>(
  fault: FaultDefinition<Params, Undo>,
): Fault => ({
  ...fault,
  permissions: (params, environment) => fault.permissions(fault.params.parse(params), environment),
  plan: (params, context) => fault.plan(fault.params.parse(params), context),
  prepare: async (planned, params, context) =>
    await fault.prepare?.({ ...planned, undo: fault.undo.parse(planned.undo) }, fault.params.parse(params), context),
  inject: (planned, params, context) =>
    fault.inject({ ...planned, undo: fault.undo.parse(planned.undo) }, fault.params.parse(params), context),
  bites: (planned, context) => fault.bites({ ...planned, undo: fault.undo.parse(planned.undo) }, context),
  revert: (undo, context) => fault.revert(fault.undo.parse(undo), context),
  isReverted: (undo, context) => fault.isReverted(fault.undo.parse(undo), context),
  discover: (runId, context) => fault.discover(runId, context),
});
