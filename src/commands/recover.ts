import path from 'node:path';
import { type Cli, counted, type Define, environmentOption, examples } from './command.ts';

interface Options {
  readonly env: string;
  readonly discover?: true;
}

/** How long a watchdog that is already mending may take before we give up waiting for it. */
const waitMs = 180_000;

const progress =
  (cli: Cli, runId: string) =>
  ({ target, state }: { readonly target: string; readonly state: string }): void => {
    cli.undoing(runId, target);
    cli.terminal.note(`  ${target}: ${state}`);
  };

type Outcome = import('../core/undo.ts').RevertOutcome;

/** What came of it, as the error that stands for it when something is left. */
const conclude = async (cli: Cli, outcome: Outcome, runId: string): Promise<void> => {
  const { rollbackIncomplete } = await import('../core/undo.ts');
  cli.terminal.out(`${runId}: ${counted(outcome.reverted.length, 'target')} put back`);
  for (const { armed, reason } of outcome.outstanding) cli.terminal.out(`${runId}: ${armed.target} left: ${reason}`);
  const error = rollbackIncomplete(outcome, runId);
  if (error !== undefined) throw error;
};

/** Recovery reads the environment as it was when the run began: the file may have changed since. */
const recoverOne = async (cli: Cli, folder: string, runId: string): Promise<void> => {
  const { environmentOfRun } = await import('./runs.ts');
  const { reach } = await import('./session.ts');
  const { recoverRun } = await import('../experiments/recover.ts');
  const { removeRecords } = await import('./left-records.ts');
  const reached = await reach(await environmentOfRun(folder), cli.clock);
  cli.terminal.note(`putting back what ${runId} left`);
  const outcome = await recoverRun(reached.session, {
    folder,
    runId,
    role: 'recover',
    waitMs,
    signal: new AbortController().signal,
    onProgress: progress(cli, runId),
    afterwards: (journal) => removeRecords(reached, folder, journal, (text) => cli.terminal.note(`  ${text}`)),
  });
  await conclude(cli, outcome, runId);
};

const discover = async (cli: Cli, wanted: string | undefined, options: Options): Promise<void> => {
  const { loadPlatform } = await import('./documents.ts');
  const { reach } = await import('./session.ts');
  const { recoverByDiscovery } = await import('../experiments/recover.ts');
  const { newRunId, reportsFolder } = await import('../experiments/run-folder.ts');
  const { environment } = await loadPlatform(options.env);
  const { session } = await reach(environment, cli.clock);
  const runId = newRunId(cli.clock, 'recover');
  const { outcome, unseen } = await recoverByDiscovery(session, {
    folder: path.join(reportsFolder(), runId),
    runId,
    ofRun: wanted,
    role: 'recover',
    waitMs,
    signal: cli.signal,
    onProgress: progress(cli, runId),
  });
  for (const one of unseen) cli.terminal.out(`${runId}: not looked for: ${one}`);
  await conclude(cli, outcome, runId);
  if (unseen.length === 0) return;
  const { BlackstartError } = await import('../core/errors.ts');
  throw new BlackstartError(
    'ROLLBACK_INCOMPLETE',
    `what ${unseen.length === 1 ? 'one fault' : `${unseen.length} faults`} may have left could not be looked for`,
    'Run it again once what does not answer can be reached.',
  );
};

const recover = async (cli: Cli, wanted: string | undefined, options: Options): Promise<number> => {
  const { exitCodes } = await import('../core/errors.ts');
  if (options.discover) {
    await discover(cli, wanted, options);
    return exitCodes.pass;
  }
  const { findRun, listRuns } = await import('./runs.ts');
  const runs = wanted === undefined ? (await listRuns()).filter((run) => run.outstanding > 0) : [await findRun(wanted)];
  if (runs.length === 0) cli.terminal.out('nothing to put back: every run undid all it did');
  let failure: unknown;
  for (const { folder, runId } of runs) {
    try {
      await recoverOne(cli, folder, runId);
    } catch (error) {
      // Every run is attempted, whatever happened to the one before; the first failure is the one to report.
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
  return exitCodes.pass;
};

export const defineRecover: Define = (program, perform) => {
  program
    .command('recover')
    .description('puts back what an earlier run left, from its journal, or from tags and labels alone')
    .argument('[run]', 'a run id or its folder; every run with something left when none is given')
    .option('--discover', 'without a journal: find what is left by the tags and labels on it')
    .addOption(environmentOption())
    .addHelpText('after', examples('recover', 'recover last', 'recover --discover --env lab'))
    .action((run: string | undefined, options: Options) => perform((cli) => recover(cli, run, options)));
};
