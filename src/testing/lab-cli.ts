import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Client } from 'pg';
import { createAwsPorts } from '../adapters/aws-client.ts';
import { createDnsClient } from '../adapters/dns.ts';
import { createKubernetesPort } from '../adapters/kubernetes.ts';
import type { Ports } from '../adapters/ports.ts';
import { createVectorPort } from '../adapters/vectors.ts';
import type { Addresses } from '../core/addresses.ts';
import { systemClock } from '../core/clock.ts';
import type { Environment, Region } from '../core/environment.ts';
import { type Armed, outstanding, readJournal } from '../core/journal.ts';
import { bucketOf } from '../core/places.ts';
import { runTag } from '../experiments/faults/fis.ts';
import { labAddresses, labStatus } from '../lab/index.ts';
import { startOf } from '../lab/processes.ts';
import { labEnvironment } from '../lab/testing.ts';

/**
 * The whole lab and the real command line, each in processes of its own, with folders of their own. What the command
 * line did to the platform is seen through the platform's APIs, never through blackstart.
 */

const root = path.dirname(path.dirname(import.meta.dirname));
const launcher = path.join(root, 'bin', 'blackstart.mjs');
const name = 'lab';

export interface Ended {
  /** Exit code; `null` when a signal ended it. */
  readonly code: number | null;
  readonly out: string;
  /** Everything on standard error. */
  readonly notes: string;
  readonly tookMs: number;
}

export interface Going {
  readonly pid: number;
  notes(): string;
  /** Resolves once standard error matches; rejects when the command ends first, or after two minutes. */
  said(pattern: RegExp): Promise<void>;
  /** To the whole process group, as a terminal does it. */
  press(signal: NodeJS.Signals): void;
  /** SIGKILL to the one process. */
  kill(): void;
  readonly ended: Promise<Ended>;
}

/** What a fault may change, as the platform's own APIs show it. Equal before and after, or something was left. */
export interface Platform {
  /** Subnet → network ACL, and subnet → route table. */
  readonly acls: Readonly<Record<string, string>>;
  readonly tables: Readonly<Record<string, string>>;
  /** Rules in force on the lab's links. */
  readonly rules: readonly unknown[];
  /** Region → share of its clients. */
  readonly weights: Readonly<Record<string, number>>;
  readonly databaseName: string;
  /** Instance → what it replicates from. */
  readonly sources: Readonly<Record<string, string | null>>;
  /** Templates and unfinished experiments in FIS that carry a run's tag. */
  readonly fis: readonly string[];
  /** Bucket → its documents' versions and delete markers, and what it is replicated to. */
  readonly buckets: Readonly<Record<string, unknown>>;
  /** Region → its vector store: what it holds, who had it lost, who paused its syncs. */
  readonly vectors: Readonly<Record<string, unknown>>;
}

export interface LabCli {
  readonly environment: Environment;
  readonly addresses: Addresses;
  readonly ports: Ports;
  readonly reports: string;
  start(...argv: readonly string[]): Going;
  run(...argv: readonly string[]): Promise<Ended>;
  /** Writes a file beside the reports and returns its path. */
  write(fileName: string, text: string): string;
  /** Run ids, oldest first. */
  runIds(): readonly string[];
  /** What a run's journal says is still to be put back. */
  left(runId: string): Promise<readonly Armed[]>;
  /** The pid of a run's watchdog, once it watches. */
  watchdogOf(runId: string): number | undefined;
  platform(): Promise<Platform>;
  /** Names of the ledgers whose rows are in the conversations' database. */
  ledgers(): Promise<readonly string[]>;
  /** What the platform itself still has to mend: standbys, replicas, pods. Empty when it is whole. */
  mending(): Promise<readonly string[]>;
  /** Base URL of a zone's balancer as its clients reach it. */
  zoneUrl(zone: string): Promise<string>;
  down(): Promise<void>;
}

const withinMs = 120_000;

/** Looks until it is so; says what was seen last when it never is. */
export const eventually = async <T>(
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
  limitMs = withinMs,
): Promise<T> => {
  const lastMs = systemClock.monotonicMs() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (systemClock.monotonicMs() > lastMs) throw new Error(`${what} did not happen within ${limitMs} ms`);
    await systemClock.sleep(50);
  }
};

export const isRunning = (pid: number): boolean => startOf(pid) !== undefined;

