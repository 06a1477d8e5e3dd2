import { Option } from 'commander';
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
  readonly approve: 'ask' | 'auto';
  readonly seed?: number;
  readonly format: Format;
}

const drill = async (cli: Cli, name: string, options: Options): Promise<number> => {
  const { BlackstartError } = await import('../core/errors.ts');
  const { loadPlatform, loadScenario } = await import('./documents.ts');
  const { reach } = await import('./session.ts');
  const { drawSeed } = await import('./run.ts');
  const { executeDrill } = await import('./drilling.ts');
  const { printReports } = await import('./reporting.ts');
  if (options.approve === 'ask' && !cli.terminal.isInteractive) {
    throw new BlackstartError(
      'USAGE',
      'nobody is at the keyboard to approve the steps of the drill',
      'Run it in a terminal, or with "--approve auto", which waits as long as the documentation gives people.',
    );
  }
  const platform = await loadPlatform(options.env);
  const document = await loadScenario(name, ['Drill'], platform);
  const executed = await executeDrill(cli, {
    platform,
    document,
    reached: await reach(platform.environment, cli.clock),
    seed: options.seed ?? (await drawSeed()),
    approve: options.approve,
    format: options.format,
  });
  printReports(cli.terminal, [executed], options.format);
  return executed.exitCode;
};

export const defineDrill: Define = (program, perform) => {
  program
    .command('drill')
    .description('a runbook: ordered steps, some of them decided by people')
    .argument('<drill>', 'name or file')
    .addOption(environmentOption())
    .addOption(
      new Option('--approve <mode>', 'ask the person here, or wait the documented time and go on')
        .choices(['ask', 'auto'])
        .default('ask'),
    )
    .option('--seed <number>', 'seed of all random choices; drawn when left out', wholeNumber)
    .addOption(formatOption())
    .addHelpText('after', examples('drill region-failover', 'drill region-failover --approve auto --format json'))
    .action((name: string, options: Options) => perform((cli) => drill(cli, name, options)));
};
