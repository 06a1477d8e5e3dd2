import type { z } from 'zod';
import { BlackstartError } from '../core/errors.ts';
import type { FaultUse } from '../experiments/plan.ts';
import type { Running } from '../experiments/running.ts';

/** Moves a drill on: waits, asks, promotes, shifts traffic, injects, reverts. */
export interface StepDefinition<Params extends z.ZodType> {
  readonly name: string;
  readonly summary: string;
  readonly params: Params;
  /** What a person reads before the step runs. */
  describe(params: z.output<Params>): string;
  /** Faults whose undo must be durable before the drill's first fault, so that they are undone after it. */
  arms?(params: z.output<Params>): readonly Pick<FaultUse, 'fault' | 'with'>[];
  /** Faults the step injects itself. */
  breaks?(params: z.output<Params>): readonly FaultUse[];
  /** Returns when the step has been achieved; throws when it has not. */
  run(params: z.output<Params>, running: Running): Promise<void>;
}

/** A step with its types closed over: parameters are parsed at its edge. */
export type Step = StepDefinition<z.ZodType>;

export const defineStep = <Params extends z.ZodType>(step: StepDefinition<Params>): Step => ({
  ...step,
  describe: (params) => step.describe(step.params.parse(params)),
  breaks: (params) => step.breaks?.(step.params.parse(params)) ?? [],
  arms: (params) => step.arms?.(step.params.parse(params)) ?? [],
  run: (params, running) => step.run(step.params.parse(params), running),
});

/**
 * A step changes only what an armed undo covers: the undo of this fault on this target. Throws PLAN_REFUSED before
 * anything is changed.
 */
export const requireArmed = async (running: Running, fault: string, target: string, step: string): Promise<void> => {
  if ((await running.armed(fault)).some((armed) => armed.target === target)) return;
  throw new BlackstartError(
    'PLAN_REFUSED',
    `nothing would undo this step: no undo of ${fault} on ${target} is armed`,
    `Put the step "${step}" for the same region before it in the drill.`,
  );
};
