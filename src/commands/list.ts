import { Argument } from 'commander';
import { type Cli, type Define, environmentOption, examples, type Format, formatOption } from './command.ts';

const whats = ['experiments', 'drills', 'environments', 'targets', 'faults', 'probes', 'steps', 'runs'] as const;
type What = (typeof whats)[number];

interface Row {
  readonly name: string;
  readonly text: string;
}

/** What each list holds. Files that do not parse are listed with their first problem, so that none hides. */
const lister = async (environmentName: string): Promise<Record<What, () => Promise<readonly Row[]>>> => {
  const documents = await import('./documents.ts');
  const { readText } = await import('../core/load.ts');
  const { isBlackstartError, messageOf } = await import('../core/errors.ts');
  const readable = async (name: string, look: () => Promise<string>): Promise<Row> => {
    try {
      return { name, text: await look() };
    } catch (error) {
      if (!isBlackstartError(error)) throw error;
      return { name, text: `does not parse: ${messageOf(error)}` };
    }
  };
  const files = async (
    kind: 'Experiment' | 'Drill' | 'Environment',
    title: (file: string) => Promise<string>,
  ): Promise<readonly Row[]> =>
    await Promise.all([...(await documents.filesOf(kind))].map(([name, file]) => readable(name, () => title(file))));
  const scenarios = async (kind: 'Experiment' | 'Drill'): Promise<readonly Row[]> => {
    const platform = await documents.loadPlatform(environmentName);
    return await files(kind, async (file) => {
      const document = documents.parseScenario(await readText(file), documents.shown(file), platform);
      return document.kind === 'Experiment' ? document.experiment.title : document.drill.title;
    });
  };
  const registered = (entries: readonly { readonly name: string; readonly summary: string }[]): readonly Row[] =>
    entries.map(({ name, summary }) => ({ name, text: summary }));
  return {
    experiments: () => scenarios('Experiment'),
    drills: () => scenarios('Drill'),
    environments: () =>
      files(
        'Environment',
        async (file) => documents.parseEnvironment(await readText(file), documents.shown(file)).title,
      ),
    targets: async () =>
      (await documents.loadPlatform(environmentName)).targets.map(({ id, promise, text }) => ({
        name: id,
        text: `${promise}: ${text}`,
      })),
    faults: async () => registered((await import('../experiments/index.ts')).faults),
    probes: async () => registered((await import('../probes/index.ts')).probes),
    steps: async () => registered((await import('../drills/index.ts')).steps),
    runs: async () => {
      const { listRuns } = await import('./runs.ts');
      return (await listRuns()).map(({ runId, text }) => ({ name: runId, text }));
    },
  };
};

const shownByDefault: readonly What[] = ['experiments', 'drills', 'environments', 'faults', 'probes', 'steps'];

const list = async (cli: Cli, what: What | undefined, options: { env: string; format: Format }): Promise<number> => {
  const { columnsText } = await import('../core/terminal.ts');
  const { exitCodes } = await import('../core/errors.ts');
  const lists = await lister(options.env);
  const wanted = what === undefined ? shownByDefault : [what];
  const found: Partial<Record<What, readonly Row[]>> = {};
  for (const each of wanted) found[each] = await lists[each]();
  if (options.format === 'json') {
    cli.terminal.out(JSON.stringify(found, null, 2));
    return exitCodes.pass;
  }
  const blocks = wanted.map((each) => {
    const rows = found[each] ?? [];
    const text = rows.length === 0 ? '  none' : columnsText(rows.map((row) => [`  ${row.name}`, row.text]));
    return what === undefined ? `${each}\n${text}` : text;
  });
  cli.terminal.out(blocks.join('\n\n'));
  return exitCodes.pass;
};

export const defineList: Define = (program, perform) => {
  program
    .command('list')
    .description('experiments, drills, environments, targets, faults, probes, steps and runs')
    .addArgument(new Argument('[what]', 'only these').choices(whats))
    .addOption(environmentOption())
    .addOption(formatOption())
    .addHelpText('after', examples('list', 'list targets --env nordic', 'list faults --format json'))
    .action((what: What | undefined, options: { env: string; format: Format }) =>
      perform((cli) => list(cli, what, options)),
    );
};
