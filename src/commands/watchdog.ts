import path from 'node:path';
import { type Cli, type Define, examples } from './command.ts';

/** The process that outlives a run and puts back what it left; started by the run, not by people. */
const watchdog = async (cli: Cli, folder: string): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  const { environmentOfRun } = await import('./runs.ts');
  const { reach } = await import('./session.ts');
  const { watch } = await import('../experiments/watchdog.ts');
  const { session } = await reach(await environmentOfRun(folder), cli.clock);
  const outcome = await watch(session, folder, path.basename(folder), (line) =>
    cli.terminal.note(`${new Date(cli.clock.nowMs()).toISOString()} ${line}`),
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
