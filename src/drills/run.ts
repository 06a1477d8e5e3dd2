import { BlackstartError } from '../core/errors.ts';
import { type RunEnd, type RunRequest, withRun } from '../experiments/harness.ts';
import type { FaultUse } from '../experiments/plan.ts';
import { confirm } from '../experiments/run.ts';
import type { Running } from '../experiments/running.ts';
import type { DrillStep } from '../experiments/scenario.ts';
import type { Step } from './step.ts';

export const findStep = (steps: readonly Step[], name: string): Step => {
  const step = steps.find((candidate) => candidate.name === name);
  if (step !== undefined) return step;
  throw new BlackstartError(
    'BAD_FILE',
    `there is no drill step "${name}"`,
    `Use one of: ${steps.map((candidate) => candidate.name).join(', ')}.`,
  );
};

const runStep = async (running: Running, step: Step, planned: DrillStep): Promise<void> => {
  const { clock } = running.session;
  const title = planned.title ?? step.describe(planned.with);
  const mark = async (name: 'step.started' | 'step.finished'): Promise<void> => {
    const nowMs = clock.monotonicMs();
    const data = { step: step.name };
    await running.see({ name, subject: title, minMs: nowMs, maxMs: nowMs, source: 'runner', data });
  };
  await running.phase(step.name, title, async () => {
    await mark('step.started');
    await step.run(planned.with, running);
    await mark('step.finished');
  });
};

const armsOf = (steps: readonly Step[], plan: readonly DrillStep[]): readonly FaultUse[] =>
  plan
    .flatMap((planned) => findStep(steps, planned.step).arms?.(planned.with) ?? [])
    .map((use) => ({ ...use, atMostMs: 0 }));

/** Everything a drill will change and can undo. */
export const usesOf = (steps: readonly Step[], plan: readonly DrillStep[]): readonly FaultUse[] => [
  ...armsOf(steps, plan),
  ...plan.flatMap((planned) => findStep(steps, planned.step).breaks?.(planned.with) ?? []),
];

/**
 * Goes through the steps of a drill in order. Undo records that steps announce are durable before the first step runs,
 * so that on the way back they are undone after the faults that lie between.
 */
export const runDrill = async (
  request: RunRequest,
  steps: readonly Step[],
  plan: readonly DrillStep[],
): Promise<RunEnd> =>
  await withRun(request, usesOf(steps, plan), async (running) => {
    for (const use of armsOf(steps, plan)) await running.arm(use);
    for (const planned of plan) await runStep(running, findStep(steps, planned.step), planned);
    await confirm(running);
  });
