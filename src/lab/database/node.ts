import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { type ComponentContext, stopGraceMs } from '../component.ts';
import { type DatabaseNode, forwardPort, type LabLayout, regionPlace, zonePlace } from '../layout.ts';
import { type Installation, runAs, serverEnvironment } from './binaries.ts';
import { killServer, signalProcess } from './processes.ts';
import { adminUser, openSession } from './session.ts';

/** What a server is told about the others; everything else is the same on all of them. */
export interface Role {
  /** Server it streams from; undefined for a primary. */
  readonly upstream: string | undefined;
  /** Standby that must have a commit before it is acknowledged; undefined for none. */
  readonly synchronous: string | undefined;
}

/** One PostgreSQL server: the process and its files. It decides nothing. */
export interface PostgresNode {
  readonly id: string;
  /** What it is called in files and streams. */
  readonly server: string;
  readonly zone: string;
  readonly region: string;
  readonly dataDir: string;
  /** Process id of the postmaster, while it runs. */
  pid(): number | undefined;
  /** Writes the role into its files; for a server that is not running. */
  configure(role: Role): Promise<void>;
  /** Starts the server and resolves once it accepts connections (a standby: read-only ones). */
  start(signal: AbortSignal): Promise<void>;
  /** Immediate shutdown; resolves once it is gone. */
  stop(): Promise<void>;
  /** Kills every process of it; resolves with the instant from which nothing ran, once that is so. */
  kill(why: string): Promise<number>;
  /** Empties its folder and fills it from a running primary, by PostgreSQL's low-level backup. */
  rebuildFrom(primary: PostgresNode): Promise<void>;
}

const quoted = (value: string): string => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;

const worstLagMs = (layout: LabLayout): number => Math.max(0, ...layout.walDelays.map(({ delayMs }) => delayMs));

/** A stream over a slow link is not a broken one: the sender waits for an answer to its question for two ways. */
export const streamTimeoutMs = (layout: LabLayout): number => Math.round(3000 + 4 * worstLagMs(layout));

/** Holds the password of the streams: PostgreSQL writes a changed connection string into its log. */
const passwordFile = (root: string): string => path.join(root, 'stream-password');

type Placed = Pick<PostgresNode, 'server' | 'zone' | 'dataDir'>;

const connectionString = (layout: LabLayout, { server, zone, dataDir }: Placed, upstream: string): string =>
  [
    'host=127.0.0.1',
    `port=${forwardPort(layout, zonePlace(zone), `wal/${upstream}`)}`,
    `user=${adminUser}`,
    `passfile='${passwordFile(path.dirname(dataDir))}'`,
    `application_name=${server}`,
    `connect_timeout=${Math.ceil(3 + (6 * worstLagMs(layout)) / 1000)}`,
    'sslmode=disable gssencmode=disable',
  ].join(' ');

/** The value of `primary_conninfo` for a server that streams from `upstream`. */
export const upstreamSetting = (layout: LabLayout, node: Placed, upstream: string): string =>
  quoted(connectionString(layout, node, upstream));

export const synchronousSetting = (server: string | undefined): string =>
  quoted(server === undefined ? '' : `FIRST 1 ("${server}")`);

/**
 * Settings shared by all servers, given to initdb. Durability against a crash of the machine is given up (fsync): the
 * lab kills processes, not the machine, and what a killed process wrote the kernel keeps. Full pages stay on: a backup
 * is taken from a running server. Many connections, because one that waits for a synchronous standby keeps waiting
 * after its client has gone. Helpers that this workload has no use for are off, to keep four servers small.
 */
const commonSettings = (layout: LabLayout): Readonly<Record<string, string>> => ({
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '160',
  shared_buffers: '16MB',
  dynamic_shared_memory_type: 'mmap',
  io_method: 'sync',
  max_worker_processes: '0',
  max_parallel_workers_per_gather: '0',
  max_logical_replication_workers: '0',
  max_wal_senders: '10',
  wal_keep_size: '64MB',
  min_wal_size: '8MB',
  max_wal_size: '96MB',
  wal_level: 'replica',
  wal_sender_timeout: `${streamTimeoutMs(layout)}ms`,
  wal_receiver_timeout: `${streamTimeoutMs(layout)}ms`,
  wal_receiver_status_interval: '1s',
  wal_retrieve_retry_interval: '100ms',
  hot_standby: 'on',
  hot_standby_feedback: 'off',
  fsync: 'off',
  synchronous_commit: 'on',
  autovacuum: 'off',
  jit: 'off',
  // The verifier protects a random secret of 144 bits: stretching it would cost the probes, not an attacker.
  scram_iterations: '16',
  log_destination: 'stderr',
  log_checkpoints: 'off',
});

