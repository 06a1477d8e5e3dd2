import { Command, CommanderError } from 'commander';
import { defineAbort } from './commands/abort.ts';
import { defineCheck } from './commands/check.ts';
import type { Cli, Perform } from './commands/command.ts';
import { defineDemo } from './commands/demo.ts';
import { defineDrill } from './commands/drill.ts';
import { defineLab } from './commands/lab.ts';
import { defineList } from './commands/list.ts';
import { defineObserve } from './commands/observe.ts';
import { definePlan } from './commands/plan.ts';
import { defineRecover } from './commands/recover.ts';
import { defineReport } from './commands/report.ts';
import { defineRun } from './commands/run.ts';
import { defineSchema } from './commands/schema.ts';
import { defineStatus } from './commands/status.ts';
import { defineValidate } from './commands/validate.ts';
import { packageVersion } from './commands/version.ts';
import { defineWatchdog } from './commands/watchdog.ts';
import { systemClock } from './core/clock.ts';
import { BlackstartError, exitCodes, isBlackstartError } from './core/errors.ts';
import { type Terminal, terminalOf } from './core/terminal.ts';

const helpText = `
Exit codes:
  0    every target met
  1    a target was missed
  2    inconclusive, or nothing was shown to break
  3    rollback incomplete: something may still be broken
  64   bad usage, bad file, refused plan
  70   a bug
  130  aborted, and everything put back

Start here:
  $ blackstart demo                          the four documented failures, in the embedded lab
  $ blackstart lab up                        the lab alone, for your own experiments
  $ blackstart run blackhole-zone            one experiment
  $ blackstart observe http://localhost:8080 measure outages that somebody else causes
`;

const defineAll = [
  defineDemo,
  defineLab,
  defineList,
  defineValidate,
  definePlan,
  defineRun,
  defineDrill,
  defineCheck,
  defineObserve,
  defineRecover,
  defineAbort,
  defineStatus,
  defineReport,
  defineSchema,
  defineWatchdog,
];

type Action = Parameters<Perform>[0];

/** The command line as a tree of commands; `perform` is told which action it chose. */
const buildProgram = (terminal: Terminal, version: string, perform: Perform): Command => {
  const program = new Command('blackstart')
    .description("Proves a platform's disaster recovery: breaks it on purpose, measures, judges, puts it back.")
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureHelp({ helpWidth: Math.min(terminal.columns, 110) })
    .configureOutput({
      writeOut: (text) => terminal.out(text.trimEnd()),
      writeErr: (text) => terminal.note(text.trimEnd()),
      outputError: (text, write) => write(`blackstart: ${text.replace(/^error: /, '').trimEnd()}`),
    })
    .addHelpText('after', helpText);
  for (const define of defineAll) define(program, perform);
  for (const command of program.commands) inherit(command, program);
  return program;
};

/** Commander hands these settings down only to commands that it makes after they were set, and not two levels deep. */
const inherit = (command: Command, parent: Command): void => {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inherit(child, command);
};

/** The chosen action, or the exit code when there is nothing left to do (help, version, bad usage). */
const choose = (argv: readonly string[], terminal: Terminal, version: string): Action | number => {
  let chosen: Action | undefined;
  const program = buildProgram(terminal, version, (action) => {
    chosen = action;
  });
  try {
    program.parse([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return exitCodes.pass;
    if (error.code !== 'commander.help') terminal.note('Try "blackstart --help", or --help after a command.');
    return exitCodes.usage;
  }
  return chosen ?? exitCodes.pass;
};

/** What is printed for anything thrown, and the exit code it stands for. */
const explain = (error: unknown, terminal: Terminal): number => {
  if (isBlackstartError(error)) {
    terminal.note(`blackstart: ${error.message}`);
    terminal.note(error.hint);
    return error.exitCode;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  terminal.note(`blackstart: this is a bug, please report it with what you did:\n${stack}`);
  return exitCodes.bug;
};

/** Runs one command line. Nothing it does touches the process: exit code and signals are the caller's. */
export const runCli = async (argv: readonly string[], cli: Cli, version: string): Promise<number> => {
  try {
    const chosen = choose(argv, cli.terminal, version);
    return typeof chosen === 'number' ? chosen : await chosen(cli);
  } catch (error) {
    return explain(error, cli.terminal);
  }
};

interface Undoing {
  runId: string | undefined;
  what: string | undefined;
}

/**
 * The first signal aborts, and abort is a reason to roll back; the second says what is being put back; the third gives
 * up on waiting, which the journal makes safe: the watchdog or "recover" goes on.
 */
const listen = (terminal: Terminal, controller: AbortController, undoing: Undoing): void => {
  let count = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    count += 1;
    const run = undoing.runId;
    const recover = run === undefined ? '"blackstart recover"' : `"blackstart recover ${run}"`;
    if (count === 1) {
      terminal.note(`blackstart: ${signal}: stopping, and putting back what was changed`);
      controller.abort(new BlackstartError('ABORTED', `aborted by ${signal}`, 'What was changed is put back.'));
    } else if (count === 2) {
      terminal.note(
        `blackstart: still putting back ${undoing.what ?? 'what was changed'}; a third ${signal} leaves it.`,
      );
      terminal.note(`${recover} puts back what is left, at any time.`);
    } else {
      terminal.note(`blackstart: left before everything was back. Run ${recover} now.`);
      process.exit(exitCodes.rollbackIncomplete);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
};

/** What writing says when the reader of a pipe, or the terminal itself, is gone. */
const goneCodes: readonly (string | undefined)[] = ['EPIPE', 'EIO'];

/**
 * A reader that went away (`blackstart list | head`, a connection that dropped and took the terminal along) must
 * neither crash a run nor stop its rollback.
 */
const tolerateGoneReaders = (): void => {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (!goneCodes.includes(error.code)) throw error;
    });
  }
};

/** The program: what `bin/blackstart.mjs` starts. */
export const main = async (argv: readonly string[]): Promise<void> => {
  tolerateGoneReaders();
  const terminal = terminalOf({ out: process.stdout, error: process.stderr, input: process.stdin, env: process.env });
  const controller = new AbortController();
  const undoing: Undoing = { runId: undefined, what: undefined };
  listen(terminal, controller, undoing);
  const cli: Cli = {
    terminal,
    clock: systemClock,
    signal: controller.signal,
    launcher: argv[1] ?? '',
    undoing(runId, what) {
      undoing.runId = runId;
      undoing.what = what;
    },
  };
  process.exitCode = await runCli(argv.slice(2), cli, packageVersion());
  // Everything is done and written: a connection that an error left open must not keep the command from ending.
  process.stdout.write('', () => process.exit());
};
