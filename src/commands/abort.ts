import { type Cli, type Define, environmentOption, examples } from './command.ts';

/** How long the run may take to put everything back before we stop watching it. */
const waitMs = 300_000;

const abort = async (cli: Cli, wanted: string | undefined, options: { env: string }): Promise<number> => {
  const { BlackstartError, exitCodes } = await import('../core/errors.ts');
  const { environmentIdentity, readAddresses } = await import('../core/addresses.ts');
  const { currentHolder } = await import('../core/lock.ts');
  const { deadline, poll } = await import('../core/clock.ts');
  const { loadPlatform } = await import('./documents.ts');
  const { environment } = await loadPlatform(options.env);
  const identity = environmentIdentity(environment, await readAddresses(environment));
  const holder = currentHolder(identity);
  if (holder === undefined || holder.role !== 'run' || (wanted !== undefined && !holder.runId.startsWith(wanted))) {
    throw new BlackstartError(
      'USAGE',
      wanted === undefined
        ? `no run is going on in ${environment.name}`
        : `run ${wanted} is not going on in ${environment.name}`,
      '"blackstart status" shows what is going on, and what is left to put back.',
    );
  }
  // The lock is held at this moment, so the process is the run's own and not a later one with the same number.
  process.kill(holder.pid, 'SIGTERM');
  cli.terminal.note(`asked ${holder.runId} (pid ${holder.pid}) to stop; it puts back what it changed`);
  const tooLong = new BlackstartError(
    'ROLLBACK_INCOMPLETE',
    `${holder.runId} is still putting things back after ${waitMs / 1000} s`,
    `"blackstart status" shows what is left; "blackstart recover ${holder.runId}" puts it back once the run is gone.`,
  );
  const limit = deadline(cli.clock, waitMs, tooLong, cli.signal);
  try {
    await poll(cli.clock, 200, limit.signal, async () =>
      currentHolder(identity)?.runId === holder.runId ? undefined : true,
    );
  } finally {
    limit.dispose();
  }
  return await conclude(cli, holder.runId, holder.folder, exitCodes);
};

const conclude = async (
  cli: Cli,
  runId: string,
  folder: string,
  exitCodes: typeof import('../core/errors.ts').exitCodes,
): Promise<number> => {
  const { outstanding, readJournal } = await import('../core/journal.ts');
  const { journalFile } = await import('../experiments/recover.ts');
  const left = outstanding(await readJournal(journalFile(folder)));
  for (const { target } of left) cli.terminal.out(`${runId}: ${target} is not back`);
  if (left.length === 0) cli.terminal.out(`${runId}: stopped, everything is back`);
  return left.length === 0 ? exitCodes.pass : exitCodes.rollbackIncomplete;
};

export const defineAbort: Define = (program, perform) => {
  program
    .command('abort')
    .description('stops the run that is going on, from another terminal, and waits until everything is back')
    .argument('[run]', 'its id, or the beginning of it')
    .addOption(environmentOption())
    .addHelpText('after', examples('abort', 'abort 20261124-131502 --env nordic'))
    .action((run: string | undefined, options: { env: string }) => perform((cli) => abort(cli, run, options)));
};
