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
  readonly for?: string;
  readonly seed?: number;
  readonly format: Format;
}

/** What is looked at when no file says it: every client location, with new connections and with kept ones. */
const plainCheck: import('../experiments/fields.ts').ScenarioDocument = {
  name: 'check',
  title: 'The steady state holds',
  covers: [],
  steadyState: { probes: ['chat', 'health'], for: 0 },
  probes: {
    chat: { probe: 'chat', from: 'all', every: 50, timeout: 2000, connection: 'fresh', with: {} },
    health: { probe: 'health', from: 'all', every: 50, timeout: 1000, connection: 'fresh', with: {} },
    'chat-kept': { probe: 'chat', from: 'all', every: 250, timeout: 2000, connection: 'kept', with: {} },
  },
  confirm: { errorsMax: 0.01 },
};

/** The probes and the steady state of a file, without its faults. */
const scenarioFor = async (
  name: string | undefined,
  platform: import('./documents.ts').Platform,
  options: Options,
): Promise<import('../experiments/scenario.ts').Scenario> => {
  const { loadScenario, scenarioOf } = await import('./documents.ts');
  const { durationOption } = await import('./durations.ts');
  const loaded = name === undefined ? undefined : await loadScenario(name, ['Experiment', 'Drill'], platform);
  const document = loaded === undefined ? plainCheck : loaded.kind === 'Experiment' ? loaded.experiment : loaded.drill;
  const scenario = scenarioOf(document, 'check', loaded?.source ?? document, platform);
  const steadyForMs = options.for === undefined ? scenario.steadyForMs : durationOption('--for', options.for);
  return { ...scenario, steadyForMs, targets: [] };
};

const check = async (cli: Cli, name: string | undefined, options: Options): Promise<number> => {
  const { loadPlatform } = await import('./documents.ts');
  const { execute, experimentPhases } = await import('./execute.ts');
  const { withRun } = await import('../experiments/harness.ts');
  const { printReports } = await import('./reporting.ts');
  const { reach } = await import('./session.ts');
  const { drawSeed } = await import('./run.ts');
  const platform = await loadPlatform(options.env);
  const executed = await execute(cli, {
    reached: await reach(platform.environment, cli.clock),
    scenario: await scenarioFor(name, platform, options),
    seed: options.seed ?? (await drawSeed()),
    approve: 'auto',
    format: options.format,
    phases: experimentPhases.filter(({ phase }) => ['warm-up', 'baseline', 'report'].includes(phase)),
    engine: (request) => withRun(request, [], async () => undefined),
  });
  printReports(cli.terminal, [executed], options.format);
  return executed.exitCode;
};

export const defineCheck: Define = (program, perform) => {
  program
    .command('check')
    .description('the steady state alone, without any fault: for CI')
    .argument('[experiment]', 'whose probes and steady state are checked; chat and health everywhere when left out')
    .addOption(environmentOption())
    .option('--for <duration>', 'documented time it must hold; as long as the evidence needs when left out')
    .option('--seed <number>', 'seed of all random choices; drawn when left out', wholeNumber)
    .addOption(formatOption())
    .addHelpText('after', examples('check', 'check blackhole-zone --env nordic', 'check --for 10m --format json'))
    .action((name: string | undefined, options: Options) => perform((cli) => check(cli, name, options)));
};