const startCommand = (argv: readonly string[], variables: Readonly<Record<string, string>>): Going => {
  const startedMs = systemClock.monotonicMs();
  const child = spawn(process.execPath, [launcher, ...argv], {
    cwd: root,
    // A group of its own, as a shell gives it: a signal to the group reaches what a Ctrl-C would reach.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...variables },
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('the command did not start');
  let out = '';
  let notes = '';
  let isOver = false;
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    out += piece;
  });
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    notes += piece;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on('exit', () => {
      isOver = true;
    });
    child.on('close', (code) => {
      isOver = true;
      resolve({ code, out, notes, tookMs: systemClock.monotonicMs() - startedMs });
    });
  });
  return {
    pid,
    notes: () => notes,
    ended,
    press: (signal) => {
      if (!isOver) process.kill(-pid, signal);
    },
    kill: () => void child.kill('SIGKILL'),
    async said(pattern) {
      const lastMs = systemClock.monotonicMs() + withinMs;
      while (!pattern.test(notes)) {
        if (isOver || systemClock.monotonicMs() > lastMs) {
          throw new Error(`blackstart ${argv.join(' ')} never said ${pattern}:\n${notes}\n${out}`);
        }
        await systemClock.sleep(2);
      }
    },
  };
};

const signalOf = (): AbortSignal => AbortSignal.timeout(30_000);

const fisLeft = async (ports: Ports, region: string, runIds: readonly string[]): Promise<readonly string[]> => {
  const fis = ports.fis(region);
  const left: string[] = [];
  for (const runId of runIds) {
    const templates = await fis.listTemplates(runTag, runId, signalOf());
    const experiments = await fis.listExperiments(runTag, runId, signalOf());
    left.push(
      ...templates.map(({ id }) => `template ${id} of ${runId}`),
      ...experiments
        .filter(({ status }) => ['pending', 'initiating', 'running', 'stopping'].includes(status))
        .map(({ id, status }) => `experiment ${id} of ${runId} is ${status}`),
    );
  }
  return left;
};

/** Documents, and nothing that the platform writes by itself meanwhile. */
const documents = 'handbook/';

const readBucket = async (environment: Environment, region: Region, ports: Ports): Promise<unknown> => {
  const s3 = ports.s3(region.name);
  const bucket = bucketOf(environment, region);
  return {
    versions: await s3.versions(bucket, documents, signalOf()),
    rules: await s3.replicationRules(bucket, signalOf()),
  };
};

const readVectors = async (region: Region, ports: Ports): Promise<unknown> => {
  const status = await ports.vectors(region.name)?.status(signalOf());
  return {
    state: status?.state,
    count: status?.count,
    digest: status?.digest,
    lostBy: status?.lostBy,
    pausedBy: status?.sync?.pausedBy,
  };
};

const readPlatform = async (environment: Environment, ports: Ports, runIds: readonly string[]): Promise<Platform> => {
  const { hostedZoneId, host, databaseHost } = environment.service;
  const perRegion = await Promise.all(
    environment.regions.map(async (region) => {
      const ec2 = ports.ec2(region.name);
      const subnets = await ec2.subnets({ zones: region.zones.map((zone) => zone.name) }, signalOf());
      const ids = subnets.map(({ id }) => id);
      return {
        acls: (await ec2.subnetAcls(ids, signalOf())).map((one) => [one.subnetId, one.networkAclId] as const),
        tables: (await ec2.subnetRouteTables(ids, signalOf())).map((one) => [one.subnetId, one.routeTableId] as const),
        weight: [region.name, await ports.route53().getWeight(hostedZoneId, host, region.name, signalOf())] as const,
        source: [
          region.database.instance,
          (await ports.rds(region.name).describe(region.database.instance, signalOf()))?.source ?? null,
        ] as const,
        fis: await fisLeft(ports, region.name, runIds),
        bucket: [region.name, await readBucket(environment, region, ports)] as const,
        vectors: [region.name, await readVectors(region, ports)] as const,
      };
    }),
  );
  const status = await labStatus(name);
  return {
    acls: Object.fromEntries(perRegion.flatMap((one) => one.acls)),
    tables: Object.fromEntries(perRegion.flatMap((one) => one.tables)),
    rules: status.rules ?? ['the links do not answer'],
    weights: Object.fromEntries(perRegion.map((one) => one.weight)),
    databaseName: (await ports.route53().getRecord(hostedZoneId, databaseHost, signalOf()))?.value ?? 'none',
    sources: Object.fromEntries(perRegion.map((one) => one.source)),
    fis: perRegion.flatMap((one) => one.fis),
    buckets: Object.fromEntries(perRegion.map((one) => one.bucket)),
    vectors: Object.fromEntries(perRegion.map((one) => one.vectors)),
  };
};

const readMending = async (environment: Environment, ports: Ports): Promise<readonly string[]> => {
  const perRegion = await Promise.all(
    environment.regions.map(async (region): Promise<readonly string[]> => {
      const left: string[] = [];
      const instance = await ports.rds(region.name).describe(region.database.instance, signalOf());
      if (instance?.status !== 'available') left.push(`${region.database.instance} is ${instance?.status}`);
      else if (instance.multiZone && instance.secondaryZone === null) left.push(`${instance.id} has no standby`);
      const { context, namespace } = region.kubernetes;
      const pods = await ports.kubernetes(context).listPods(namespace, 'app', signalOf());
      const ready = pods.filter((pod) => pod.ready && !pod.deleting);
      for (const app of ['gateway', 'orchestrator', 'rag', 'llm'] as const) {
        const wanted = region.zones.reduce((sum, zone) => sum + (zone.pods?.[app] ?? 0), 0);
        const found = ready.filter((pod) => pod.labels['app'] === app).length;
        if (found !== wanted) left.push(`${found} of ${wanted} ${app} pods of ${region.name} are ready`);
      }
      return left;
    }),
  );
  return perRegion.flat();
};

