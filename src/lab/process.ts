import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import path from 'node:path';
import { stopGraceMs } from './component.ts';
import { labProcessVariable } from './processes.ts';

/** How a lab process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ComponentProcess {
  readonly pid: number;
  /** What the component told its parent; rejects when it ends or takes too long before it is ready. */
  readonly ready: Promise<Readonly<Record<string, string | number>>>;
  readonly exited: Promise<Exit>;
  signal(name: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after `graceMs`; resolves once it is gone. Continues a stopped process first. */
  stop(graceMs?: number): Promise<Exit>;
}

export const layoutFileOf = (stateDir: string): string => path.join(stateDir, 'layout.json');
export const logFileOf = (stateDir: string, name: string): string => path.join(stateDir, 'logs', `${name}.log`);

/** A small young generation: dozens of these processes share a machine. */
const nodeFlags = ['--max-semi-space-size=1'];

/** The main module beside this file, under whichever extension this build has. */
export const mainModule = path.join(import.meta.dirname, `main${path.extname(import.meta.filename)}`);

/** Where the code cache of the lab's processes is; without it every process parses TypeScript for itself. */
const compileCacheDir = (): string =>
  process.env['NODE_COMPILE_CACHE'] ??
  path.join(path.dirname(path.dirname(path.dirname(import.meta.filename))), '.cache', 'compile');

export const childEnvironment = (): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  HOME: process.env['HOME'],
  TMPDIR: process.env['TMPDIR'],
  LANG: 'C.UTF-8',
  NODE_COMPILE_CACHE: compileCacheDir(),
  [labProcessVariable]: process.env[labProcessVariable],
  /** One malloc arena and one file-system thread: memory of idle threads adds up over dozens of processes. */
  MALLOC_ARENA_MAX: '1',
  UV_THREADPOOL_SIZE: '2',
});

const readyOf = (child: ChildProcess, name: string, timeoutMs: number): ComponentProcess['ready'] =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${name} was not ready within ${timeoutMs} ms`)), timeoutMs);
    let text = '';
    child.stdout?.setEncoding('utf8');
    child.stdout?.on('data', (chunk: string) => {
      if (text === 'done') return;
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0) return;
      clearTimeout(timer);
      const line = text.slice(0, end);
      text = 'done';
      try {
        resolve(JSON.parse(line).ready);
      } catch (error) {
        reject(new Error(`${name} said ${line} instead of being ready`, { cause: error }));
      }
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`${name} ended (${signal ?? code}) before it was ready; see its log`));
    });
  });

/**
 * Starts a component as a process of its own. Its standard input is held open by this process: when this process is
 * gone, however that came about, the component ends. Its log is `<stateDir>/logs/<name>.log`.
 */
export const startComponent = (options: {
  readonly stateDir: string;
  readonly name: string;
  readonly kind: string;
  readonly options: Readonly<Record<string, string>>;
  readonly readyTimeoutMs?: number;
}): ComponentProcess => {
  const { stateDir, name } = options;
  const logFile = logFileOf(stateDir, name);
  mkdirSync(path.dirname(logFile), { recursive: true, mode: 0o700 });
  const log = openSync(logFile, 'a', 0o600);
  const words = Object.entries(options.options).map(([key, value]) => `${key}=${value}`);
  const child = spawn(process.execPath, [...nodeFlags, mainModule, options.kind, layoutFileOf(stateDir), ...words], {
    stdio: ['pipe', 'pipe', log],
    env: { ...childEnvironment(), [labProcessVariable]: stateDir },
    cwd: stateDir,
  });
  closeSync(log);
  child.stdin?.on('error', () => {
    // The child ended while its end of the pipe was still open: its exit is what counts.
  });
  const ready = readyOf(child, name, options.readyTimeoutMs ?? 60_000);
  ready.catch(() => undefined);
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
  return {
    pid: child.pid ?? 0,
    ready,
    exited,
    signal: (signal) => {
      child.kill(signal);
    },
    stop: async (graceMs = stopGraceMs) => {
      child.kill('SIGTERM');
      child.kill('SIGCONT');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      const exit = await exited;
      clearTimeout(timer);
      return exit;
    },
  };
};
