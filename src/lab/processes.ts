import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Set in the environment of every process of a lab to its state folder: finds them when their parents are gone. */
export const labProcessVariable = 'BLACKSTART_LAB_PROCESS';

export interface SystemProcess {
  readonly pid: number;
  readonly parent: number;
  readonly args: readonly string[];
}

const hasProc = existsSync('/proc/self/stat');
const tableBytesMax = 32 * 1024 * 1024;

const ps = (...args: readonly string[]): string => {
  const text = execFileSync('ps', args, { encoding: 'utf8', timeout: 10_000, maxBuffer: tableBytesMax });
  return text.trim();
};

/** A file of /proc; `undefined` when the process ended meanwhile or belongs to somebody else. */
const procFile = (pid: number, name: string): string | undefined => {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    // Gone, or not ours to look at: either way it is not a process we may act on.
    return undefined;
  }
};

/** Fields of /proc/<pid>/stat after the name, which may itself hold blanks and brackets. The first is the state. */
const statFields = (pid: number): readonly string[] | undefined => {
  const stat = procFile(pid, 'stat');
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
};

/**
 * What tells this process from a later one with the same number: when it started, as the system writes it.
 * `undefined` when there is no such process, or it is dead and only waits to be collected.
 */
export const startOf = (pid: number): string | undefined => {
  if (hasProc) {
    const fields = statFields(pid);
    return fields === undefined || fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  }
  try {
    return ps('-o', 'lstart=', '-p', String(pid));
  } catch {
    // ps ends with 1 when there is no such process.
    return undefined;
  }
};

const listFromProc = (): readonly SystemProcess[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .flatMap((pid) => {
      const fields = statFields(pid);
      const args = procFile(pid, 'cmdline');
      if (fields === undefined || args === undefined || fields[0] === 'Z') return [];
      return [{ pid, parent: Number(fields[1]), args: args.split('\0').slice(0, -1) }];
    });

const listFromPs = (): readonly SystemProcess[] =>
  ps('-A', '-ww', '-o', 'pid=,ppid=,command=')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .map(([pid, parent, ...args]) => ({ pid: Number(pid), parent: Number(parent), args }));

/** Every process of the machine that can be looked at. */
export const listProcesses = (): readonly SystemProcess[] => (hasProc ? listFromProc() : listFromPs());

const isMarked = (pid: number, stateDir: string): boolean =>
  hasProc && (procFile(pid, 'environ') ?? '').split('\0').includes(`${labProcessVariable}=${stateDir}`);

/**
 * The processes of a lab, whoever their parent is now: those marked in their environment, those started with its layout
 * file, and servers of somebody else's whose data lies in one of its folders. Never the caller itself.
 */
export const processesOfLab = (lab: {
  readonly stateDir: string;
  readonly layoutFile: string;
  readonly dataFolders: readonly string[];
}): readonly SystemProcess[] =>
  listProcesses().filter(({ pid, args }) => {
    if (pid === process.pid) return false;
    if (isMarked(pid, lab.stateDir)) return true;
    const isNode = /(^|\/)node[^/]*$/.test(args[0] ?? '');
    if (isNode && args.includes(lab.layoutFile)) return true;
    const isServer = /(^|\/)(postgres|redis-server)$/.test(args[0] ?? '');
    return isServer && args.some((arg) => lab.dataFolders.some((folder) => arg.startsWith(`${folder}/`)));
  });

/** Kilobytes of memory a process is charged with: its own and its part of what it shares; RSS where that is unknown. */
export const memoryKilobytes = (pid: number): number | undefined => {
  if (hasProc) {
    const match = /^Pss:\s+(\d+) kB/m.exec(procFile(pid, 'smaps_rollup') ?? '');
    return match === null ? undefined : Number(match[1]);
  }
  try {
    return Number(ps('-o', 'rss=', '-p', String(pid)));
  } catch {
    // Gone meanwhile.
    return undefined;
  }
};

/** Sends a signal to a process if it still is the one that started then. */
export const signalIfSame = (pid: number, start: string | undefined, name: NodeJS.Signals): boolean => {
  if (start === undefined || startOf(pid) !== start) return false;
  try {
    return process.kill(pid, name);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
};