const hostAccess = `# Loopback only, with a password, streams included.
host all all 127.0.0.1/32 scram-sha-256
host replication ${adminUser} 127.0.0.1/32 scram-sha-256
`;

const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const accountsSql = ({ databaseUser, databasePassword }: LabLayout, database: string): string =>
  [
    `CREATE ROLE ${identifier(databaseUser)} LOGIN PASSWORD ${quoted(databasePassword)}`,
    `GRANT pg_monitor TO ${identifier(databaseUser)}`,
    `CREATE DATABASE ${identifier(database)} OWNER ${identifier(databaseUser)}`,
  ]
    .map((statement) => `${statement};\n\n`)
    .join('');

const conversationsTable = `CREATE TABLE conversations (
       id text PRIMARY KEY DEFAULT gen_random_uuid()::text,
       created_at timestamptz NOT NULL DEFAULT now(),
       region text,
       prompt text,
       answer text)`;

const tablesSql = ({ databaseUser, environment }: LabLayout, database: string): string =>
  [
    `SET ROLE ${identifier(databaseUser)}`,
    ...(database === environment.service.databaseName ? [conversationsTable] : []),
    `CREATE TABLE blackstart_ledger (
       stream text NOT NULL,
       index bigint NOT NULL,
       at timestamptz NOT NULL DEFAULT now(),
       PRIMARY KEY (stream, index))`,
    // One row that monitoring keeps changing: what a replica shows of it says how far behind it is.
    `CREATE TABLE replication_heartbeat (id integer PRIMARY KEY, sequence bigint NOT NULL)`,
  ]
    .map((statement) => `${statement};\n\n`)
    .join('');

const programTimeoutMs = 60_000;

/** Writes what streams log in with, once for all servers. */
export const writePasswordFile = async (layout: LabLayout, { owner, root }: Installation): Promise<void> => {
  const file = passwordFile(root);
  await writeFile(file, `127.0.0.1:*:*:${adminUser}:${layout.token}\n`, { mode: 0o600 });
  if (owner !== undefined) await chown(file, owner.uid, owner.gid);
};

/** Makes a first data directory: a stopped server with the accounts, the database and its tables in it. */
export const initialise = async (
  layout: LabLayout,
  installation: Installation,
  dataDir: string,
  database: string,
): Promise<void> => {
  const { owner, root, initdb, postgres } = installation;
  const secret = `${dataDir}.initial-password`;
  await writeFile(secret, `${layout.token}\n`, { mode: 0o600 });
  if (owner !== undefined) await chown(secret, owner.uid, owner.gid);
  const settings = Object.entries(commonSettings(layout)).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const flags = ['-A', 'scram-sha-256', '--no-sync', '--no-instructions', '--locale=C', '--encoding=UTF8'];
  const account = ['-U', adminUser, `--pwfile=${secret}`, '--wal-segsize=1'];
  const options = { cwd: root, timeoutMs: programTimeoutMs };
  try {
    await runAs(owner, initdb, ['-D', dataDir, ...account, ...flags, ...settings], options);
  } finally {
    await rm(secret, { force: true });
  }
  await writeFile(path.join(dataDir, 'pg_hba.conf'), hostAccess);
  const single = ['--single', '-j', '-D', dataDir, '-c', 'exit_on_error=on'];
  await runAs(owner, postgres, [...single, 'postgres'], { ...options, input: accountsSql(layout, database) });
  await runAs(owner, postgres, [...single, database], { ...options, input: tablesSql(layout, database) });
};

/** Files of a server that belong to its run, not to its data; a copy starts without them. */
const notCopied = new Set([
  'postmaster.pid',
  'postmaster.opts',
  'postgresql.auto.conf',
  'pg_wal',
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
  'standby.signal',
  'backup_label',
]);
const madeEmpty = [
  ...['pg_wal', 'pg_wal/archive_status', 'pg_wal/summaries', 'pg_dynshmem', 'pg_notify', 'pg_replslot'],
  ...['pg_serial', 'pg_snapshots', 'pg_stat_tmp', 'pg_subtrans'],
];

