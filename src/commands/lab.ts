import type { LabUpResult } from '../lab/index.ts';
import {
  type Cli,
  type Define,
  environmentOption,
  examples,
  type Format,
  formatOption,
  positiveNumber,
  wholeNumber,
} from './command.ts';

interface Options {
  readonly env: string;
  readonly format: Format;
}

interface UpOptions extends Options {
  readonly timeScale?: number;
  readonly fencing: boolean;
}

/** The environment of a lab, which must have one. */
const labEnvironment = async (name: string): Promise<import('../core/environment.ts').Environment> => {
  const { loadPlatform } = await import('./documents.ts');
  const { BlackstartError } = await import('../core/errors.ts');
  const { environment } = await loadPlatform(name);
  if (environment.lab !== undefined) return environment;
  throw new BlackstartError(
    'USAGE',
    `environment ${environment.name} is not a lab`,
    'Only an environment file with a "lab" block can be brought up here; "blackstart list environments" shows all.',
  );
};

/** Brings the lab up, saying what it waits for; `demo` does it too. */
export const bringUp = async (
  cli: Cli,
  environment: import('../core/environment.ts').Environment,
  timeScale: number | undefined,
): Promise<LabUpResult> => {
  const { labUp } = await import('../lab/index.ts');
  let said = -1;
  return await labUp({
    environment,
    ...(timeScale === undefined ? {} : { timeScale }),
    onProgress: ({ done, total, waitingFor }) => {
      const tenth = total === 0 ? 0 : Math.floor((done * 10) / total);
      if (tenth <= said) return;
      said = tenth;
      const rest = waitingFor.slice(0, 4).join(', ');
      cli.terminal.note(`lab: ${done} of ${total} parts are ready${rest === '' ? '' : `; waiting for ${rest}`}`);
    },
    signal: cli.signal,
  });
};

/** The same platform whose old primaries are left running when another one is promoted. */
const withoutFencing = (environment: import('../core/environment.ts').Environment): typeof environment =>
  environment.lab === undefined
    ? environment
    : { ...environment, lab: { ...environment.lab, database: { ...environment.lab.database, fencing: false } } };

const up = async (cli: Cli, options: UpOptions): Promise<number> => {
  const { BlackstartError, exitCodes } = await import('../core/errors.ts');
  const { formatDuration } = await import('../core/duration.ts');
  const found = await labEnvironment(options.env);
  const environment = options.fencing ? found : withoutFencing(found);
  const { state, wasUp, elapsedMs } = await bringUp(cli, environment, options.timeScale);
  if (wasUp && !options.fencing && state.layout.settings.database.fencing) {
    throw new BlackstartError(
      'USAGE',
      `the lab ${environment.name} is up already, with fencing`,
      'Take it down first: blackstart lab down.',
    );
  }
  const { timeScale, stateDir } = state.layout;
  if (options.format === 'json') {
    cli.terminal.out(JSON.stringify({ name: environment.name, wasUp, elapsedMs, timeScale, stateDir }, null, 2));
  } else {
    const how = wasUp ? 'was up already' : `is up after ${formatDuration(elapsedMs)}`;
    cli.terminal.out(
      `the lab ${environment.name} ${how}; one documented minute takes ${formatDuration(60_000 / timeScale)}`,
    );
    cli.terminal.note('See it with "blackstart lab status", use it with: eval "$(blackstart lab env)"');
  }
  return exitCodes.pass;
};

const down = async (cli: Cli, options: { readonly env: string }): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { labDown } = await import('../lab/index.ts');
  const { name } = await labEnvironment(options.env);
  const { wasUp } = await labDown(name);
  cli.terminal.out(wasUp ? `the lab ${name} is down; nothing of it is left` : `the lab ${name} was not up`);
  return exitCodes.pass;
};

const statusText = async (status: import('../lab/index.ts').LabStatus): Promise<string> => {
  const { columnsText } = await import('../core/terminal.ts');
  const blocks = [
    `${status.name} is ${status.phase}${status.timeScale === null ? '' : `, time scale ${status.timeScale}`}` +
      (status.memoryMegabytes === null ? '' : `, ${Math.round(status.memoryMegabytes)} MB`),
  ];
  if (status.components.length > 0) {
    const rows = status.components.map((one) => [
      `  ${one.name}`,
      one.place,
      `pid ${one.pid}`,
      one.state,
      one.memoryMegabytes === null ? '' : `${Math.round(one.memoryMegabytes)} MB`,
    ]);
    blocks.push(columnsText(rows));
  }
  const { addresses, rules, problems } = status;
  if (addresses !== null) blocks.push(columnsText(addressRows(addresses)));
  if (rules !== null) {
    blocks.push(
      rules.length === 0
        ? 'no link is cut or slowed'
        : rules.map((rule) => `link rule ${JSON.stringify(rule)}`).join('\n'),
    );
  }
  if (problems.length > 0) blocks.push(problems.map((problem) => `cannot say: ${problem}`).join('\n'));
  return blocks.join('\n\n');
};

