import { randomBytes, randomInt } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import type { Environment } from '../core/environment.ts';
import { BlackstartError } from '../core/errors.ts';
import {
  clusterOf,
  type DatabaseNode,
  databaseNodes,
  type Endpoint,
  type Forward,
  type LabLayout,
  type Place,
  shapeOf,
  zonePlace,
} from './layout.ts';
import { findPorts } from './ports.ts';

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/** The redis-server to use: the one that is named, else the first on PATH, else null. */
export const findRedisServer = (named: string | null, searchPath = process.env['PATH'] ?? ''): string | null => {
  if (named !== null) {
    if (isExecutable(named)) return path.resolve(named);
    throw new BlackstartError(
      'BAD_FILE',
      `lab.cache.server: ${named} is not an executable file`,
      'Name a redis-server binary, or write null to look for one on PATH.',
    );
  }
  const candidates = searchPath.split(path.delimiter).filter((folder) => path.isAbsolute(folder));
  return candidates.map((folder) => path.join(folder, 'redis-server')).find(isExecutable) ?? null;
};

const walDelaysOf = (nodes: readonly DatabaseNode[], timeScale: number): LabLayout['walDelays'] =>
  nodes.flatMap((reader) =>
    nodes
      .filter((writer) => writer.region !== reader.region && clusterOf(writer) === clusterOf(reader))
      .map((writer) => ({
        source: zonePlace(reader.zone),
        endpoint: `wal/${writer.server}`,
        // The distance lies between the two, whichever of them writes after a failover.
        delayMs: Math.max(reader.lagMs, writer.lagMs) / timeScale,
      }))
      // A synchronous standby has no lag beyond the distance of its region.
      .filter(({ delayMs }) => delayMs > 0),
  );

const accessKeyLetters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const newAccessKeyId = (): string =>
  `AKIALAB${Array.from({ length: 13 }, () => accessKeyLetters[randomInt(accessKeyLetters.length)]).join('')}`;

/**
 * Chooses ports, secrets and lags for a lab of this environment.
 * Throws BAD_FILE when the environment has no `lab` section or names a redis-server that is not there.
 */
export const buildLayout = async (options: {
  readonly environment: Environment;
  readonly stateDir: string;
  readonly timeScale?: number;
}): Promise<LabLayout> => {
  const { environment, stateDir } = options;
  const settings = environment.lab;
  if (settings === undefined) {
    throw new BlackstartError(
      'BAD_FILE',
      `environment ${environment.name} has no "lab" section, so there is nothing to bring up`,
      'Use an environment with one, such as lab.',
    );
  }
  const timeScale = options.timeScale ?? settings.timeScale;
  const redisServer = findRedisServer(settings.cache.server);
  const nodes = databaseNodes(environment);
  const shape = shapeOf(environment, redisServer === null ? 0 : settings.cache.nodes);
  const egressPlaces = shape.sources;
  const portCount =
    shape.endpoints.length * (1 + shape.sources.length) + egressPlaces.length + shape.resolverPlaces.length + 6;
  const ports = (await findPorts(portCount)).values();
  const nextPort = (): number => ports.next().value ?? 0;

  const own = shape.endpoints.map((endpoint): Endpoint => ({ ...endpoint, port: nextPort() }));
  // A WAL stream is an ordinary connection to the PostgreSQL server: same port, but a link of its own.
  const endpoints = own.map((endpoint): Endpoint => {
    const server = endpoint.id.startsWith('wal/') ? `postgres/${endpoint.id.slice('wal/'.length)}` : endpoint.id;
    return { ...endpoint, port: own.find((candidate) => candidate.id === server)?.port ?? endpoint.port };
  });
  const placed = (places: readonly Place[]): Record<Place, number> =>
    Object.fromEntries(places.map((place) => [place, nextPort()])) as Record<Place, number>;
  return {
    environment,
    settings,
    timeScale,
    stateDir,
    token: randomBytes(24).toString('base64url'),
    awsAccessKeyId: newAccessKeyId(),
    endpoints,
    forwards: shape.sources.flatMap((source) =>
      endpoints.map((endpoint): Forward => ({ source, endpoint: endpoint.id, port: nextPort() })),
    ),
    egress: placed(egressPlaces),
    resolvers: placed(shape.resolverPlaces),
    control: {
      supervisor: nextPort(),
      links: nextPort(),
      dns: nextPort(),
      database: nextPort(),
      aws: nextPort(),
    },
    monitoring: nextPort(),
    walDelays: walDelaysOf(nodes, timeScale),
    databaseUser: 'platform',
    databasePassword: randomBytes(18).toString('base64url'),
    redisServer,
  };
};
