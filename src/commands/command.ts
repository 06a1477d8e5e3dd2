import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Clock } from '../core/clock.ts';
import type { Terminal } from '../core/terminal.ts';

/** What a command is given. Commands return their exit code; `cli.ts` alone sets it and listens to signals. */
export interface Cli {
  readonly terminal: Terminal;
  readonly clock: Clock;
  /** Aborts on the first Ctrl-C (or SIGTERM, SIGHUP). */
  readonly signal: AbortSignal;
  /** Path of the launcher, for processes that must outlive this one. */
  readonly launcher: string;
  /** Told what is being put back, so that a second Ctrl-C can say it. */
  undoing(runId: string, what: string | undefined): void;
}

/** Hands a command's action to `cli.ts`, which runs it and takes its exit code. */
export type Perform = (action: (cli: Cli) => Promise<number>) => void;

/** Adds a command. Its file is loaded to show help, so it imports nothing heavy: the action imports the rest. */
export type Define = (program: Command, perform: Perform) => void;

export type Format = 'text' | 'json';

export const formatOption = (choices: readonly string[] = ['text', 'json']): Option =>
  new Option('--format <format>', 'what is printed on standard output').choices(choices).default('text');

export const environmentOption = (): Option =>
  new Option('-e, --env <environment>', 'name of an environment, or its file').default('lab');

/** Help text under a command. */
export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ blackstart ${line}`).join('\n')}\n`;

export const wholeNumber = (text: string): number => {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Use a whole number.');
  return Number(text);
};

export const positiveNumber = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0)
    throw new InvalidArgumentError('Use a number above 0.');
  return value;
};

/** `1 problem`, `3 problems`. */
export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
