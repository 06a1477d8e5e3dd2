import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Environment } from '../core/environment.ts';
import { createCertificates } from '../lab/certificates.ts';
import { component } from '../lab/cloud/aws.ts';
import { ControlError, serveControl } from '../lab/control.ts';
import type { LabLayout } from '../lab/layout.ts';
import { findPorts } from '../lab/ports.ts';

interface StubInstance {
  id: string;
  region: string;
  status: string;
  zone: string;
  secondaryZone: string | null;
  multiZone: boolean;
  source: string | null;
  replicas: string[];
  endpoint: string;
}

/** A ready pod and where the links would reach it. */
export interface StubPod {
  readonly name: string;
  readonly region: string;
  readonly zone: string;
  readonly app: string;
  readonly port: number;
}

/** The lab's AWS API for real, in this process, with plain stand-ins for the links, DNS and database behind it. */
export interface AwsStandIn {
  readonly layout: LabLayout;
  readonly endpoint: string;
  readonly credentialsFile: string;
  /** Rules the links were given, by id. */
  readonly rules: Map<string, { readonly match: unknown; readonly effect: unknown; readonly owner: string }>;
  readonly instances: Map<string, StubInstance>;
  readonly healthy: Map<string, boolean>;
  readonly records: Map<string, { readonly value: string; readonly ttlSeconds: number }>;
  readonly weights: Map<string, number>;
  /** Pods that the Kubernetes API of their region lists. */
  readonly pods: StubPod[];
  /** PostgreSQL servers that were killed. */
  readonly killed: string[];
  stop(): void;
}

const instancesOf = (environment: Environment): Map<string, StubInstance> => {
  const primary = environment.regions.find((region) => region.role === 'primary');
  const others = environment.regions.filter((region) => region !== primary);
  return new Map(
    environment.regions.map((region) => [
      region.database.instance,
      {
        id: region.database.instance,
        region: region.name,
        status: 'available',
        zone: region.database.zone,
        secondaryZone: region.database.standbyZone ?? null,
        multiZone: region.database.standbyZone !== undefined,
        source: region === primary ? null : (primary?.database.instance ?? null),
        replicas: region === primary ? others.map((other) => other.database.instance) : [],
        endpoint: `${region.database.instance}.${environment.service.databaseDomain}`,
      },
    ]),
  );
};

const fieldOf = (body: unknown, name: string): unknown =>
  typeof body === 'object' && body !== null ? Object.fromEntries(Object.entries(body))[name] : undefined;

const serveStandIns = async (layout: LabLayout, standIn: AwsStandIn, signal: AbortSignal): Promise<void> => {
  const { rules, instances, healthy, records, weights, killed } = standIn;
  const instanceOf = (id = ''): StubInstance => {
    const found = instances.get(id);
    if (found === undefined) throw new ControlError(404, 'DBInstanceNotFound', `no ${id}`);
    if (found.status !== 'available') throw new ControlError(409, 'InvalidDBInstanceState', `${id} is ${found.status}`);
    return found;
  };
  await serveControl(
    layout,
    'links',
    [
      { route: 'GET /rules', answer: () => [...rules].map(([id, rule]) => ({ id, ...rule })) },
      {
        route: 'PUT /rules/:id',
        answer: ({ params, body }) => {
          rules.set(params['id'] ?? '', body as { match: unknown; effect: unknown; owner: string });
        },
      },
      { route: 'DELETE /rules/:id', answer: ({ params }) => void rules.delete(params['id'] ?? '') },
    ],
    signal,
  );
  await serveControl(
    layout,
    'database',
    [
      { route: 'GET /instances', answer: () => [...instances.values()] },
      { route: 'POST /servers/:server/kill', answer: ({ params }) => void killed.push(params['server'] ?? '') },
      {
        route: 'POST /instances/:id/failover',
        answer: ({ params }) => {
          const one = instanceOf(params['id']);
          Object.assign(one, { zone: one.secondaryZone, secondaryZone: one.zone });
        },
      },
      {
        route: 'POST /instances/:id/start',
        answer: ({ params }) => {
          const one = instances.get(params['id'] ?? '');
          if (one?.status !== 'stopped') throw new ControlError(400, 'InvalidDBInstanceState', 'it is not stopped');
          one.status = 'available';
        },
      },
      {
        route: 'POST /instances/:id/promote',
        answer: ({ params }) => {
          const one = instanceOf(params['id']);
          for (const other of instances.values()) other.replicas = other.replicas.filter((id) => id !== one.id);
          one.source = null;
        },
      },
      {
        route: 'POST /instances/:id/replica-of',
        answer: ({ params, body }) => {
          const source = instanceOf(String(fieldOf(body, 'source')));
          const one = instanceOf(params['id']);
          one.source = source.id;
          source.replicas.push(one.id);
        },
      },
    ],
    signal,
  );
  await serveControl(
    layout,
    'dns',
    [
      {
        route: 'GET /health',
        answer: () => ({
          regions: [...healthy].map(([region, isHealthy]) => ({
            region,
            override: null,
            zones: [{ healthy: isHealthy, lastReason: 'connection timed out', checkedAtMs: 1_500_000_000_250 }],
          })),
        }),
      },
      { route: 'GET /records', answer: () => [...records].map(([name, one]) => ({ name, type: 'CNAME', ...one })) },
      {
        route: 'PUT /records/:name',
        answer: ({ params, body }) => {
          records.set(params['name'] ?? '', {
            value: String(fieldOf(body, 'value')),
            ttlSeconds: Number(fieldOf(body, 'ttlSeconds')),
          });
        },
      },
      {
        route: 'GET /weights/:region',
        answer: ({ params }) => ({ weight: weights.get(params['region'] ?? '') ?? 100 }),
      },
      {
        route: 'PUT /weights/:region',
        answer: ({ params, body }) => void weights.set(params['region'] ?? '', Number(fieldOf(body, 'weight'))),
      },
    ],
    signal,
  );
};

