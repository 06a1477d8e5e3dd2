import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { BlackstartError, messageOf } from '../core/errors.ts';
import { callControl } from './control.ts';
import { dataFoldersOf, readRunning, readState } from './home.ts';
import { clientPlace, databaseNodes, forwardPort, type LabLayout, type Place } from './layout.ts';
import { layoutFileOf } from './process.ts';
import { listProcesses, memoryKilobytes, processesOfLab, type SystemProcess } from './processes.ts';
import { addressesOf, type ComponentState, type LabState } from './state.ts';
import { markUsed } from './used.ts';

export interface LabProcessStatus {
  /** Component or pod name. */
  readonly name: string;
  readonly kind: string;
  readonly place: string;
  readonly pid: number;
  readonly state: string;
  readonly restarts: number;
  /** Its own memory and its share of what it shares, children that are no component of their own included. */
  readonly memoryMegabytes: number | null;
}

export interface LabStatus {
  readonly name: string;
  /** `crashed`: its supervisor is gone but its files are there; `lab down` or `lab up` cleans up. */
  readonly phase: 'down' | 'starting' | 'up' | 'stopping' | 'crashed';
  readonly timeScale: number | null;
  readonly startedAt: string | null;
  readonly stateDir: string | null;
  readonly memoryMegabytes: number | null;
  readonly components: readonly LabProcessStatus[];
  readonly addresses: LabAddressBook | null;
  /** Rules in force on the links; null when the links cannot be asked. */
  readonly rules: readonly unknown[] | null;
  readonly databases: readonly unknown[] | null;
  /** Regions as GeoDNS's health checkers see them. */
  readonly health: unknown;
  /** What could not be asked, and why. */
  readonly problems: readonly string[];
}

export interface LabAddressBook {
  /** Client location → region → zone → base URL of the service there, over that client's link. */
  readonly service: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>;
  readonly resolvers: Readonly<Record<string, string>>;
  readonly kubeconfig: string | null;
  readonly kubernetes: Readonly<Record<string, string>>;
  readonly awsEndpoint: string | null;
  readonly awsCredentialsFile: string | null;
  /** PostgreSQL node → `host:port` over the operator's link. */
  readonly postgres: Readonly<Record<string, string>>;
  readonly vector: Readonly<Record<string, string>>;
  readonly objects: Readonly<Record<string, string>>;
  readonly cache: Readonly<Record<string, string>>;
  /** Base URL of Alertmanager's API (v2), and the metrics behind it in Prometheus's format. */
  readonly alertmanager: string;
  readonly metrics: string;
  /** Control APIs of the lab itself; they want the token of `lab.json`. */
  readonly control: Readonly<Record<string, string>>;
}

const http = (port: number): string => `http://127.0.0.1:${port}`;

/** Every address of a lab. */
export const addressBook = (layout: LabLayout): LabAddressBook => {
  const { environment } = layout;
  const port = (source: Place, endpoint: string): number => forwardPort(layout, source, endpoint);
  const perRegion = (kind: string, scheme: (port: number) => string): Record<string, string> =>
    Object.fromEntries(environment.regions.map(({ name }) => [name, scheme(port('operator', `${kind}/${name}`))]));
  const places: readonly (readonly [string, Place])[] = [
    ...environment.clients.map(({ name }) => [name, clientPlace(name)] as const),
    ['operator', 'operator'],
  ];
  const addresses = addressesOf(layout);
  const caches = layout.endpoints.filter(({ id }) => id.startsWith('cache/'));
  return {
    service: Object.fromEntries(
      places.map(([name, place]) => [
        name,
        Object.fromEntries(
          environment.regions.map((region) => [
            region.name,
            Object.fromEntries(region.zones.map((zone) => [zone.name, http(port(place, `balancer/${zone.name}`))])),
          ]),
        ),
      ]),
    ),
    resolvers: { ...addresses.resolvers, operator: `127.0.0.1:${layout.resolvers['operator']}` },
    kubeconfig: addresses.kubeconfig,
    kubernetes: perRegion('kubernetes', (value) => `https://127.0.0.1:${value}`),
    awsEndpoint: addresses.awsEndpoint,
    awsCredentialsFile: addresses.awsCredentialsFile,
    postgres: Object.fromEntries(
      databaseNodes(environment).map(({ id }) => [id, `127.0.0.1:${port('operator', id)}`] as const),
    ),
    vector: perRegion('vector', http),
    objects: perRegion('objects', http),
    cache: Object.fromEntries(caches.map(({ id }) => [id, `127.0.0.1:${port('operator', id)}`] as const)),
    alertmanager: http(layout.monitoring),
    metrics: `${http(layout.monitoring)}/metrics`,
    control: Object.fromEntries(Object.entries(layout.control).map(([name, value]) => [name, http(value)])),
  };
};

/** The options a process of ours was started with: `key=value` after the layout file. */
const wordsOf = ({ args }: SystemProcess, layoutFile: string): Record<string, string> => {
  const words = args.slice(args.indexOf(layoutFile) + 1).filter((word) => word.includes('='));
  return Object.fromEntries(words.map((word) => word.split(/=(.*)/s).slice(0, 2)));
};

const megabytes = (kilobytes: number): number => Math.round((kilobytes / 1024) * 10) / 10;

