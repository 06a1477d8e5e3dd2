import { z } from 'zod';
import { durationMs, formatDuration } from '../core/duration.ts';
import type { Environment } from '../core/environment.ts';
import { isBlackstartError } from '../core/errors.ts';
import { resolveRegion } from '../core/places.ts';
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
import { mechanisms } from './mechanisms.ts';
import type { ExperimentFault } from './scenario.ts';

const phaseSchema = z
  .union([
    z.literal('random'),
    durationMs,
    z.strictObject({
      mechanism: z.enum(mechanisms.map(({ name }) => name)),
      region: z.string().default('failover').meta({ description: 'primary, failover, or the name of a region.' }),
      at: z.union([z.enum(['random', 'sweep', 'worst']), durationMs]).meta({
        description:
          'random: drawn from the seed; sweep: the repeats of a run spread evenly over the period; worst: just ' +
          'before a pass ends, when what is shown is oldest; or documented time since a pass began.',
      }),
    }),
  ])
  .default('random')
  .meta({
    description:
      'When it is injected: random (drawn from the seed), documented time after the baseline, or where in its cycle ' +
      'a periodic mechanism of the platform is.',
  });

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
      phase: phaseSchema,
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
    phase: use.phase,
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

/** A phase of something that this environment does not have, or of a fault that does not decide the moment. */
const phaseProblems = (
  { phase }: Pick<FaultFields, 'phase'>,
  index: number,
  environment: Environment,
): readonly SchemaProblem[] => {
  const path = ['faults', index, 'phase'];
  if (index > 0 && phase !== 'random') {
    const text = `faults[${index}].phase: all faults are injected together, and the first one says when`;
    return [{ path, at: 'key', text }];
  }
  if (typeof phase !== 'object') return [];
  const at = [...path, 'region'];
  try {
    const { name, vectors } = resolveRegion(environment, phase.region);
    if (vectors === undefined) {
      const text = `faults[${index}].phase: ${name} has no ${phase.mechanism} in environment ${environment.name}`;
      return [{ path, at: 'value', text }];
    }
    if (typeof phase.at !== 'number' || phase.at < vectors.deltaSync) return [];
    const text = `faults[${index}].phase.at must be shorter than the period, ${formatDuration(vectors.deltaSync)}`;
    return [{ path: [...path, 'at'], at: 'value', text }];
  } catch (error) {
    if (!isBlackstartError(error)) throw error;
    return [{ path: at, at: 'value', text: `${error.message}. ${error.hint}` }];
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
    problems.push(...phaseProblems(use, index, environment));
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
