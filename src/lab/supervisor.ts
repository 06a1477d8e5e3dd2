import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import { serveControl } from './control.ts';
import { type Instance, instancesOf } from './instances.ts';
import type { LabLayout } from './layout.ts';
import { type ComponentProcess, layoutFileOf, logFileOf, startComponent } from './process.ts';
import { podsReady, podsWanted, zonesUnhealthy } from './service-ready.ts';
import {
  type ComponentState,
  identityOf,
  type LabState,
  publishAddresses,
  removeFiles,
  sweepProcesses,
  writeState,
} from './state.ts';
import { appendTruth } from './truth.ts';
import { markUsed, usedMark } from './used.ts';

/**
 * The main module of a lab's parent process: `supervisor.ts <stateDir> <dataFolders as JSON>`. It says how far it is on
 * standard output, one JSON line each (`SupervisorLine`). Until it reads `detach` it ends, and takes all with it,
 * when its standard input ends; after that it lives until it is told to stop or nobody uses the lab any more.
 */
export type SupervisorLine =
  | { readonly progress: { readonly done: number; readonly total: number; readonly waitingFor: readonly string[] } }
  | { readonly ready: true }
  | { readonly failed: string };

/** Generous: on a machine that is busy with other things a start takes long, and that is no reason to fail. */
const readyTimeoutMs = 120_000;
const serviceTimeoutMs = 60_000;
const serviceLookEveryMs = 50;
const expiryLooks = 50;
const expiryLookMaxMs = 5000;
const restartDelayMaxMs = 5000;
/** A component that ran this long before it ended starts again without waiting. */
const steadyAfterMs = 10_000;
const logTailLines = 15;

interface Kept {
  readonly instance: Instance;
  process: ComponentProcess | undefined;
  state: ComponentState['state'];
  restarts: number;
  restartDelayMs: number;
}

const say = (line: SupervisorLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

const log = (line: string): void => {
  process.stderr.write(`${new Date(systemClock.nowMs()).toISOString()} ${line}\n`);
};

const logTail = (stateDir: string, name: string): string => {
  try {
    return readFileSync(logFileOf(stateDir, name), 'utf8').trimEnd().split('\n').slice(-logTailLines).join('\n');
  } catch (error) {
    return `(its log cannot be read: ${messageOf(error)})`;
  }
};

const createSupervisor = (layout: LabLayout, dataFolders: readonly string[]) => {
  const { stateDir } = layout;
  const startedAt = new Date(systemClock.nowMs()).toISOString();
  const kept = instancesOf(layout).map(
    (instance): Kept => ({ instance, process: undefined, state: 'starting', restarts: 0, restartDelayMs: 100 }),
  );
  const stopping = new AbortController();
  let phase: LabState['phase'] = 'starting';

  const componentStates = (): readonly ComponentState[] =>
    kept.map(({ instance: { name, kind, place }, process: running, state, restarts }) => {
      return { name, kind, place, pid: running?.pid ?? 0, state, restarts };
    });

  const save = (): void => {
    if (stopping.signal.aborted) return;
    const components = componentStates();
    writeState({ version: 1, phase, startedAt, supervisor: identityOf(process.pid), components, dataFolders, layout });
  };

  const start = async (one: Kept): Promise<void> => {
    const { name, kind, options } = one.instance;
    const startedMs = systemClock.monotonicMs();
    const running = startComponent({ stateDir, name, kind, options, readyTimeoutMs });
    one.process = running;
    one.state = 'starting';
    appendTruth(stateDir, 'process.started', name, { pid: running.pid, kind });
    running.exited.then(({ code, signal }) => {
      if (stopping.signal.aborted) return;
      appendTruth(stateDir, 'process.exited', name, { pid: running.pid, kind, code, signal });
      log(`${name} ended (${signal ?? code})`);
      one.state = 'ended';
      if (phase === 'up') save();
      if (phase === 'up' && one.instance.restarts) restart(one, startedMs);
    });
    await running.ready;
    one.state = 'ready';
  };

  const restart = (one: Kept, startedMs: number): void => {
    const isSteady = systemClock.monotonicMs() - startedMs > steadyAfterMs;
    one.restartDelayMs = isSteady ? 100 : Math.min(one.restartDelayMs * 2, restartDelayMaxMs);
    one.restarts += 1;
    systemClock
      .sleep(isSteady ? 0 : one.restartDelayMs, stopping.signal)
      .then(() => start(one))
      .then(save)
      .catch((error: unknown) => {
        if (!stopping.signal.aborted) log(`${one.instance.name} could not be started again: ${messageOf(error)}`);
      });
  };

  const startAfter = async (one: Kept, before: readonly Promise<void>[]): Promise<void> => {
    await Promise.all(before);
    stopping.signal.throwIfAborted();
    try {
      await start(one);
    } catch (error) {
      throw new Error(`${messageOf(error)}\n${logTail(stateDir, one.instance.name)}`, { cause: error });
    }
  };

  /** Starts everything, each as soon as what it needs is ready; calls back after each. */
  const startAll = async (onReady: () => void): Promise<void> => {
    const readyByKind = new Map<string, Promise<void>[]>();
    for (const one of kept) {
      const { kind, after } = one.instance;
      const before = after.flatMap((needed) => readyByKind.get(needed) ?? []);
      readyByKind.set(kind, [...(readyByKind.get(kind) ?? []), startAfter(one, before).then(onReady)]);
    }
    await Promise.all([...readyByKind.values()].flat());
  };

  let stopped: Promise<void> | undefined;
  const stop = async (reason: string): Promise<void> => {
    log(`stopping: ${reason}`);
    phase = 'stopping';
    save();
    stopping.abort(new Error(reason));
    await Promise.all(kept.map(({ process: running }) => running?.stop()));
    await sweepProcesses(stateDir, dataFolders);
    removeFiles(stateDir, dataFolders);
  };

  return {
    layout,
    kept,
    signal: stopping.signal,
    save,
    startAll,
    status: () => ({ phase, startedAt, timeScale: layout.timeScale, components: componentStates() }),
    isUp: () => {
      phase = 'up';
      save();
    },
    /** Ends everything and removes every file; later calls wait for the first. */
    stop: (reason: string): Promise<void> => {
      stopped ??= stop(reason);
      return stopped;
    },
  };
};

type Supervisor = ReturnType<typeof createSupervisor>;

/** How many pods are ready, and what does not serve yet; what does not even answer is among that. */
const lookAtService = async (
  layout: LabLayout,
  pods: number,
): Promise<{ readonly ready: number; readonly dark: readonly string[] }> => {
  try {
    const ready = await podsReady(layout);
    return { ready, dark: ready < pods ? [`pods (${pods - ready})`] : await zonesUnhealthy(layout) };
  } catch (error) {
    return { ready: 0, dark: [messageOf(error)] };
  }
};

/** Waits until every component is ready, every pod is, and the health checkers call every zone healthy. */
const comeUp = async (supervisor: Supervisor): Promise<void> => {
  const { layout, kept, signal } = supervisor;
  const pods = podsWanted(layout);
  const total = kept.length + pods;
  const waitingFor = (): readonly string[] =>
    kept.filter(({ state }) => state !== 'ready').map(({ instance }) => instance.name);
  const tell = (done: number, names: readonly string[]): void =>
    say({ progress: { done, total, waitingFor: names.slice(0, 8) } });
  tell(0, waitingFor());
  await supervisor.startAll(() => {
    const names = waitingFor();
    tell(kept.length - names.length, names);
  });
  const untilMs = systemClock.monotonicMs() + serviceTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const { ready, dark } = await lookAtService(layout, pods);
    tell(kept.length + ready, dark);
    if (dark.length === 0) return;
    if (systemClock.monotonicMs() > untilMs) {
      const waited = `not serving within ${serviceTimeoutMs / 1000} s at time scale ${layout.timeScale}`;
      throw new Error(`${waited}: waiting for ${dark.join(', ')}`);
    }
    await systemClock.sleep(serviceLookEveryMs, signal);
  }
};

