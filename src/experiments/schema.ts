import { z } from 'zod';
import { durationMs } from '../core/duration.ts';
import type { Environment } from '../core/environment.ts';
import { isBlackstartError } from '../core/errors.ts';
import type { SchemaProblem } from '../core/schema-words.ts';
import type { Probe } from '../probes/probe.ts';
import type { Fault } from './fault.ts';
import {
  asWritten,
  paramsField,
  probesAsWritten,
  registryUnion,
  type ScenarioDocument,
  scenarioFields,
  scenarioProblems,
} from './fields.ts';
import type { ExperimentFault } from './scenario.ts';

const faultUseSchema = (fault: Fault) =>
  z
    .strictObject({
      fault: z.literal(fault.name),
      with: paramsField(fault.params),
      for: z
        .union([z.literal('until-recovered'), durationMs])
        .meta({ description: 'How long the fault lasts, in documented time, or until-recovered.' }),
      atLeast: durationMs.optional().meta({
        description: 'With until-recovered: documented time it lasts even if the service recovers sooner.',
      }),
      atMost: durationMs.meta({
        description: "Documented time after which the target's side ends the fault by itself.",
      }),
    })
    .meta({ description: fault.summary });

type FaultFields = Omit<z.output<ReturnType<typeof faultUseSchema>>, 'with'> & {
  readonly with: Record<string, unknown>;
};

/** An experiment file: its parameters come from the registries of faults and probes. */
export const experimentSchema = (faults: readonly Fault[], probes: readonly Probe[]) => {
  const { apiVersion, ...fields } = scenarioFields(probes);
  return z.strictObject({
    apiVersion,
    kind: z.literal('Experiment'),
    ...fields,
    faults: z.array(registryUnion<FaultFields>('fault', faults.map(faultUseSchema))).min(1),
  });
};
export interface Experiment extends ScenarioDocument {
  readonly faults: readonly FaultFields[];
}

const writtenFaults = z.object({ faults: z.array(z.unknown()) });

/** A parsed experiment with all parameters as they were written: faults and probes parse them at their own edge. */
export const experimentAsWritten = (experiment: Experiment, source: unknown): Experiment => {
  const { faults } = writtenFaults.parse(source);
  return {
    ...probesAsWritten(experiment, source),
    faults: experiment.faults.map((use, index) => asWritten(use, faults[index])),
  };
};

/** The faults of an experiment as the run engine takes them. */
export const experimentFaults = (experiment: Experiment): readonly ExperimentFault[] =>
  experiment.faults.map((use) => ({
    fault: use.fault,
    with: use.with,
    atMostMs: use.atMost,
    holdMs: use.for,
    atLeastMs: use.atLeast ?? 0,
  }));

/** A fault whose regions, zones or workloads this environment does not have; resolving them needs no network. */
export const faultProblems = (
  fault: Fault | undefined,
  params: unknown,
  environment: Environment,
  path: readonly PropertyKey[],
): readonly SchemaProblem[] => {
  try {
    fault?.permissions(params, environment);
    return [];
  } catch (error) {
    if (!isBlackstartError(error)) throw error;
    return [{ path, at: 'value', text: `${error.message}. ${error.hint}` }];
  }
};

const shortestExpiryMs = 60_000;

/** What must hold between the keys of an experiment, its environment and its targets. */
export const experimentProblems = (
  experiment: Experiment,
  environment: Environment,
  targets: readonly string[],
  faults: readonly Fault[],
  probes: readonly Probe[],
): readonly SchemaProblem[] => {
  const problems = [...scenarioProblems(experiment, environment, targets, probes)];
  for (const [index, use] of experiment.faults.entries()) {
    const fault = faults.find((candidate) => candidate.name === use.fault);
    problems.push(...faultProblems(fault, use.with, environment, ['faults', index, 'with']));
    if (use.for !== 'until-recovered' && use.for > use.atMost) {
      const text = `faults[${index}].for must not be longer than its atMost`;
      problems.push({ path: ['faults', index, 'for'], at: 'value', text });
    }
    if (use.atLeast !== undefined && use.for !== 'until-recovered') {
      const text = `faults[${index}].atLeast goes with "for: until-recovered" alone`;
      problems.push({ path: ['faults', index, 'atLeast'], at: 'key', text });
    }
    if (use.atLeast !== undefined && use.atLeast > use.atMost) {
      const text = `faults[${index}].atLeast must not be longer than its atMost`;
      problems.push({ path: ['faults', index, 'atLeast'], at: 'value', text });
    }
    if (use.atMost < shortestExpiryMs) {
      const text = `faults[${index}].atMost must be at least 1m: no provider expires a fault sooner`;
      problems.push({ path: ['faults', index, 'atMost'], at: 'value', text });
    }
  }
  return problems;
};
