import { z } from 'zod';
import { durationMs } from '../core/duration.ts';
import type { Environment } from '../core/environment.ts';
import { notAmong, type SchemaProblem, wordProblems } from '../core/schema-words.ts';
import type { Fault } from '../experiments/fault.ts';
import {
  asWritten,
  paramsField,
  probesAsWritten,
  registryUnion,
  type ScenarioDocument,
  scenarioFields,
  scenarioProblems,
} from '../experiments/fields.ts';
import type { FaultUse } from '../experiments/plan.ts';
import type { DrillStep } from '../experiments/scenario.ts';
import { faultProblems } from '../experiments/schema.ts';
import type { Probe } from '../probes/probe.ts';
import type { Step } from './step.ts';

const stepUseSchema = (step: Step) =>
  z
    .strictObject({
      step: z.literal(step.name),
      title: z.string().min(1).max(200).optional().meta({ description: 'What a person reads while it runs.' }),
      with: paramsField(step.params),
    })
    .meta({ description: step.summary });

type StepFields = Omit<z.output<ReturnType<typeof stepUseSchema>>, 'with'> & {
  readonly with: Record<string, unknown>;
};

/** A drill file, its steps and probes from the registries. */
export const drillSchema = (steps: readonly Step[], probes: readonly Probe[]) => {
  const { apiVersion, ...fields } = scenarioFields(probes);
  return z.strictObject({
    apiVersion,
    kind: z.literal('Drill'),
    ...fields,
    steps: z.array(registryUnion<StepFields>('step', steps.map(stepUseSchema))).min(1),
  });
};
export interface Drill extends ScenarioDocument {
  readonly steps: readonly StepFields[];
}

const writtenSteps = z.object({ steps: z.array(z.unknown()) });

/** A parsed drill with all parameters as they were written: steps and probes parse them at their own edge. */
export const drillAsWritten = (drill: Drill, source: unknown): Drill => {
  const { steps } = writtenSteps.parse(source);
  return {
    ...probesAsWritten(drill, source),
    steps: drill.steps.map((use, index) => asWritten(use, steps[index])),
  };
};

/** The steps of a drill as the drill engine takes them. */
export const drillSteps = (drill: Drill): readonly DrillStep[] =>
  drill.steps.map((use) => ({ step: use.step, title: use.title, with: use.with }));

interface Named {
  readonly fault?: unknown;
  readonly with?: unknown;
  readonly region?: unknown;
}

const injectProblems = (
  use: Named,
  index: number,
  environment: Environment,
  faults: readonly Fault[],
): readonly SchemaProblem[] => {
  const path = ['steps', index, 'with'];
  const fault = faults.find((candidate) => candidate.name === use.fault);
  if (fault === undefined) {
    const at = [...path, 'fault'];
    return [
      {
        path: at,
        at: 'value',
        text: notAmong(
          at,
          use.fault,
          faults.map((one) => one.name),
        ),
      },
    ];
  }
  const parsed = fault.params.safeParse(use.with ?? {});
  if (parsed.success) return faultProblems(fault, use.with ?? {}, environment, [...path, 'with']);
  const problems = wordProblems(parsed.error, use.with ?? {}, fault.params, () => undefined);
  return problems.map((one) => ({
    ...one,
    path: [...path, 'with', ...one.path],
    text: `steps[${index}].with.with: ${one.text}`,
  }));
};

/** What must hold between the keys of a drill, its environment and its targets. */
export const drillProblems = (
  drill: Drill,
  environment: Environment,
  targets: readonly string[],
  registries: { readonly faults: readonly Fault[]; readonly probes: readonly Probe[] },
): readonly SchemaProblem[] => {
  const problems = [...scenarioProblems(drill, environment, targets, registries.probes)];
  const injected = new Set<unknown>();
  for (const [index, { step, with: params }] of drill.steps.entries()) {
    const use: Named = params;
    if (step === 'inject') {
      problems.push(...injectProblems(use, index, environment, registries.faults));
      injected.add(use.fault);
    }
    if (step === 'revert' && !injected.has(use.fault)) {
      const path = ['steps', index, 'with', 'fault'];
      const text = `steps[${index}] reverts ${String(use.fault)}, which no step before it injects`;
      problems.push({ path, at: 'value', text });
    }
    if (typeof use.region === 'string') problems.push(...regionProblems(use.region, index, environment));
  }
  return problems;
};

const regionProblems = (region: string, index: number, environment: Environment): readonly SchemaProblem[] => {
  const allowed = ['primary', 'failover', ...environment.regions.map((one) => one.name)];
  if (allowed.includes(region)) return [];
  const path = ['steps', index, 'with', 'region'];
  return [{ path, at: 'value', text: notAmong(path, region, allowed) }];
};

const injectParams = z.object({
  fault: z.string(),
  with: z.record(z.string(), z.unknown()).default({}),
  atMost: durationMs,
});

/** The faults that the steps of a drill inject, for planning them. */
export const injectedFaults = (drill: Drill): readonly FaultUse[] =>
  drill.steps.flatMap((use) => {
    if (use.step !== 'inject') return [];
    const { fault, with: params, atMost } = injectParams.parse(use.with);
    return [{ fault, with: params, atMostMs: atMost }];
  });
