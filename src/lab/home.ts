import { closeSync, lstatSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { labHome } from '../core/addresses.ts';
import { BlackstartError } from '../core/errors.ts';
import { databaseFolders } from './database/binaries.ts';
import { identityOf, isAlive, type LabState, readStateIn, removeHomeIfEmpty } from './state.ts';

export const stateDirOf = (name: string): string => path.join(labHome(), name);
const isRoot = (): boolean => process.getuid?.() === 0;

/** Where PostgreSQL's data of a lab may lie. */
export const dataFoldersOf = (stateDir: string): readonly string[] => databaseFolders(stateDir);

const ensureOwn = (folder: string): void => {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (stat.isDirectory() && (process.getuid === undefined || stat.uid === process.getuid())) return;
  throw new BlackstartError(
    'USAGE',
    `${folder} belongs to somebody else, so the lab does not use it`,
    'Set BLACKSTART_LAB_HOME to a folder of your own.',
  );
};

/**
 * Makes the state folder. Its files are for the owner alone; root's folder lets others pass through, because PostgreSQL
 * never runs as root and must reach its own data inside.
 */
export const createStateDir = (name: string): string => {
  const mode = isRoot() ? 0o711 : 0o700;
  ensureOwn(labHome());
  mkdirSync(labHome(), { recursive: true, mode });
  const stateDir = stateDirOf(name);
  ensureOwn(stateDir);
  mkdirSync(stateDir, { mode });
  mkdirSync(path.join(stateDir, 'logs'), { mode: 0o700 });
  return stateDir;
};

/** The lab of that name as last written; `undefined` when there is none. */
export const readState = (name: string): LabState | undefined => {
  ensureOwn(stateDirOf(name));
  return readStateIn(stateDirOf(name));
};

/** The lab of that name if its supervisor runs. */
export const readRunning = (name: string): LabState | undefined => {
  const state = readState(name);
  return state !== undefined && isAlive(state.supervisor) ? state : undefined;
};

/**
 * Makes this process the only one that brings this lab up or down; returns how to let go.
 * Throws LOCKED when another process is at it.
 */
export const holdLab = (name: string): (() => void) => {
  ensureOwn(labHome());
  mkdirSync(labHome(), { recursive: true, mode: isRoot() ? 0o711 : 0o700 });
  const file = path.join(labHome(), `${name}.busy`);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      const handle = openSync(file, 'wx', 0o600);
      writeFileSync(handle, JSON.stringify(identityOf(process.pid)));
      closeSync(handle);
      return () => {
        rmSync(file, { force: true });
        removeHomeIfEmpty(labHome());
      };
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      if (isHeld(file)) {
        throw new BlackstartError(
          'LOCKED',
          `another process is bringing the lab ${name} up or down`,
          'Wait for it to finish; "blackstart lab status" shows how far it is.',
        );
      }
      rmSync(file, { force: true });
    }
  }
  throw new BlackstartError('LOCKED', `${file} could not be taken`, 'Remove that file if no blackstart runs.');
};

const isHeld = (file: string): boolean => {
  try {
    return isAlive(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    // Left empty by a process that died between creating and writing it, or removed just now.
    return false;
  }
};
