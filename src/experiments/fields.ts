import { z } from 'zod';
import { durationMs } from '../core/duration.ts';
import type { Environment } from '../core/environment.ts';
import { resolveClient } from '../core/places.ts';
import { notAmong, type SchemaProblem } from '../core/schema-words.ts';
import type { Probe } from '../probes/probe.ts';
import type { ProbeUse } from './scenario.ts';

/** Keys that experiments and drills share, and what must hold between them. */

export const documentName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, { error: 'use lower-case letters, digits and inner hyphens' })
  .max(63)
  .meta({ description: 'Name of the file without its ending: lower-case letters, digits and inner hyphens.' });

const probeName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, { error: 'use lower-case letters, digits and inner hyphens' })
  .max(40);

/** Parameters that may all be left out may be left out as a whole. */
export const paramsField = (params: z.ZodType): z.ZodType =>
  params.safeParse({}).success ? params.prefault({}).meta({ description: 'Parameters.' }) : params;

const probeUseSchema = (probe: Probe) =>
  z
    .strictObject({
      probe: z.literal(probe.name),
      from: z
        .union([z.literal('all'), z.array(z.string().min(1)).min(1)])
        .default('all')
        .meta({
          description:
            'Client locations: all, their names, or primary and failover for those nearest to these regions.',
        }),
      every: durationMs.optional().meta({ description: 'Real time between two probes, such as 100ms.' }),
      timeout: durationMs.optional().meta({ description: 'Real time after which a probe is bad, such as 1s.' }),
      slowAfter: durationMs
        .optional()
        .meta({ description: 'Real time after which an answer counts as slow; the time-out when left out.' }),
      connection: z
        .enum(['fresh', 'kept'])
        .default('fresh')
        .meta({ description: 'A new connection and name lookup for each probe, or kept-alive ones.' }),
      with: paramsField(probe.params),
    })
    .meta({ description: probe.summary });

export type ProbeFields = Omit<z.output<ReturnType<typeof probeUseSchema>>, 'with'> & {
  readonly with: Record<string, unknown>;
};

/** A union by one fixed key over what a registry holds, so that adding an entry there is all it takes. */
export const registryUnion = <Fields>(key: string, options: readonly z.ZodType[]): z.ZodType<Fields> =>
  z.discriminatedUnion(key, options as unknown as [z.core.$ZodTypeDiscriminable]) as unknown as z.ZodType<Fields>;

export const scenarioFields = (probes: readonly Probe[]) => ({
  apiVersion: z.literal('blackstart/v1'),
  name: documentName,
  title: z.string().min(1).max(200).meta({ description: 'One line for people.' }),
  description: z.string().optional().meta({ description: 'What is expected to happen, and why it matters.' }),
  covers: z
    .array(z.string().min(1))
    .min(1)
    .meta({ description: "Rows of the environment's targets file that this measures; area.* for all of an area." }),
  steadyState: z.strictObject({
    probes: z.array(z.string().min(1)).min(1).optional().meta({
      description: 'Probes that must hold the baseline and recover; by default those whose kind asks for it.',
    }),
    for: durationMs.meta({ description: 'Documented time the steady state must hold first.' }),
  }),
  probes: z
    .record(probeName, registryUnion<ProbeFields>('probe', probes.map(probeUseSchema)))
    .meta({ description: 'Name → how the platform is looked at from outside.' }),
  confirm: z
    .strictObject({
      errorsMax: z
        .number()
        .gt(0)
        .lt(0.5)
        .default(0.01)
        .meta({ description: 'Largest share of errors a recovered service may have.' }),
    })
    .prefault({}),
});

export interface ScenarioDocument {
  readonly name: string;
  readonly title: string;
  readonly covers: readonly string[];
  readonly steadyState: { readonly probes?: readonly string[] | undefined; readonly for: number };
  readonly probes: Readonly<Record<string, ProbeFields>>;
  readonly confirm: { readonly errorsMax: number };
}

const written = z.object({ with: z.record(z.string(), z.unknown()).default({}) });

/** A use of a fault, probe or step with its parameters as they were written: each parses them at its own edge. */
export const asWritten = <Use extends object>(use: Use, source: unknown): Use & { with: Record<string, unknown> } => ({
  ...use,
  with: written.parse(source).with,
});

const writtenProbes = z.object({ probes: z.record(z.string(), z.unknown()) });

/** The probes of a document with their parameters as they were written. */
export const probesAsWritten = <Document extends ScenarioDocument>(document: Document, source: unknown): Document => {
  const { probes } = writtenProbes.parse(source);
  const entries = Object.entries(document.probes).map(([name, use]) => [name, asWritten(use, probes[name])] as const);
  return { ...document, probes: Object.fromEntries(entries) };
};

const timesOf = (use: ProbeFields, probe: Probe | undefined) => {
  const timeoutMs = use.timeout ?? probe?.defaults.timeoutMs ?? 1000;
  return {
    everyMs: use.every ?? probe?.defaults.everyMs ?? 1000,
    timeoutMs,
    slowAfterMs: use.slowAfter ?? timeoutMs,
  };
};

