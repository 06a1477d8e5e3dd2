import { existsSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Addresses } from '../core/addresses.ts';
import { systemClock } from '../core/clock.ts';
import { clientPlace, forwardPort, type LabLayout } from './layout.ts';
import { layoutFileOf } from './process.ts';
import { processesOfLab, signalIfSame, startOf } from './processes.ts';

/** A process as it was seen: its number and what tells it from a later one with that number. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly start: string;
}

/** One process the supervisor keeps. */
export interface ComponentState {
  readonly name: string;
  readonly kind: string;
  readonly place: string;
  readonly pid: number;
  readonly state: 'starting' | 'ready' | 'ended';
  readonly restarts: number;
}

/** `lab.json`: what runs, for the commands that look at it or end it. */
export interface LabState {
  readonly version: 1;
  readonly phase: 'starting' | 'up' | 'stopping';
  /** ISO instant, for people. */
  readonly startedAt: string;
  readonly supervisor: ProcessIdentity;
  readonly components: readonly ComponentState[];
  /** Where servers of somebody else's keep their data: inside the state folder, or beside it. */
  readonly dataFolders: readonly string[];
  readonly layout: LabLayout;
}

const stateFileOf = (stateDir: string): string => path.join(stateDir, 'lab.json');

/** Replaces a file in one step, so that nobody reads half of it. */
export const writeWhole = (file: string, text: string): void => {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
};

export const writeState = (state: LabState): void =>
  writeWhole(stateFileOf(state.layout.stateDir), JSON.stringify(state, undefined, 1));

/** The lab in a state folder as last written; `undefined` when there is none. */
export const readStateIn = (stateDir: string): LabState | undefined => {
  const file = stateFileOf(stateDir);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
};

export const isAlive = ({ pid, start }: ProcessIdentity): boolean => startOf(pid) === start;

export const identityOf = (pid: number): ProcessIdentity => ({ pid, start: startOf(pid) ?? '' });

export const files = (stateDir: string) => ({
  addresses: path.join(stateDir, 'addresses.json'),
  kubeconfig: path.join(stateDir, 'kubeconfig'),
  awsCredentials: path.join(stateDir, 'aws-credentials'),
  databasePassword: path.join(stateDir, 'database-password'),
});

/** Where the product finds the lab's APIs and entry points. */
export const addressesOf = (layout: LabLayout): Addresses => {
  const { kubeconfig, awsCredentials, databasePassword } = files(layout.stateDir);
  return {
    timeScale: layout.timeScale,
    kubeconfig,
    awsEndpoint: `http://127.0.0.1:${layout.control.aws}`,
    awsCredentialsFile: awsCredentials,
    resolvers: Object.fromEntries(
      layout.environment.clients.map(({ name }) => [name, `127.0.0.1:${layout.resolvers[clientPlace(name)]}`]),
    ),
    database: { user: layout.databaseUser, passwordFile: databasePassword },
    cache: layout.endpoints
      .filter(({ id }) => id.startsWith('cache/'))
      .map(({ id }) => `127.0.0.1:${forwardPort(layout, 'operator', id)}`),
    alertmanager: `http://127.0.0.1:${layout.monitoring}`,
    vectors: Object.fromEntries(
      layout.environment.regions.map(({ name }) => [
        name,
        `127.0.0.1:${forwardPort(layout, 'operator', `vector/${name}`)}`,
      ]),
    ),
  };
};

/** Tells the product that the lab is up: it looks for this file. */
export const publishAddresses = (layout: LabLayout): void =>
  writeWhole(files(layout.stateDir).addresses, JSON.stringify(addressesOf(layout), undefined, 1));

const goneWithinMs = 5000;

/** Kills whatever still runs of a lab, its supervisor included, and says how many that were. */
export const sweepProcesses = async (stateDir: string, dataFolders: readonly string[]): Promise<number> => {
  const lab = { stateDir, layoutFile: layoutFileOf(stateDir), dataFolders: [stateDir, ...dataFolders] };
  const untilMs = systemClock.monotonicMs() + goneWithinMs;
  const killed = new Set<number>();
  for (;;) {
    const left = processesOfLab(lab);
    if (left.length === 0) return killed.size;
    if (systemClock.monotonicMs() > untilMs) {
      const pids = left.map(({ pid }) => pid).join(', ');
      throw new Error(`processes ${pids} of the lab in ${stateDir} are still there after SIGKILL`);
    }
    for (const { pid } of left) if (signalIfSame(pid, startOf(pid), 'SIGKILL')) killed.add(pid);
    await systemClock.sleep(20);
  }
};

/** Removes every file of a lab. */
export const removeFiles = (stateDir: string, dataFolders: readonly string[]): void => {
  // First what tells the product that there is a lab.
  rmSync(files(stateDir).addresses, { force: true });
  for (const folder of [stateDir, ...dataFolders])
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 });
};

/** Removes the folder of all labs when the last one is gone. */
export const removeHomeIfEmpty = (home: string): void => {
  try {
    rmdirSync(home);
  } catch {
    // Another lab lives there, or a folder of the user's own choice holds other things.
  }
};
