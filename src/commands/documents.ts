import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { measures } from '../analysis/measures/index.ts';
import type { Target } from '../analysis/record.ts';
import { type Environment, environmentSchema } from '../core/environment.ts';
import { environmentProblems } from '../core/environment-rules.ts';
import { BlackstartError, isFileMissing } from '../core/errors.ts';
import {
  BadFileError,
  type FileProblem,
  fitTo,
  inOrder,
  kindOfSource,
  type Loaded,
  parseSource,
  readText,
} from '../core/load.ts';
import { nearestName } from '../core/nearest.ts';
import type { SchemaProblem } from '../core/schema-words.ts';
import { steps } from '../drills/index.ts';
import { type Drill, drillAsWritten, drillProblems, drillSchema } from '../drills/schema.ts';
import { probeUses, rowsCovered, type ScenarioDocument } from '../experiments/fields.ts';
import { faults } from '../experiments/index.ts';
import type { Scenario } from '../experiments/scenario.ts';
import { type Experiment, experimentAsWritten, experimentProblems, experimentSchema } from '../experiments/schema.ts';
import { targetsOf, targetsProblems, targetsSchema } from '../experiments/targets.ts';
import { probes } from '../probes/index.ts';

/** The schema of each kind of file a person writes. */
export const schemas = {
  Experiment: experimentSchema(faults, probes),
  Drill: drillSchema(steps, probes),
  Environment: environmentSchema,
  Targets: targetsSchema,
};
export type Kind = keyof typeof schemas;
export const kinds = Object.keys(schemas) as readonly Kind[];

/** An environment with the targets that are promised for it. */
export interface Platform {
  readonly environment: Environment;
  readonly targets: readonly Target[];
  readonly file: string;
}

export type Document =
  | { readonly kind: 'Experiment'; readonly experiment: Experiment; readonly source: unknown; readonly file: string }
  | { readonly kind: 'Drill'; readonly drill: Drill; readonly source: unknown; readonly file: string };

const packageRoot = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));

/** Where experiments are looked for: `experiments/` of the working folder, or else those that come with blackstart. */
export const experimentsFolder = (): string => {
  const own = path.resolve('experiments');
  return existsSync(own) ? own : path.join(packageRoot, 'experiments');
};

/** A path as people read it: relative to where they are, when it lies below. */
export const shown = (file: string): string => {
  const relative = path.relative(process.cwd(), file);
  return relative.startsWith('..') || path.isAbsolute(relative) ? file : relative;
};

const folders = { Experiment: '', Drill: 'drills', Environment: 'environments' } as const;

const yamlNames = async (folder: string): Promise<readonly string[]> => {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isFileMissing(error)) return [];
    throw error;
  });
  return names.filter((name) => /\.ya?ml$/.test(name)).sort();
};

/** Every file of a kind that has a name, by that name. Targets files lie beside the experiments and are left out. */
export const filesOf = async (kind: keyof typeof folders): Promise<ReadonlyMap<string, string>> => {
  const folder = path.join(experimentsFolder(), folders[kind]);
  const names = await yamlNames(folder);
  const named = names.filter((name) => !name.startsWith('targets'));
  return new Map(named.map((name) => [name.replace(/\.ya?ml$/, ''), path.join(folder, name)]));
};

/** The file that a name or a path on the command line means. Throws USAGE with the nearest name. */
export const fileOf = async (nameOrFile: string, allowed: readonly (keyof typeof folders)[]): Promise<string> => {
  if (/\.ya?ml$/.test(nameOrFile) || nameOrFile.includes('/')) return path.resolve(nameOrFile);
  const known = new Map<string, string>();
  for (const kind of allowed) for (const [name, file] of await filesOf(kind)) known.set(name, file);
  const file = known.get(nameOrFile);
  if (file !== undefined) return file;
  const near = nearestName(nameOrFile, [...known.keys()]);
  const what = allowed.map((kind) => kind.toLowerCase()).join(' or ');
  throw new BlackstartError(
    'USAGE',
    `there is no ${what} "${nameOrFile}"${near === undefined ? '' : `; did you mean "${near}"?`}`,
    `There are: ${[...known.keys()].join(', ')}. A path to a .yaml file works too.`,
  );
};

const checkedOf = <T>(loaded: Loaded<T>): Extract<Loaded<T>, { ok: true }> => {
  if (loaded.ok) return loaded;
  throw new BadFileError(loaded.problems);
};

