import { existsSync } from 'node:fs';
import { systemClock } from '../core/clock.ts';
import { callControl } from './control.ts';
import { dataFoldersOf, holdLab, readState, stateDirOf } from './home.ts';
import { isAlive, type LabState, removeFiles, sweepProcesses } from './state.ts';

export interface DownResult {
  readonly wasUp: boolean;
  /** Processes that did not end by themselves. */
  readonly killed: number;
}

const stopTimeoutMs = 15_000;

/** Asks the supervisor to end everything, and waits until it is gone; what is left is for the sweep. */
const stopSupervisor = async (state: LabState): Promise<void> => {
  const untilMs = systemClock.monotonicMs() + stopTimeoutMs;
  try {
    // It may be stopped itself, by a signal.
    process.kill(state.supervisor.pid, 'SIGCONT');
    await callControl(state.layout, 'supervisor', 'POST', '/stop', { timeoutMs: 3000 });
  } catch {
    // It hangs, or died this moment: it is killed below with everything that is left.
    return;
  }
  while (isAlive(state.supervisor) && systemClock.monotonicMs() < untilMs) await systemClock.sleep(20);
};

/** Ends a lab whose lock the caller holds: no process, port or file of it is left. */
export const takeDown = async (name: string): Promise<DownResult> => {
  const stateDir = stateDirOf(name);
  const state = readState(name);
  const wasUp = state !== undefined && isAlive(state.supervisor);
  if (wasUp) await stopSupervisor(state);
  const killed = await sweepProcesses(stateDir, dataFoldersOf(stateDir));
  const existed = existsSync(stateDir);
  removeFiles(stateDir, dataFoldersOf(stateDir));
  return { wasUp: wasUp || existed, killed };
};

/** Takes the lab of that name down; nothing to do is fine. */
export const labDown = async (name: string): Promise<DownResult> => {
  const release = holdLab(name);
  try {
    return await takeDown(name);
  } finally {
    release();
  }
};
