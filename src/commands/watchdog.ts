import path from 'node:path';
import { type Cli, type Define, examples } from './command.ts';

/** The process that outlives a run and puts back what it left; started by the run, not by people. */
const watchdog = async (cli: Cli, folder: string): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { environmentOfRun } = await import('./runs.ts');
  const { reach } = await import('./session.ts');
  const { watch } = await import('../experiments/watchdog.ts');
  const { removeRecords } = await import('./left-records.ts');
  const reached = await reach(await environmentOfRun(folder), cli.clock);
  const log = (line: string): void => cli.terminal.note(`${new Date(cli.clock.nowMs()).toISOString()} ${line}`);
  const outcome = await watch(reached.session, folder, path.basename(folder), log, (journal) =>
    removeRecords(reached, folder, journal, log),
  );
  return outcome === undefined || outcome.outstanding.length === 0 ? exitCodes.pass : exitCodes.rollbackIncomplete;
};

export const defineWatchdog: Define = (program, perform) => {
  program
    .command('watchdog', { hidden: true })
    .description('waits for a run to end and puts back what it left; runs start it themselves')
    .argument('<folder>', 'folder of the run')
    .addHelpText('after', examples('watchdog reports/20261124-120000-blackhole-zone-3f9a'))
    .action((folder: string) => perform((cli) => watchdog(cli, path.resolve(folder))));
};