const addressRows = (addresses: import('../lab/index.ts').LabAddressBook): readonly (readonly string[])[] => [
  ...Object.entries(addresses.service).flatMap(([client, regions]) =>
    Object.entries(regions).flatMap(([, zones]) =>
      Object.entries(zones).map(([zone, url]) => [`  service, ${client}`, zone, url]),
    ),
  ),
  ...Object.entries(addresses.resolvers).map(([place, address]) => ['  resolver', place, address]),
  ...Object.entries(addresses.kubernetes).map(([region, url]) => ['  Kubernetes', region, url]),
  ...Object.entries(addresses.postgres).map(([node, address]) => ['  PostgreSQL', node, address]),
  ['  AWS', '', addresses.awsEndpoint ?? ''],
  ['  kubeconfig', '', addresses.kubeconfig ?? ''],
  ['  Alertmanager', '', addresses.alertmanager],
];

const status = async (cli: Cli, options: Options): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { labStatus } = await import('../lab/index.ts');
  const { name } = await labEnvironment(options.env);
  const found = await labStatus(name);
  cli.terminal.out(options.format === 'json' ? JSON.stringify(found, null, 2) : await statusText(found));
  return found.phase === 'up' ? exitCodes.pass : exitCodes.inconclusive;
};

const logs = async (
  cli: Cli,
  component: string | undefined,
  options: { readonly env: string; readonly lines: number },
): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { labLogs } = await import('../lab/index.ts');
  const { name } = await labEnvironment(options.env);
  for (const log of labLogs(name, component)) {
    for (const line of log.lines.slice(-options.lines)) cli.terminal.out(`${log.component}: ${line}`);
  }
  return exitCodes.pass;
};

/** Quoted for any POSIX shell. */
const shellQuoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const env = async (cli: Cli, options: Options): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { labEnv } = await import('../lab/index.ts');
  const { name } = await labEnvironment(options.env);
  const variables = await labEnv(name);
  if (options.format === 'json') cli.terminal.out(JSON.stringify(variables, null, 2));
  else for (const [key, value] of Object.entries(variables)) cli.terminal.out(`export ${key}=${shellQuoted(value)}`);
  return exitCodes.pass;
};

export const defineLab: Define = (program, perform) => {
  const lab = program
    .command('lab')
    .description('the embedded platform: regions on this machine, with Kubernetes and AWS APIs')
    .addHelpText('after', examples('lab up', 'lab status --format json', 'lab down'));
  lab
    .command('up')
    .description('starts it, detached; it goes down by itself when unused')
    .addOption(environmentOption())
    .option('--time-scale <factor>', 'divides the documented times; 1 is the faithful drill', positiveNumber)
    .option('--no-fencing', 'leaves an old primary running when another is promoted, so that a split brain happens')
    .addOption(formatOption())
    .addHelpText('after', examples('lab up', 'lab up --env nordic --time-scale 10', 'lab up --no-fencing'))
    .action((options: UpOptions) => perform((cli) => up(cli, options)));
  lab
    .command('down')
    .description('ends it; no process, port or file is left')
    .addOption(environmentOption())
    .addHelpText('after', examples('lab down', 'lab down --env nordic'))
    .action((options: Options) => perform((cli) => down(cli, options)));
  lab
    .command('status')
    .description('every part with its process, every address, every rule on the links')
    .addOption(environmentOption())
    .addOption(formatOption())
    .addHelpText('after', examples('lab status', 'lab status --format json'))
    .action((options: Options) => perform((cli) => status(cli, options)));
  lab
    .command('logs')
    .description('what the parts wrote')
    .argument('[component]', 'only parts whose name contains this')
    .addOption(environmentOption())
    .option('-n, --lines <number>', 'lines of each part', wholeNumber, 50)
    .addHelpText('after', examples('lab logs database', 'lab logs us-west-2a --lines 200'))
    .action((component: string | undefined, options: { env: string; lines: number }) =>
      perform((cli) => logs(cli, component, options)),
    );
  lab
    .command('env')
    .description('shell variables under which kubectl, aws, psql and OpenAI clients work against it')
    .addOption(environmentOption())
    .addOption(formatOption())
    .addHelpText('after', '\nExamples:\n  $ eval "$(blackstart lab env)"\n  $ blackstart lab env --format json\n')
    .action((options: Options) => perform((cli) => env(cli, options)));
};
