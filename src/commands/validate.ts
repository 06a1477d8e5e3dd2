import { type Cli, counted, type Define, environmentOption, examples, type Format, formatOption } from './command.ts';

interface Checked {
  readonly file: string;
  readonly kind: string | null;
  readonly problems: readonly Place[];
  /** Allowed, and worth knowing. */
  readonly notes: readonly Place[];
}

interface Place {
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

/** Every file given, or all that there are. */
const filesToCheck = async (given: readonly string[]): Promise<readonly string[]> => {
  const { fileOf, filesOf, parseEnvironment, shown, targetsFileOf } = await import('./documents.ts');
  const { readText } = await import('../core/load.ts');
  const { isBlackstartError } = await import('../core/errors.ts');
  if (given.length > 0) {
    return await Promise.all(given.map((one) => fileOf(one, ['Experiment', 'Drill', 'Environment'])));
  }
  const environments = [...(await filesOf('Environment')).values()];
  const targets: string[] = [];
  for (const file of environments) {
    try {
      targets.push(targetsFileOf(parseEnvironment(await readText(file), shown(file)), file));
    } catch (error) {
      // What is wrong with the environment is said when its own turn comes.
      if (!isBlackstartError(error)) throw error;
    }
  }
  const scenarios = [...(await filesOf('Experiment')).values(), ...(await filesOf('Drill')).values()];
  return [...new Set([...environments, ...targets, ...scenarios])];
};

/** Checks files without a network. The platform is loaded once, and only when a file needs it. */
const checker = async (environmentName: string): Promise<(file: string) => Promise<Checked>> => {
  const documents = await import('./documents.ts');
  const { environmentFindings } = await import('../core/environment-rules.ts');
  const { BadFileError, kindOfSource, parseSource, readText } = await import('../core/load.ts');
  let platform: ReturnType<typeof documents.loadPlatform> | undefined;
  const check = async (file: string): Promise<Pick<Checked, 'kind' | 'notes'>> => {
    const shown = documents.shown(file);
    const text = await readText(shown);
    const parsed = parseSource(text, shown);
    if (!parsed.ok) throw new BadFileError(parsed.problems);
    const kind = kindOfSource(parsed.source, documents.kinds);
    if (!kind.ok) throw new BadFileError(kind.problems);
    let findings: readonly import('../core/schema-words.ts').SchemaProblem[] = [];
    if (kind.value === 'Environment') findings = environmentFindings(documents.parseEnvironment(text, shown));
    else if (kind.value === 'Targets') documents.parseTargets(text, shown);
    else {
      platform ??= documents.loadPlatform(environmentName);
      documents.parseScenario(text, shown, await platform);
    }
    return { kind: kind.value, notes: findings.map(parsed.source.problemAt) };
  };
  return async (file) => {
    const shown = documents.shown(file);
    try {
      return { file: shown, ...(await check(file)), problems: [] };
    } catch (error) {
      if (!(error instanceof BadFileError)) throw error;
      const problems = error.problems.map(({ file: where, line, column, text }) => ({
        line,
        column,
        text: where === shown ? text : `${where}:${line}:${column}: ${text}`,
      }));
      return { file: shown, kind: null, problems, notes: [] };
    }
  };
};

const validate = async (
  cli: Cli,
  given: readonly string[],
  options: { env: string; format: Format },
): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const files = await filesToCheck(given);
  const check = await checker(options.env);
  const checked: Checked[] = [];
  for (const file of files) checked.push(await check(file));
  const problems = checked.reduce((sum, one) => sum + one.problems.length, 0);
  if (options.format === 'json') {
    cli.terminal.out(JSON.stringify({ valid: problems === 0, files: checked }, null, 2));
  } else {
    for (const { file, problems: found, notes } of checked) {
      for (const { line, column, text } of notes) cli.terminal.note(`${file}:${line}:${column}: note: ${text}`);
      for (const { line, column, text } of found) cli.terminal.out(`${file}:${line}:${column}: ${text}`);
    }
    if (problems === 0) cli.terminal.out(`${counted(checked.length, 'file')}, no problem`);
    else cli.terminal.note(`${counted(problems, 'problem')}. "blackstart schema" prints all that is allowed.`);
  }
  return problems === 0 ? exitCodes.pass : exitCodes.usage;
};

export const defineValidate: Define = (program, perform) => {
  program
    .command('validate')
    .description('every problem of the files, with line, column and what is allowed; touches no network')
    .argument('[file...]', 'files or names; all that there are when none is given')
    .addOption(environmentOption())
    .addOption(formatOption())
    .addHelpText(
      'after',
      examples('validate', 'validate blackhole-zone --env nordic', 'validate experiments/*.yaml --format json'),
    )
    .action((files: string[], options: { env: string; format: Format }) =>
      perform((cli) => validate(cli, files, options)),
    );
};
