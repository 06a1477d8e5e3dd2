import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { LedgerLine } from './line.ts';

/** A ledger's file. A line is with the kernel before `push` returns: a `kill -9` of this process loses none. */
export interface LedgerFile {
  push(line: LedgerLine): void;
  close(): void;
}

/** Synchronous on purpose: a write that is on its way before its line is kept could be acknowledged and unknown. */
export const openLedgerFile = (file: string): LedgerFile => {
  mkdirSync(path.dirname(file), { recursive: true });
  const handle = openSync(file, 'a', 0o600);
  return {
    push: (line) => void writeSync(handle, `${JSON.stringify(line)}\n`),
    close: () => closeSync(handle),
  };
};

/** For sessions whose attempts nobody keeps. */
export const noLedgerFile: LedgerFile = { push: () => undefined, close: () => undefined };