const readLedgers = async (environment: Environment, addresses: Addresses): Promise<readonly string[]> => {
  const { databaseHost, databaseName } = environment.service;
  const resolver = createDnsClient(Object.values(addresses.resolvers)[0] ?? '', systemClock);
  const named = resolver.query(`_postgresql._tcp.${databaseHost}`, 'SRV', signalOf()).finally(() => resolver.close());
  const writer = (await named).answers.find(({ type }) => type === 'SRV');
  const client = new Client({
    host: '127.0.0.1',
    port: writer?.port ?? 0,
    user: addresses.database?.user ?? '',
    password: readFileSync(addresses.database?.passwordFile ?? '', 'utf8').trim(),
    database: databaseName,
    connectionTimeoutMillis: 2000,
    query_timeout: 5000,
  });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query('SELECT DISTINCT stream FROM blackstart_ledger ORDER BY stream');
    return rows.map(({ stream }) => String(stream));
  } finally {
    await client.end();
  }
};

/** Brings the whole lab up through the command line. `down` takes it and every folder away. */
export const startLabCli = async (timeScale: number): Promise<LabCli> => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'blackstart-survival-'));
  // PostgreSQL's own user must be able to pass through to its data below.
  const variables = {
    BLACKSTART_LAB_HOME: mkdtempSync(path.join(os.tmpdir(), 'blackstart-survival-lab-')),
    BLACKSTART_REPORTS: path.join(folder, 'reports'),
    XDG_STATE_HOME: path.join(folder, 'state'),
    CI: 'true',
  };
  process.env['BLACKSTART_LAB_HOME'] = variables.BLACKSTART_LAB_HOME;
  const environment = labEnvironment();
  const start = (...argv: readonly string[]): Going => startCommand(argv, variables);
  const run = (...argv: readonly string[]): Promise<Ended> => start(...argv).ended;
  const down = async (): Promise<void> => {
    await run('lab', 'down');
    rmSync(folder, { recursive: true, force: true });
    rmSync(variables.BLACKSTART_LAB_HOME, { recursive: true, force: true });
    delete process.env['BLACKSTART_LAB_HOME'];
  };
  const up = await run('lab', 'up', '--time-scale', String(timeScale));
  if (up.code !== 0) {
    await down();
    throw new Error(`the lab did not come up:\n${up.notes}`);
  }
  const addresses = labAddresses(name);
  const { awsEndpoint: endpoint, awsCredentialsFile: credentialsFile, kubeconfig } = addresses;
  const clusters = new Map(
    environment.regions.map(({ kubernetes: { context } }) => [
      context,
      createKubernetesPort({ kubeconfig, context, clock: systemClock }),
    ]),
  );
  const ports: Ports = {
    ...createAwsPorts({ endpoint, credentialsFile, clock: systemClock }),
    kubernetes(context) {
      const port = clusters.get(context);
      if (port === undefined) throw new Error(`no cluster ${context}`);
      return port;
    },
    cache: () => null,
    alerts: () => null,
    vectors: (region) => createVectorPort({ region, address: addresses.vectors[region] ?? '', clock: systemClock }),
  };
  const runIds = (): readonly string[] => {
    const { BLACKSTART_REPORTS: reports } = variables;
    return existsSync(reports)
      ? readdirSync(reports)
          .filter((one) => /^\d{8}-/.test(one))
          .toSorted()
      : [];
  };
  const inRun = (runId: string, file: string): string => path.join(variables.BLACKSTART_REPORTS, runId, file);
  return {
    environment,
    addresses,
    ports,
    reports: variables.BLACKSTART_REPORTS,
    start,
    run,
    runIds,
    down,
    write(fileName, text) {
      const file = path.join(folder, fileName);
      writeFileSync(file, text);
      return file;
    },
    left: async (runId) => outstanding(await readJournal(inRun(runId, 'journal.jsonl'))),
    watchdogOf(runId) {
      const file = inRun(runId, 'watchdog.pid');
      return existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined;
    },
    ledgers: () => readLedgers(environment, addresses),
    platform: () => readPlatform(environment, ports, runIds()),
    mending: () => readMending(environment, ports),
    async zoneUrl(zone) {
      const { addresses: book } = await labStatus(name);
      const region = environment.regions.find((one) => one.zones.some((candidate) => candidate.name === zone));
      const url = book?.service['us-west']?.[region?.name ?? '']?.[zone];
      if (url === undefined) throw new Error(`the lab has no address for ${zone}`);
      return url;
    },
  };
};
