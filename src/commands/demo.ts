import { type Cli, type Define, examples, positiveNumber } from './command.ts';

interface Options {
  readonly env: string;
  readonly timeScale?: number;
  readonly keep?: true;
}

/** The four failure scenarios of the documentation, in its order. */
const scenarios = ['blackhole-zone', 'region-failover', 'partition-regions', 'kill-llm-pod'] as const;
/** Fixed, so that two demonstrations show the same. */
const seed = 1;

const runOne = async (
  cli: Cli,
  name: string,
  platform: import('./documents.ts').Platform,
  reached: import('./session.ts').Reached,
  after: readonly import('./execute.ts').Executed[],
): Promise<import('./execute.ts').Executed> => {
  const { loadScenario, scenarioOf } = await import('./documents.ts');
  const { execute, experimentPhases } = await import('./execute.ts');
  const { executeDrill } = await import('./drilling.ts');
  const { experimentFaults } = await import('../experiments/schema.ts');
  const { runExperiment } = await import('../experiments/run.ts');
  const document = await loadScenario(name, ['Experiment', 'Drill'], platform);
  const common = { reached, seed, after, approve: 'auto', format: 'text' } as const;
  if (document.kind === 'Drill') return await executeDrill(cli, { ...common, platform, document });
  const { experiment, source } = document;
  const faults = experimentFaults(experiment);
  return await execute(cli, {
    ...common,
    scenario: scenarioOf(experiment, 'experiment', source, platform),
    phases: experimentPhases,
    engine: (request) => runExperiment(request, faults),
  });
};

const demo = async (cli: Cli, options: Options): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { formatDuration } = await import('../core/duration.ts');
  const { labDown } = await import('../lab/index.ts');
  const { loadPlatform } = await import('./documents.ts');
  const { printReports } = await import('./reporting.ts');
  const { bringUp } = await import('./lab.ts');
  const { reach } = await import('./session.ts');
  const startedMs = cli.clock.monotonicMs();
  const platform = await loadPlatform(options.env);
  const { environment } = platform;
  const up = await bringUp(cli, environment, options.timeScale);
  const executed: import('./execute.ts').Executed[] = [];
  try {
    const reached = await reach(environment, cli.clock);
    for (const name of scenarios) {
      if (cli.signal.aborted) break;
      cli.terminal.note(`\n${name} (${executed.length + 1} of ${scenarios.length})`);
      const one = await runOne(cli, name, platform, reached, executed);
      executed.push(one);
      printReports(cli.terminal, [one], 'text');
    }
  } finally {
    if (!options.keep && !up.wasUp) await labDown(environment.name);
  }
  const { columnsText } = await import('../core/terminal.ts');
  const took = formatDuration(cli.clock.monotonicMs() - startedMs);
  cli.terminal.out('');
  cli.terminal.out(columnsText(executed.map(({ report }) => [report.run.name, report.verdict, report.run.title])));
  cli.terminal.out(`\n${executed.length} of ${scenarios.length} scenarios, ${took} with bringing the lab up and down`);
  const { demoExitCode } = await import('./execute.ts');
  return cli.signal.aborted ? exitCodes.aborted : demoExitCode(executed);
};

export const defineDemo: Define = (program, perform) => {
  program
    .command('demo')
    .description('brings the lab up, runs the four documented failure scenarios, shows promised beside observed')
    .option('--env <environment>', 'another lab environment', 'lab')
    .option('--time-scale <factor>', 'divides the documented times; the environment says how much', positiveNumber)
    .option('--keep', 'leave the lab up afterwards')
    .addHelpText('after', examples('demo', 'demo --keep', 'demo --env nordic'))
    .action((options: Options) => perform((cli) => demo(cli, options)));
};