/** Resolves when nobody has used the lab for as long as its settings allow. */
const expire = async ({ layout, signal }: Supervisor): Promise<void> => {
  const { idleExpiry } = layout.settings;
  let mark = usedMark(layout.stateDir);
  let usedMs = systemClock.monotonicMs();
  for (;;) {
    await systemClock.sleep(Math.min(idleExpiry / expiryLooks, expiryLookMaxMs), signal);
    const now = usedMark(layout.stateDir);
    if (now !== mark) {
      mark = now;
      usedMs = systemClock.monotonicMs();
    }
    if (systemClock.monotonicMs() - usedMs > idleExpiry) return;
  }
};

const main = async ([stateDir = '', dataFolders = '[]']: readonly string[]): Promise<void> => {
  const layout: LabLayout = JSON.parse(readFileSync(layoutFileOf(path.resolve(stateDir)), 'utf8'));
  const supervisor = createSupervisor(layout, JSON.parse(dataFolders));
  let isDetached = false;

  const end = (reason: string): Promise<void> =>
    supervisor.stop(reason).then(
      () => process.exit(0),
      (error: unknown) => {
        log(`could not stop cleanly: ${error instanceof Error ? error.stack : String(error)}`);
        process.exit(1);
      },
    );
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    if (line === 'detach') isDetached = true;
  });
  lines.on('close', () => {
    if (!isDetached) end('the command that brings the lab up is gone');
  });
  process.stdout.on('error', () => {
    // Nobody listens any more; that the reader is gone shows on standard input.
  });
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => end(name));

  markUsed(stateDir);
  supervisor.save();
  const stop = (): Record<string, string> => {
    setTimeout(() => end('asked to'), 10);
    return { stopping: layout.environment.name };
  };
  await serveControl(
    layout,
    'supervisor',
    [
      { route: 'GET /status', answer: supervisor.status },
      { route: 'POST /stop', answer: stop },
    ],
    new AbortController().signal,
  );
  try {
    await comeUp(supervisor);
  } catch (error) {
    if (supervisor.signal.aborted) return;
    say({ failed: error instanceof Error ? error.message : String(error) });
    await end(`could not come up: ${messageOf(error)}`);
    return;
  }
  publishAddresses(layout);
  supervisor.isUp();
  say({ ready: true });
  await expire(supervisor).catch((error: unknown) => {
    if (!supervisor.signal.aborted) throw error;
  });
  await end(`nobody used it for ${layout.settings.idleExpiry / 1000} s`);
};

main(process.argv.slice(2)).catch((error: unknown) => {
  log(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exit(70);
});
