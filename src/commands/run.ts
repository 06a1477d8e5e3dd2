import {
  type Cli,
  type Define,
  environmentOption,
  examples,
  type Format,
  formatOption,
  wholeNumber,
} from './command.ts';

interface Options {
  readonly env: string;
  readonly repeat: number;
  readonly seed?: number;
  readonly format: Format;
}

const seedsMax = 1_000_000_000;

/** A seed for a run that was given none; it is printed and recorded, so that the run can be repeated. */
export const drawSeed = async (): Promise<number> => (await import('node:crypto')).randomInt(seedsMax);

const run = async (cli: Cli, names: readonly string[], options: Options): Promise<number> => {
  const { loadPlatform, loadScenario, scenarioOf } = await import('./documents.ts');
  const { execute, experimentPhases, worstExitCode } = await import('./execute.ts');
  const { experimentFaults } = await import('../experiments/schema.ts');
  const { runExperiment } = await import('../experiments/run.ts');
  const { reach } = await import('./session.ts');
  const { printReports } = await import('./reporting.ts');
  const platform = await loadPlatform(options.env);
  // Every file is checked before the first of them touches anything.
  const documents = await Promise.all(names.map((name) => loadScenario(name, ['Experiment'], platform)));
  const reached = await reach(platform.environment, cli.clock);
  const firstSeed = options.seed ?? (await drawSeed());
  const executed: import('./execute.ts').Executed[] = [];
  for (let round = 0; round < options.repeat; round += 1) {
    for (const document of documents) {
      if (document.kind !== 'Experiment' || cli.signal.aborted) continue;
      const { experiment, source } = document;
      const faults = experimentFaults(experiment);
      const one = await execute(cli, {
        reached,
        scenario: scenarioOf(experiment, 'experiment', source, platform),
        seed: firstSeed + round,
        after: executed,
        approve: 'auto',
        format: options.format,
        phases: experimentPhases,
        engine: (request) => runExperiment(request, faults, { index: round, of: options.repeat }),
      });
      executed.push(one);
      if (options.format === 'text') printReports(cli.terminal, [one], 'text');
    }
  }
  if (options.format === 'json') printReports(cli.terminal, executed, 'json');
  return worstExitCode(executed.map((one) => one.exitCode));
};

export const defineRun: Define = (program, perform) => {
  program
    .command('run')
    .description('one or several experiments: baseline, inject, observe, revert, confirm, judge, report')
    .argument('<experiment...>', 'names or files')
    .addOption(environmentOption())
    .option(
      '--repeat <times>',
      'how often, each with another seed, and each at its part of a swept phase',
      wholeNumber,
      1,
    )
    .option('--seed <number>', 'seed of all random choices; drawn when left out', wholeNumber)
    .addOption(formatOption())
    .addHelpText(
      'after',
      examples(
        'run kill-llm-pod',
        'run blackhole-zone --env nordic --repeat 20',
        'run hang-llm-pod --seed 7 --format json',
      ),
    )
    .action((names: string[], options: Options) => perform((cli) => run(cli, names, options)));
};