/** Empties the folder and keeps it: PostgreSQL finds the shared memory of a killed server by the folder's identity. */
const emptyFolder = async (folder: string): Promise<void> => {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(folder)) await rm(path.join(folder, name), { recursive: true, force: true });
};

const ownFolder = async (folder: string, owner: Installation['owner']): Promise<void> => {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  if (owner !== undefined) await chown(folder, owner.uid, owner.gid);
};

/** Copies a stopped server's folder as a whole. */
export const coldCopy = async (installation: Installation, from: string, to: string): Promise<void> => {
  await emptyFolder(to);
  await ownFolder(to, installation.owner);
  const options = { cwd: installation.root, timeoutMs: programTimeoutMs };
  await runAs(installation.owner, 'cp', ['-Rp', `${from}/.`, to], options);
};

const readyEveryMs = 5;
const startTimeoutMs = 60_000;

/** What the server says of itself in its lock file: its eighth line is `ready` once it takes connections. */
const acceptsConnections = async (dataDir: string): Promise<boolean> => {
  try {
    const lines = (await readFile(path.join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
    return lines[7]?.trim() === 'ready';
  } catch {
    // Not written yet: the server has only just been started.
    return false;
  }
};

interface Files {
  readonly layout: LabLayout;
  readonly installation: Installation;
  readonly server: string;
  readonly zone: string;
  readonly region: string;
  readonly dataDir: string;
}

/**
 * A killed server leaves its segment of System V shared memory (56 bytes), named in the seventh line of its lock file.
 * The next start in the same folder takes it over; a folder that is going away would leave it for ever.
 */
const removeSharedMemory = async ({ installation, dataDir }: Files): Promise<void> => {
  let lines: readonly string[];
  try {
    lines = (await readFile(path.join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
  } catch {
    // No lock file: the server ended in good order, or never ran.
    return;
  }
  const id = lines[6]?.trim().split(/\s+/)[1];
  if (id === undefined) return;
  const options = { cwd: installation.root, timeoutMs: programTimeoutMs };
  await runAs(installation.owner, 'ipcrm', ['-m', id], options);
};

const writeOwned = async ({ installation: { owner }, dataDir }: Files, name: string, text: string): Promise<void> => {
  const file = path.join(dataDir, name);
  await writeFile(file, text, { mode: 0o600 });
  if (owner !== undefined) await chown(file, owner.uid, owner.gid);
};

const writeRole = async (files: Files, { upstream, synchronous }: Role): Promise<void> => {
  const { layout, dataDir } = files;
  const settings = [`synchronous_standby_names = ${synchronousSetting(synchronous)}`];
  if (upstream === undefined) {
    await rm(path.join(dataDir, 'standby.signal'), { force: true });
  } else {
    settings.push(`primary_conninfo = ${upstreamSetting(layout, files, upstream)}`);
    await writeOwned(files, 'standby.signal', '');
  }
  await writeOwned(files, 'postgresql.auto.conf', `${settings.join('\n')}\n`);
};

const backupTimeoutMs = 60_000;

const copyInto = async ({ installation }: Files, from: string, names: readonly string[], to: string): Promise<void> => {
  await runAs(installation.owner, 'cp', ['-Rp', ...names.map((name) => path.join(from, name)), to], {
    cwd: installation.root,
    timeoutMs: backupTimeoutMs,
    // A file that went away while the server worked is in the log that is replayed afterwards.
    tolerate: /No such file or directory/,
  });
};

/**
 * PostgreSQL's low-level backup: mark the start, copy the files as they change, mark the end, keep the label. Then the
 * log, all of it: replicas that lag behind may have to be served from here one day.
 */
const copyRunning = async (files: Files, primary: PostgresNode): Promise<void> => {
  const { layout, installation, dataDir } = files;
  const session = openSession(layout, regionPlace(files.region), primary.id);
  try {
    await session.query("SELECT pg_backup_start('rebuild', true)", backupTimeoutMs);
    await emptyFolder(dataDir);
    await ownFolder(dataDir, installation.owner);
    const names = (await readdir(primary.dataDir)).filter((name) => !notCopied.has(name));
    await copyInto(files, primary.dataDir, names, dataDir);
    for (const name of madeEmpty) await ownFolder(path.join(dataDir, name), installation.owner);
    const [row] = await session.query('SELECT labelfile FROM pg_backup_stop(false)', backupTimeoutMs);
    await writeOwned(files, 'backup_label', String(row?.['labelfile'] ?? ''));
    const log = path.join(primary.dataDir, 'pg_wal');
    const segments = (await readdir(log)).filter((name) => /^[0-9A-F]{8}([0-9A-F]{16}|\.history)$/.test(name));
    await copyInto(files, log, segments, path.join(dataDir, 'pg_wal'));
  } finally {
    session.close();
  }
};

const spawnServer = (files: Files, port: number): ChildProcess => {
  const { layout, installation, server, dataDir } = files;
  const log = openSync(path.join(layout.stateDir, 'logs', `postgres-${server}.log`), 'a', 0o600);
  try {
    return spawn(installation.postgres, ['-D', dataDir, '-p', String(port), '-c', `cluster_name=${server}`], {
      ...installation.owner,
      cwd: dataDir,
      env: serverEnvironment,
      stdio: ['ignore', log, log],
      detached: true,
    });
  } finally {
    closeSync(log);
  }
};

export const createNode = (
  context: Pick<ComponentContext, 'layout' | 'log' | 'truth'>,
  installation: Installation,
  spec: DatabaseNode,
): PostgresNode => {
  const { layout, log, truth } = context;
  const { id, server: name, zone, region } = spec;
  const port = layout.endpoints.find((endpoint) => endpoint.id === id)?.port ?? 0;
  const dataDir = path.join(installation.root, name);
  const files: Files = { layout, installation, server: name, zone, region, dataDir };
  let server: { readonly pid: number; readonly exited: Promise<void> } | undefined;

  const launch = (): void => {
    const child = spawnServer(files, port);
    const pid = child.pid ?? 0;
    truth('process.started', id, { pid });
    const exited = new Promise<void>((resolve) => {
      child.once('error', (error) => {
        log(`${id}: ${error.message}`);
        if (server?.pid === pid) server = undefined;
        resolve();
      });
      child.once('exit', (code, signal) => {
        truth('process.exited', id, { pid, code, signal });
        if (server?.pid === pid) server = undefined;
        resolve();
      });
    });
    server = { pid, exited };
  };

  const forgetMemory = (): Promise<void> =>
    removeSharedMemory(files).catch((error: unknown) => log(`${id}: its shared memory stays: ${messageOf(error)}`));

  const stopServer = async (): Promise<void> => {
    if (server === undefined) {
      await forgetMemory();
      return;
    }
    const { pid, exited } = server;
    signalProcess(pid, 'SIGQUIT');
    signalProcess(pid, 'SIGCONT');
    const patience = new AbortController();
    const late = systemClock.sleep(stopGraceMs * 0.6, patience.signal).then(() => killServer(pid));
    await Promise.race([exited, late]);
    patience.abort();
    await late.catch(() => undefined);
  };

  return {
    id,
    server: name,
    zone,
    region,
    dataDir,
    pid: () => server?.pid,
    configure: (role) => writeRole(files, role),
    async start(signal) {
      await rm(path.join(dataDir, 'postmaster.pid'), { force: true });
      launch();
      const untilMs = systemClock.monotonicMs() + startTimeoutMs;
      while (!(await acceptsConnections(dataDir))) {
        if (server === undefined) throw new Error(`${id} ended while starting; see its log`);
        if (systemClock.monotonicMs() > untilMs) throw new Error(`${id} did not start in ${startTimeoutMs} ms`);
        await systemClock.sleep(readyEveryMs, signal);
      }
    },
    stop: stopServer,
    async kill(why) {
      if (server === undefined) return systemClock.monotonicMs();
      const { pid, exited } = server;
      truth('process.signalled', id, { pid, signal: 'SIGKILL', why });
      const atMs = await killServer(pid);
      await exited;
      await forgetMemory();
      return atMs;
    },
    rebuildFrom: (primary) => copyRunning(files, primary),
  };
};
