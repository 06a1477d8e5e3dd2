import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { childEnvironment, layoutFileOf, mainModule } from './process.ts';

const warmUpTimeoutMs = 30_000;

const isWritable = (folder: string): boolean => {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    // Read-only checkout, or somebody else's.
    return false;
  }
};

/** Where the compiled code is kept: in the checkout, or, where that cannot be written, in the lab's own folder. */
export const chooseCompileCache = (stateDir: string): string => {
  const given = process.env['NODE_COMPILE_CACHE'];
  if (given !== undefined) return given;
  const shared = path.resolve(import.meta.dirname, '../../.cache/compile');
  return isWritable(shared) ? shared : path.join(stateDir, 'compile-cache');
};

/** Changes when any source of the lab or the core, or Node itself, changes. */
const codeDigest = (): string => {
  const hash = createHash('sha256').update(process.version);
  for (const folder of [import.meta.dirname, path.resolve(import.meta.dirname, '../core')]) {
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted()) {
      const { mtimeMs, size } = statSync(path.join(folder, name));
      hash.update(`${name} ${mtimeMs} ${size}\n`);
    }
  }
  return hash.digest('hex').slice(0, 16);
};

/** Fills the compile cache unless it was filled for this very code before. */
export const warmUp = async (cacheDir: string, stateDir: string, signal: AbortSignal): Promise<void> => {
  const marker = path.join(cacheDir, `lab-${codeDigest()}`);
  if (existsSync(marker)) return;
  await new Promise<void>((resolve, reject) => {
    const child = spawn(process.execPath, [mainModule, 'warm-up', layoutFileOf(stateDir)], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...childEnvironment(), NODE_COMPILE_CACHE: cacheDir },
      timeout: warmUpTimeoutMs,
      signal,
    });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString('utf8');
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`the lab's code cannot be loaded: ${errors.trim()}`));
    });
  });
  mkdirSync(cacheDir, { recursive: true });
  writeFileSync(marker, '');
};
