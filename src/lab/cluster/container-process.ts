import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createInterface } from 'node:readline';

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Machine-wide monotonic milliseconds. */
  readonly atMs: number;
}

/** One container's operating-system process. */
export interface ContainerProcess {
  readonly pid: number;
  /** What it said when it was ready to serve; never resolves for a process that says nothing. */
  readonly ready: Promise<Readonly<Record<string, string | number>>>;
  readonly exited: Promise<ProcessExit>;
  signal(name: NodeJS.Signals): void;
}

export interface ProcessCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** A shell script and what it starts form a group of their own, so that a signal reaches all of it. */
  readonly group: boolean;
  readonly logFile: string;
}

/**
 * Starts a process whose standard input ends with this one, which is how the lab's processes notice that they are
 * alone. Everything it prints goes to its log, but for the one line that says it is ready.
 */
export const startProcess = (
  command: ProcessCommand,
  monotonicMs: () => number,
  truth: (event: string, detail: Record<string, unknown>) => void,
): ContainerProcess => {
  const log = openSync(command.logFile, 'a', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(command.file, [...command.args], {
      env: command.env,
      detached: command.group,
      stdio: ['pipe', command.group ? log : 'pipe', log],
    });
  } finally {
    closeSync(log);
  }
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command.file} could not be started`);
  truth('process.started', { pid });

  const exited = new Promise<ProcessExit>((resolve) => {
    child.once('exit', (code, signal) => {
      const atMs = monotonicMs();
      truth('process.exited', { pid, code, signal, atMs });
      resolve({ code, signal, atMs });
    });
  });
  let isOver = false;
  exited.then(() => {
    isOver = true;
  });

  const ready = new Promise<Record<string, string | number>>((resolve) => {
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const value = readyIn(line);
      if (value !== undefined) resolve(value);
    });
  });
  // A child that went away makes the pipe to it fail: its exit says so already.
  child.stdin?.on('error', () => undefined);

  return {
    pid,
    ready,
    exited,
    signal(name) {
      if (isOver) return;
      truth('process.signalled', { pid, signal: name });
      if (command.group) signalGroup(pid, name);
      else child.kill(name);
    },
  };
};

const signalGroup = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(-pid, name);
  } catch (error) {
    // The group may have ended since.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
};

const readyIn = (line: string): Record<string, string | number> | undefined => {
  if (!line.startsWith('{"ready"')) return undefined;
  const parsed: { readonly ready: Record<string, string | number> } = JSON.parse(line);
  return parsed.ready;
};
