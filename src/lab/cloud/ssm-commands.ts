import { callControl } from '../control.ts';
import { type LabLayout, type Place, zonePlace } from '../layout.ts';
import { newId } from './names.ts';
import type { Host, World } from './world.ts';

/*
 * What FIS has SSM run on the hosts of databases: three of the public AWSFIS documents, carried out for real. A command
 * that lasts takes back what it did when it is cancelled or its time is over.
 */

/** A command that has begun. */
export interface Command {
  /** It is over already: nobody need wait for its duration. */
  readonly isDone: boolean;
  cancel(): Promise<void>;
}

export interface CommandContext {
  readonly layout: LabLayout;
  readonly world: World;
  /** Real milliseconds of a documented duration. */
  real(documentedMs: number): number;
}

const callWithinMs = 10_000;

const linkRule = async (layout: LabLayout, match: unknown, effect: unknown): Promise<() => Promise<void>> => {
  const id = newId('ssm');
  const call = (method: 'PUT' | 'DELETE', body?: unknown): Promise<unknown> =>
    callControl(layout, 'links', method, `/rules/${id}`, {
      ...(body === undefined ? {} : { body }),
      timeoutMs: callWithinMs,
    });
  await call('PUT', { match, effect, owner: 'ssm' });
  return async () => {
    await call('DELETE');
  };
};

/** The log on its way from the hosts with these addresses to this one: all that databases' hosts say to each other. */
const logFrom = (sources: string, host: Host, { world }: CommandContext) => {
  const addresses = sources.split(',').map((one) => one.trim());
  const hosts = [...world.regions.values()].flatMap((region) => region.hosts);
  const found = addresses.map((address) => hosts.find((one) => one.address === address));
  if (found.includes(undefined)) throw new Error(`Sources: this lab knows no host with the addresses ${sources}.`);
  const from = found.flatMap((one): Host[] => (one === undefined ? [] : [one]));
  return {
    from: [...new Set(from.map(({ zone }): Place => zonePlace(zone)))],
    to: [zonePlace(host.zone)],
    endpoints: from.map(({ server }) => `wal/${server}`),
  };
};

type Parameters = Readonly<Record<string, string>>;
type Run = (parameters: Parameters, host: Host, context: CommandContext) => Promise<Command>;

const requireIngress = ({ TrafficType = 'ingress' }: Parameters): void => {
  if (TrafficType !== 'ingress') throw new Error('TrafficType: this lab carries out ingress alone.');
};

const killProcess: Run = async ({ ProcessName, Signal }, host, { layout }) => {
  if (ProcessName !== 'postgres') throw new Error(`ProcessName: no process ${ProcessName} runs on ${host.id}.`);
  if (Signal !== 'SIGKILL') throw new Error('Signal: this lab carries out SIGKILL alone.');
  await callControl(layout, 'database', 'POST', `/servers/${encodeURIComponent(host.server)}/kill`, {
    timeoutMs: callWithinMs,
  });
  return { isDone: true, cancel: async () => undefined };
};

const latency: Run = async (parameters, host, context) => {
  requireIngress(parameters);
  const delayMs = Number(parameters['DelayMilliseconds']);
  if (!(delayMs > 0)) throw new Error('DelayMilliseconds must be above 0.');
  const match = logFrom(parameters['Sources'] ?? '', host, context);
  const effect = { kind: 'delay', delayMs: context.real(delayMs) };
  return { isDone: false, cancel: await linkRule(context.layout, match, effect) };
};

const packetLoss: Run = async (parameters, host, context) => {
  requireIngress(parameters);
  if (parameters['LossPercent'] !== '100') throw new Error('LossPercent: this lab carries out 100 alone.');
  const match = logFrom(parameters['Sources'] ?? '', host, context);
  return { isDone: false, cancel: await linkRule(context.layout, match, { kind: 'blackhole' }) };
};

interface Document {
  readonly parameters: readonly string[];
  readonly run: Run;
}

const lasting = ['Sources', 'DurationSeconds', 'Interface', 'TrafficType', 'InstallDependencies'];

const documents: Readonly<Record<string, Document>> = {
  'AWSFIS-Run-Kill-Process': { parameters: ['ProcessName', 'Signal', 'InstallDependencies'], run: killProcess },
  'AWSFIS-Run-Network-Latency-Sources': { parameters: [...lasting, 'DelayMilliseconds'], run: latency },
  'AWSFIS-Run-Network-Packet-Loss-Sources': { parameters: [...lasting, 'LossPercent'], run: packetLoss },
};

const parametersOf = (text: string, document: Document): Parameters => {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new Error('documentParameters is not a JSON object.');
  const parameters: Record<string, string> = {};
  for (const [name, given] of Object.entries(value)) {
    if (!document.parameters.includes(name)) throw new Error(`The document has no parameter ${name}.`);
    parameters[name] = String(Array.isArray(given) ? given.join(',') : given);
  }
  return parameters;
};

/** Runs a document on hosts; what one of them began is taken back when another fails. */
export const sendCommand = async (
  documentArn: string,
  documentParameters: string,
  hosts: readonly Host[],
  context: CommandContext,
): Promise<Command> => {
  const name = documentArn.split(':document/')[1] ?? '';
  const document = Object.hasOwn(documents, name) ? documents[name] : undefined;
  if (document === undefined) throw new Error(`Document ${documentArn} does not exist here.`);
  const parameters = parametersOf(documentParameters, document);
  const begun = await Promise.allSettled(hosts.map((host) => document.run(parameters, host, context)));
  const commands = begun.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const cancel = async (): Promise<void> => {
    await Promise.all(commands.map((command) => command.cancel()));
  };
  for (const one of begun) {
    if (one.status === 'fulfilled') continue;
    await cancel();
    throw one.reason;
  }
  return { isDone: commands.every(({ isDone }) => isDone), cancel };
};