/** The nodes and pods of a region's Kubernetes API. */
const serveCluster = (layout: LabLayout, region: string, { pods }: AwsStandIn, signal: AbortSignal): Promise<void> => {
  const { environment } = layout;
  const found = environment.regions.find(({ name }) => name === region);
  const nodes = (found?.zones ?? []).map(({ name: zone }) => ({
    metadata: { name: `node-${zone}`, labels: { 'topology.kubernetes.io/zone': zone } },
  }));
  const podOf = ({ name, zone, app, port }: StubPod): unknown => ({
    metadata: {
      name,
      uid: `uid-${name}`,
      namespace: found?.kubernetes.namespace,
      labels: { app },
      annotations: { 'lab.blackstart.dev/port': String(port) },
    },
    spec: { nodeName: `node-${zone}`, containers: [{ name: app }] },
    status: { phase: 'Running' },
  });
  const read = (name: string): Buffer => readFileSync(path.join(layout.stateDir, name));
  const server = https.createServer({ key: read('tls.key'), cert: read('tls.crt') }, (request, response) => {
    const mine = pods.filter((pod) => pod.region === region);
    response.end(JSON.stringify({ items: request.url === '/api/v1/nodes' ? nodes : mine.map(podOf) }));
  });
  signal.addEventListener('abort', () => {
    server.close();
    server.closeAllConnections();
  });
  const port = layout.forwards.find(({ endpoint }) => endpoint === `kubernetes/${region}`)?.port;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
};

/** Starts the AWS API for an environment that has a `lab` section, on free loopback ports. */
export const startAws = async (environment: Environment, timeScale: number): Promise<AwsStandIn> => {
  const settings = environment.lab;
  if (settings === undefined) throw new Error('the environment has no lab section');
  const stateDir = mkdtempSync(path.join(tmpdir(), 'blackstart-aws-'));
  const ports = await findPorts(5 + environment.regions.length);
  const [supervisor = 0, links = 0, dns = 0, database = 0, aws = 0, ...clusterPorts] = ports;
  const layout: LabLayout = {
    environment,
    settings,
    timeScale,
    stateDir,
    token: randomBytes(24).toString('base64url'),
    awsAccessKeyId: 'AKIALABTEST000000000',
    endpoints: [],
    forwards: environment.regions.map(({ name }, index) => ({
      source: 'operator',
      endpoint: `kubernetes/${name}`,
      port: clusterPorts[index] ?? 0,
    })),
    egress: { edge: 0, operator: 0 },
    resolvers: { edge: 0, operator: 0 },
    control: { supervisor, links, dns, database, aws },
    monitoring: 0,
    walDelays: [],
    databaseUser: 'platform',
    databasePassword: 'secret',
    redisServer: null,
  };
  const credentialsFile = path.join(stateDir, 'credentials');
  const lines = [
    '[default]',
    `aws_access_key_id = ${layout.awsAccessKeyId}`,
    `aws_secret_access_key = ${layout.token}`,
  ];
  writeFileSync(credentialsFile, `${lines.join('\n')}\n`, { mode: 0o600 });
  const controller = new AbortController();
  const { databaseHost, databaseDomain } = environment.service;
  const primary = environment.regions.find((region) => region.role === 'primary')?.database.instance;
  const standIn: AwsStandIn = {
    layout,
    endpoint: `http://127.0.0.1:${aws}`,
    credentialsFile,
    rules: new Map(),
    instances: instancesOf(environment),
    healthy: new Map(environment.regions.map(({ name }) => [name, true])),
    records: new Map([[databaseHost, { value: `${primary}.${databaseDomain}`, ttlSeconds: 2 }]]),
    weights: new Map(),
    pods: [],
    killed: [],
    stop() {
      controller.abort();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
  createCertificates(stateDir);
  await serveStandIns(layout, standIn, controller.signal);
  await Promise.all(environment.regions.map(({ name }) => serveCluster(layout, name, standIn, controller.signal)));
  await component.start({
    layout,
    options: {},
    signal: controller.signal,
    log: (line) => process.stderr.write(`${line}\n`),
    truth: () => undefined,
  });
  return standIn;
};