/** Throws BAD_FILE with every problem of the text. */
const parseAs = <K extends Kind>(text: string, file: string, allowed: readonly K[]) => {
  const { source } = checkedOf(parseSource(text, file));
  return { source, kind: checkedOf(kindOfSource(source, allowed)).value };
};

const refuse = (problems: readonly SchemaProblem[], place: (problem: SchemaProblem) => FileProblem): void => {
  if (problems.length > 0) throw new BadFileError(inOrder(problems.map(place)));
};

/** A targets file's text as rows. Throws BAD_FILE. */
export const parseTargets = (text: string, file: string): readonly Target[] => {
  const { source } = parseAs(text, file, ['Targets']);
  const parsed = checkedOf(fitTo(source, schemas.Targets)).value;
  const ids = parsed.targets.map((row) => row.id);
  const twice = ids.flatMap((id, index): readonly SchemaProblem[] =>
    ids.indexOf(id) === index
      ? []
      : [{ path: ['targets', index, 'id'], at: 'value', text: `there are two rows with the id ${id}` }],
  );
  refuse([...twice, ...targetsProblems(parsed, measures)], source.problemAt);
  return targetsOf(parsed);
};

/** An environment file's text. Throws BAD_FILE. */
export const parseEnvironment = (text: string, file: string): Environment => {
  const { source } = parseAs(text, file, ['Environment']);
  const environment = checkedOf(fitTo(source, schemas.Environment)).value;
  refuse(environmentProblems(environment), source.problemAt);
  return environment;
};

/** An experiment's or a drill's text, checked against a platform. Throws BAD_FILE. */
export const parseScenario = (text: string, file: string, platform: Platform): Document => {
  const { source, kind } = parseAs(text, file, ['Experiment', 'Drill']);
  const { environment } = platform;
  const ids = platform.targets.map((target) => target.id);
  if (kind === 'Experiment') {
    const parsed = checkedOf(fitTo(source, schemas.Experiment)).value;
    const experiment = experimentAsWritten(parsed, source.value);
    refuse(experimentProblems(experiment, environment, ids, faults, probes), source.problemAt);
    return { kind, experiment, source: source.value, file };
  }
  const drill = drillAsWritten(checkedOf(fitTo(source, schemas.Drill)).value, source.value);
  refuse(drillProblems(drill, environment, ids, { faults, probes }), source.problemAt);
  return { kind, drill, source: source.value, file };
};

/** The targets file that an environment names, relative to its own. */
export const targetsFileOf = (environment: Environment, environmentFile: string): string =>
  path.resolve(path.dirname(environmentFile), environment.targets);

/** An environment by name or path, with its targets. */
export const loadPlatform = async (nameOrFile: string): Promise<Platform> => {
  const file = await fileOf(nameOrFile, ['Environment']);
  const environment = parseEnvironment(await readText(file), shown(file));
  const targetsFile = targetsFileOf(environment, file);
  const targets = parseTargets(await readText(shown(targetsFile)), shown(targetsFile));
  return { environment, targets, file };
};

/** An experiment or drill by name or path. */
export const loadScenario = async (
  nameOrFile: string,
  allowed: readonly ('Experiment' | 'Drill')[],
  platform: Platform,
): Promise<Document> => {
  const file = await fileOf(nameOrFile, allowed);
  const document = parseScenario(await readText(shown(file)), shown(file), platform);
  if (allowed.includes(document.kind)) return document;
  throw new BlackstartError(
    'USAGE',
    `${shown(file)} is a ${document.kind.toLowerCase()}`,
    document.kind === 'Drill' ? 'Run it with "blackstart drill".' : 'Run it with "blackstart run".',
  );
};

/** What the engine runs, resolved against the platform. */
export const scenarioOf = (
  document: ScenarioDocument,
  kind: Scenario['kind'],
  source: unknown,
  { environment, targets }: Platform,
): Scenario => ({
  kind,
  name: document.name,
  title: document.title,
  steadyForMs: document.steadyState.for,
  probes: probeUses(document, environment, probes),
  errorsMax: document.confirm.errorsMax,
  targets: document.covers.flatMap((entry) => {
    const rows = rowsCovered(
      entry,
      targets.map((target) => target.id),
    );
    return targets.filter((target) => rows.includes(target.id));
  }),
  source,
});