const locationsOf = (from: 'all' | readonly string[], environment: Environment): readonly string[] => {
  const names =
    from === 'all'
      ? environment.clients.map((client) => client.name)
      : from.flatMap((reference) => resolveClient(environment, reference) ?? []);
  return [...new Set(names)];
};

/** The probes of a scenario with their locations and defaults resolved. */
export const probeUses = (
  document: ScenarioDocument,
  environment: Environment,
  probes: readonly Probe[],
): readonly ProbeUse[] =>
  Object.entries(document.probes).map(([name, use]) => {
    const probe = probes.find((candidate) => candidate.name === use.probe);
    return {
      name,
      probe: use.probe,
      locations: locationsOf(use.from, environment),
      ...timesOf(use, probe),
      connection: use.connection,
      required: document.steadyState.probes?.includes(name) ?? probe?.required ?? false,
      with: use.with,
    };
  });

const probeProblems = (
  name: string,
  use: ProbeFields,
  environment: Environment,
  probes: readonly Probe[],
): readonly SchemaProblem[] => {
  const problems: SchemaProblem[] = [];
  const locations = environment.clients.map((client) => client.name);
  if (use.from !== 'all') {
    for (const [index, from] of use.from.entries()) {
      if (resolveClient(environment, from) !== undefined) continue;
      const path = ['probes', name, 'from', index];
      problems.push({ path, at: 'value', text: notAmong(path, from, ['primary', 'failover', ...locations]) });
    }
  }
  const probe = probes.find((candidate) => candidate.name === use.probe);
  const { everyMs, timeoutMs, slowAfterMs } = timesOf(use, probe);
  const path = (key: string): string[] => ['probes', name, key];
  if (everyMs < everyLeastMs) {
    const why = 'faster, the instrument disturbs what it measures';
    const text = `probes.${name}.every must be at least ${everyLeastMs}ms: ${why}`;
    problems.push({ path: path('every'), at: 'value', text });
  }
  if (timeoutMs <= 0) {
    problems.push({ path: path('timeout'), at: 'value', text: `probes.${name}.timeout must be more than 0ms` });
  }
  if (slowAfterMs > timeoutMs) {
    const text = `probes.${name}.slowAfter must not be longer than its timeout (${timeoutMs}ms)`;
    problems.push({ path: path('slowAfter'), at: 'value', text });
  }
  return problems;
};

const everyLeastMs = 5;

/** What must hold between the keys of a scenario, its environment and its targets. */
export const scenarioProblems = (
  document: ScenarioDocument,
  environment: Environment,
  targets: readonly string[],
  probes: readonly Probe[],
): readonly SchemaProblem[] => {
  const problems: SchemaProblem[] = [];
  const names = Object.keys(document.probes);
  if (names.length === 0) {
    problems.push({
      path: ['probes'],
      at: 'value',
      text: 'probes must have at least one entry: nothing would be measured',
    });
  }
  for (const [index, name] of (document.steadyState.probes ?? []).entries()) {
    const path = ['steadyState', 'probes', index];
    if (!names.includes(name)) problems.push({ path, at: 'value', text: notAmong(path, name, names) });
  }
  for (const [name, use] of Object.entries(document.probes)) {
    problems.push(...probeProblems(name, use, environment, probes));
  }
  if (names.length > 0 && probeUses(document, environment, probes).every((use) => !use.required)) {
    const text = 'no probe has to hold the baseline and recover: name some in steadyState.probes';
    problems.push({ path: ['steadyState'], at: 'key', text });
  }
  return [...problems, ...coverProblems(document.covers, targets)];
};

/** Rows that an entry of `covers` means: one by its id, or all of an area by `area.*`. */
export const rowsCovered = (entry: string, targets: readonly string[]): readonly string[] =>
  entry.endsWith('.*')
    ? targets.filter((id) => id.startsWith(entry.slice(0, -1)))
    : targets.filter((id) => id === entry);

const coverProblems = (covers: readonly string[], targets: readonly string[]): readonly SchemaProblem[] => {
  const seen = new Set<string>();
  return covers.flatMap((entry, index): readonly SchemaProblem[] => {
    const path = ['covers', index];
    const rows = rowsCovered(entry, targets);
    const again = rows.find((id) => seen.has(id));
    for (const id of rows) seen.add(id);
    if (again !== undefined) {
      return [{ path, at: 'value', text: `covers[${index}] names ${again} a second time` }];
    }
    return rows.length === 0 ? [{ path, at: 'value', text: notCovered(path, entry, targets) }] : [];
  });
};

/** Targets files are long: only the rows of the same area are listed. */
const notCovered = (path: readonly PropertyKey[], id: string, targets: readonly string[]): string => {
  const area = id.split('.')[0];
  const same = targets.filter((target) => target.split('.')[0] === area);
  const areas = [...new Set(targets.map((target) => `${target.split('.')[0]}.*`))];
  return notAmong(path, id, same.length > 0 ? same : areas);
};
