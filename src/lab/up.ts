import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '../core/clock.ts';
import type { Environment } from '../core/environment.ts';
import { BlackstartError } from '../core/errors.ts';
import { buildLayout } from './build-layout.ts';
import { createCertificates } from './certificates.ts';
import { writeClientFiles } from './client-files.ts';
import { chooseCompileCache, warmUp } from './compile-cache.ts';
import { takeDown } from './down.ts';
import { createStateDir, dataFoldersOf, holdLab, readRunning } from './home.ts';
import type { LabLayout } from './layout.ts';
import { childEnvironment, layoutFileOf, logFileOf } from './process.ts';
import { labProcessVariable } from './processes.ts';
import { type LabState, readStateIn } from './state.ts';
import type { SupervisorLine } from './supervisor.ts';
import { markUsed } from './used.ts';

export interface LabProgress {
  /** Processes and pods that are ready. */
  readonly done: number;
  readonly total: number;
  readonly waitingFor: readonly string[];
}

export interface LabUpOptions {
  readonly environment: Environment;
  /** Instead of the environment's own. */
  readonly timeScale?: number;
  readonly onProgress?: (progress: LabProgress) => void;
  readonly signal: AbortSignal;
}

export interface LabUpResult {
  readonly state: LabState;
  /** True when it was up already and nothing was started. */
  readonly wasUp: boolean;
  readonly elapsedMs: number;
}

/** Longer than everything the supervisor itself waits for. */
const upTimeoutMs = 240_000;

const startSupervisor = (layout: LabLayout): ChildProcess => {
  const { stateDir } = layout;
  const log = openSync(logFileOf(stateDir, 'supervisor'), 'a', 0o600);
  const file = path.join(import.meta.dirname, `supervisor${path.extname(import.meta.filename)}`);
  try {
    return spawn(
      process.execPath,
      ['--max-semi-space-size=1', file, stateDir, JSON.stringify(dataFoldersOf(stateDir))],
      {
        // A session of its own: neither the terminal's signals nor its end reach the lab.
        detached: true,
        stdio: ['pipe', 'pipe', log],
        cwd: stateDir,
        env: {
          ...childEnvironment(),
          NODE_COMPILE_CACHE: chooseCompileCache(stateDir),
          [labProcessVariable]: stateDir,
        },
      },
    );
  } finally {
    closeSync(log);
  }
};

const notUp = (reason: string): BlackstartError =>
  new BlackstartError(
    'UNREACHABLE',
    `the lab did not come up: ${reason}`,
    'Nothing of it is left. Try again; if it fails the same way, the lines above are from the log of the part at fault.',
  );

/** Follows the supervisor until the lab serves. Throws when it fails, takes too long, or the signal aborts. */
const followUntilReady = (
  child: ChildProcess,
  onProgress: LabUpOptions['onProgress'],
  signal: AbortSignal,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => settle(notUp(`it took longer than ${upTimeoutMs / 1000} s`)), upTimeoutMs);
    const onAbort = (): void => settle(signal.reason);
    const settle = (error?: unknown): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    child.once('error', settle);
    child.once('exit', (code, name) => settle(notUp(`its supervisor ended (${name ?? code})`)));
    child.stdin?.on('error', () => {
      // It ended: its exit says so.
    });
    if (child.stdout === null) throw new Error('the supervisor has no standard output');
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line: SupervisorLine = JSON.parse(text);
      if ('progress' in line) onProgress?.(line.progress);
      else if ('failed' in line) settle(notUp(line.failed));
      else settle();
    });
  });

/** Lets the lab live on without this process. */
const detach = (child: ChildProcess): void => {
  child.stdin?.end('detach\n');
  child.stdout?.destroy();
  child.unref();
};

const bringUp = async (options: LabUpOptions): Promise<LabState> => {
  const { environment, timeScale, signal, onProgress } = options;
  const stateDir = createStateDir(environment.name);
  const layout = await buildLayout({ environment, stateDir, ...(timeScale === undefined ? {} : { timeScale }) });
  createCertificates(stateDir);
  writeFileSync(layoutFileOf(stateDir), JSON.stringify(layout), { mode: 0o600 });
  writeClientFiles(layout);
  signal.throwIfAborted();
  await warmUp(chooseCompileCache(stateDir), stateDir, signal);
  const child = startSupervisor(layout);
  try {
    await followUntilReady(child, onProgress, signal);
  } catch (error) {
    // Its end of the pipe closes: it takes everything down; `takeDown` waits for that and looks after the rest.
    child.stdin?.end();
    throw error;
  }
  const state = readStateIn(stateDir);
  if (state === undefined) throw notUp('its state file is missing');
  detach(child);
  return state;
};

/**
 * Brings the lab of an environment up; says so when it is up already. Whatever goes wrong, and an abort too, leaves
 * nothing behind.
 */
export const labUp = async (options: LabUpOptions): Promise<LabUpResult> => {
  const { name } = options.environment;
  const startedMs = systemClock.monotonicMs();
  const release = holdLab(name);
  try {
    const running = readRunning(name);
    if (running?.phase === 'up') {
      markUsed(running.layout.stateDir);
      const { timeScale } = running.layout;
      if (options.timeScale !== undefined && options.timeScale !== timeScale) {
        throw new BlackstartError(
          'USAGE',
          `the lab ${name} is up at time scale ${timeScale}, not ${options.timeScale}`,
          'Take it down first: blackstart lab down.',
        );
      }
      return { state: running, wasUp: true, elapsedMs: systemClock.monotonicMs() - startedMs };
    }
    await takeDown(name);
    try {
      const state = await bringUp(options);
      return { state, wasUp: false, elapsedMs: systemClock.monotonicMs() - startedMs };
    } catch (error) {
      await takeDown(name);
      throw error;
    }
  } finally {
    release();
  }
};
