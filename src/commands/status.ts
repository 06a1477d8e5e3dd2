import { type Cli, type Define, environmentOption, examples, type Format, formatOption } from './command.ts';

interface Options {
  readonly env: string;
  readonly format: Format;
}

/** Who works on the environment now; null when nobody does, or its lab is not up. */
const holderOf = async (environmentName: string): Promise<import('../core/lock.ts').Holder | null> => {
  const { environmentIdentity, readAddresses } = await import('../core/addresses.ts');
  const { isBlackstartError } = await import('../core/errors.ts');
  const { currentHolder } = await import('../core/lock.ts');
  const { loadPlatform } = await import('./documents.ts');
  const { environment } = await loadPlatform(environmentName);
  try {
    return currentHolder(environmentIdentity(environment, await readAddresses(environment))) ?? null;
  } catch (error) {
    if (isBlackstartError(error) && error.code === 'UNREACHABLE') return null;
    throw error;
  }
};

const status = async (cli: Cli, options: Options): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { outstanding, readJournal } = await import('../core/journal.ts');
  const { journalFile } = await import('../experiments/recover.ts');
  const { listRuns } = await import('./runs.ts');
  const holder = await holderOf(options.env);
  const left = (await listRuns()).filter((run) => run.outstanding > 0 && run.runId !== holder?.runId);
  const unfinished = await Promise.all(
    left.map(async ({ runId, folder }) => ({
      runId,
      folder,
      outstanding: outstanding(await readJournal(journalFile(folder))).map(({ fault, target }) => ({ fault, target })),
    })),
  );
  if (options.format === 'json') {
    cli.terminal.out(JSON.stringify({ environment: options.env, running: holder, unfinished }, null, 2));
  } else {
    const running =
      holder === null
        ? `nothing is going on in ${options.env}`
        : `${holder.role} ${holder.runId} (pid ${holder.pid}) since ${holder.since}`;
    cli.terminal.out(running);
    for (const run of unfinished) {
      for (const { target } of run.outstanding) cli.terminal.out(`${run.runId}: ${target} is not back`);
      cli.terminal.out(`  put it back with: blackstart recover ${run.runId}`);
    }
  }
  return unfinished.length === 0 ? exitCodes.pass : exitCodes.rollbackIncomplete;
};

export const defineStatus: Define = (program, perform) => {
  program
    .command('status')
    .description('what is in flight, and what earlier runs left to put back')
    .addOption(environmentOption())
    .addOption(formatOption())
    .addHelpText('after', examples('status', 'status --env nordic --format json'))
    .action((options: Options) => perform((cli) => status(cli, options)));
};