/** Memory of a process and of the children that are listed under no name of their own. */
const memoryWithChildren = (pid: number, all: readonly SystemProcess[], named: ReadonlySet<number>): number | null => {
  const own = memoryKilobytes(pid);
  if (own === undefined) return null;
  const children = all.filter((one) => one.parent === pid && !named.has(one.pid));
  return children.reduce((sum, child) => sum + (memoryWithChildren(child.pid, all, named) ?? 0), megabytes(own));
};

const processesStatus = (state: LabState): readonly LabProcessStatus[] => {
  const { stateDir } = state.layout;
  const layoutFile = layoutFileOf(stateDir);
  const all = processesOfLab({ stateDir, layoutFile, dataFolders: [stateDir, ...dataFoldersOf(stateDir)] });
  const pods = all.filter(({ args }) => args.some((arg) => arg.startsWith('container-id=')));
  const supervisor: ComponentState = {
    name: 'supervisor',
    kind: 'supervisor',
    place: 'operator',
    pid: state.supervisor.pid,
    state: 'ready',
    restarts: 0,
  };
  const components = [supervisor, ...state.components].map((component) => {
    const isGone = component.state === 'ready' && !all.some(({ pid }) => pid === component.pid);
    return isGone ? { ...component, state: 'ended' } : component;
  });
  const podStatuses = pods.map((pod) => {
    const { pod: name = '', app = '', zone = '' } = wordsOf(pod, layoutFile);
    return { name, kind: app, place: `zone/${zone}`, pid: pod.pid, state: 'running', restarts: 0 };
  });
  const machine = listProcesses();
  const named = new Set([...components, ...podStatuses].map(({ pid }) => pid));
  return [...components, ...podStatuses].map((status) => ({
    ...status,
    memoryMegabytes: memoryWithChildren(status.pid, machine, named),
  }));
};

const down = (name: string): LabStatus => ({
  name,
  phase: 'down',
  timeScale: null,
  startedAt: null,
  stateDir: null,
  memoryMegabytes: null,
  components: [],
  addresses: null,
  rules: null,
  databases: null,
  health: null,
  problems: [],
});

/** What runs of a lab and where everything is reached; `down` when there is none. Counts as use of the lab. */
export const labStatus = async (name: string): Promise<LabStatus> => {
  const state = readState(name);
  if (state === undefined) return down(name);
  const { layout } = state;
  const isRunning = readRunning(name) !== undefined;
  const base = { name, timeScale: layout.timeScale, startedAt: state.startedAt, stateDir: layout.stateDir };
  if (!isRunning) return { ...down(name), ...base, phase: 'crashed' };
  markUsed(layout.stateDir);
  const problems: string[] = [];
  const ask = async (control: 'links' | 'dns' | 'database', pathname: string): Promise<unknown> => {
    try {
      return await callControl(layout, control, 'GET', pathname, { timeoutMs: 2000 });
    } catch (error) {
      problems.push(`${control} does not answer: ${messageOf(error)}`);
      return null;
    }
  };
  const [rules, health, databases] = await Promise.all([
    ask('links', '/rules'),
    ask('dns', '/health'),
    ask('database', '/instances'),
  ]);
  const components = processesStatus(state);
  for (const one of components) if (one.state === 'ended') problems.push(`${one.name} has ended; see its log`);
  const memory = components.reduce((sum, { memoryMegabytes }) => sum + (memoryMegabytes ?? 0), 0);
  return {
    ...base,
    phase: state.phase,
    memoryMegabytes: Math.round(memory),
    components,
    addresses: addressBook(layout),
    rules: rules as readonly unknown[] | null,
    databases: databases as readonly unknown[] | null,
    health,
    problems,
  };
};

/** Throws UNREACHABLE when the lab is not up. */
export const requireRunning = (name: string): LabState => {
  const state = readRunning(name);
  if (state?.phase === 'up') return state;
  throw new BlackstartError(
    'UNREACHABLE',
    state === undefined ? `the lab ${name} is not up` : `the lab ${name} is ${state.phase}`,
    'Start it with "blackstart lab up".',
  );
};

const logLinesMax = 1000;

/** The names of all logs of a lab, without the ending. */
export const logNames = (stateDir: string): readonly string[] =>
  readdirSync(path.join(stateDir, 'logs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.log'))
    .map((file) => file.slice(0, -'.log'.length))
    .toSorted();

/**
 * The last lines of the logs whose name contains `component`, or of all. Works on a crashed lab, too.
 * Throws USAGE when no log has such a name, naming those there are.
 */
export const labLogs = (
  name: string,
  component?: string,
): readonly { readonly component: string; readonly lines: readonly string[] }[] => {
  const state = readState(name);
  if (state === undefined) {
    throw new BlackstartError('UNREACHABLE', `there is no lab ${name}`, 'Start it with "blackstart lab up".');
  }
  const { stateDir } = state.layout;
  const names = logNames(stateDir);
  const chosen = names.filter((one) => component === undefined || one.includes(component));
  if (chosen.length === 0) {
    throw new BlackstartError('USAGE', `no log of the lab is called "${component}"`, `There are: ${names.join(', ')}.`);
  }
  return chosen.map((one) => {
    const text = readFileSync(path.join(stateDir, 'logs', `${one}.log`), 'utf8').trimEnd();
    return { component: one, lines: text === '' ? [] : text.split('\n').slice(-logLinesMax) };
  });
};
