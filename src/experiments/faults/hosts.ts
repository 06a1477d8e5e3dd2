import { z } from 'zod';
import type { FisExperiment, FisTemplate, Host } from '../../adapters/ports.ts';
import type { Environment } from '../../core/environment.ts';
import { BlackstartError } from '../../core/errors.ts';
import { resolveRegion } from '../../core/places.ts';
import type { RevertState } from '../../core/undo.ts';
import type { FaultContext, Permission, Planned } from '../fault.ts';
import {
  assertLever,
  endExperiments,
  environmentTag,
  experimentsOf,
  type FisUse,
  faultTag,
  fisPermissions,
  isActive,
  isoDuration,
  lookEveryMs,
  prepareTemplate,
  runTag,
  startTemplate,
  tagsOfUse,
  targetTag,
  templateBase,
  templatesOf,
  tokenFor,
} from './fis.ts';

/*
 * What faults on the hosts of databases have in common: AWS FIS has SSM run one of its public AWSFIS documents there.
 * One experiment per host, tagged with run, fault and target, that ends by itself.
 */

/** Of the machines under PostgreSQL servers that people run themselves: the instance that the server belongs to. */
const databaseTag = 'blackstart:database';

export const databaseField = z
  .enum(['conversations', 'billing'])
  .default('conversations')
  .meta({ description: 'Which database of the platform.' });

export interface DatabasePlace {
  readonly region: string;
  readonly instance: string;
}

/** Where RDS, or who stands for it, knows the instance. */
export const databasePlace = (environment: Environment, database: string, reference: string): DatabasePlace => {
  if (database === 'conversations') {
    const { name: region, database: own } = resolveRegion(environment, reference);
    return { region, instance: own.instance };
  }
  const { billing, regions } = environment;
  const home = regions.find(({ zones }) => zones.some(({ name }) => name === billing?.zone));
  if (billing === undefined || home === undefined) {
    throw new BlackstartError(
      'PLAN_REFUSED',
      `environment ${environment.name} has no billing database`,
      'Give the environment file a "billing" section, or name the conversations.',
    );
  }
  return { region: home.name, instance: billing.instance };
};

/** Hosts of an instance in one region, or everywhere: a database may span regions. */
export const hostsOf = async (
  instance: string,
  regions: readonly string[],
  { environment, ports, signal }: FaultContext,
): Promise<readonly (Host & { readonly region: string })[]> => {
  const tags = { [environmentTag]: environment.name, [databaseTag]: instance };
  const found = await Promise.all(
    regions.map(async (region) => (await ports.ec2(region).hosts(tags, signal)).map((host) => ({ ...host, region }))),
  );
  return found.flat().toSorted((one, other) => (one.id < other.id ? -1 : 1));
};

export const noHost = (instance: string, where: string): BlackstartError =>
  new BlackstartError(
    'PLAN_REFUSED',
    `no running EC2 instance in ${where} is tagged ${databaseTag}=${instance}`,
    'Tag the hosts of PostgreSQL that SSM may reach. A database that RDS runs has no host of yours.',
  );

export const hostUndoSchema = z.strictObject({
  /** With `target`, what the tags of templates and experiments say. */
  run: z.string(),
  target: z.string(),
  /** Where the host is, and the experiment on it. */
  region: z.string(),
  host: z.string(),
  zone: z.string(),
  /** Where the database's control knows it, and whether it was redundant. */
  home: z.string(),
  instance: z.string(),
  redundant: z.boolean(),
});
export type HostUndo = z.output<typeof hostUndoSchema>;

export interface HostCommand {
  /** Public document, such as `AWSFIS-Run-Kill-Process`. */
  readonly document: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** The undo record, so that it is found without a journal: tags hold 256 characters each. */
const undoTag = 'blackstart:undo';

const useOf = (fault: string, { run, target, region }: HostUndo): FisUse => ({ fault, run, target, region });

const tagsFor = (name: string, undo: HostUndo): Readonly<Record<string, string>> => ({
  ...tagsOfUse(useOf(name, undo)),
  [undoTag]: [undo.host, undo.zone, undo.home, undo.instance, undo.redundant ? 'redundant' : 'single'].join(' '),
});

const undoOf = (tags: Readonly<Record<string, string>>, region: string): HostUndo | undefined => {
  const { [runTag]: run, [targetTag]: target, [undoTag]: text = '' } = tags;
  const [host, zone, home, instance, redundant] = text.split(' ');
  const parsed = hostUndoSchema.safeParse({
    run,
    target,
    region,
    host,
    zone,
    home,
    instance,
    redundant: redundant === 'redundant',
  });
  return parsed.data;
};

const templateFor = (
  name: string,
  undo: HostUndo,
  arn: string,
  command: HostCommand,
  context: FaultContext,
): FisTemplate => ({
  ...templateBase(useOf(name, undo), tagsFor(name, undo), context),
  targets: { hosts: { resourceType: 'aws:ec2:instance', resourceArns: [arn], selectionMode: 'ALL' } },
  actions: {
    command: {
      actionId: 'aws:ssm:send-command',
      parameters: {
        documentArn: `arn:aws:ssm:${undo.region}::document/${command.document}`,
        documentParameters: JSON.stringify(command.parameters),
        duration: isoDuration(context.expiryMs),
      },
      targets: { Instances: 'hosts' },
    },
  },
});

/** Makes the template and has FIS preview it; does nothing that is there already. */
export const prepareHost = async (
  name: string,
  undo: HostUndo,
  command: HostCommand,
  context: FaultContext,
): Promise<string> => {
  const use = useOf(name, undo);
  const [known] = await templatesOf(use, context);
  if (known !== undefined) return known.id;
  await assertLever(undo.region, context);
  const host = (await hostsOf(undo.instance, [undo.region], context)).find(({ id }) => id === undo.host);
  if (host === undefined) throw noHost(undo.instance, undo.region);
  const template = templateFor(name, undo, host.arn, command, context);
  return await prepareTemplate(use, template, { arns: [host.arn], noun: 'hosts' }, context);
};

/** Starts the experiment; resolves once its command runs, or has run. */
export const runOnHost = async (
  name: string,
  undo: HostUndo,
  command: HostCommand,
  context: FaultContext,
  until: 'running' | 'completed',
): Promise<void> => {
  const { ports, signal, clock } = context;
  const use = useOf(name, undo);
  const template = await prepareHost(name, undo, command, context);
  if (until === 'running') return await startTemplate(use, template, tagsFor(name, undo), context);
  const fis = ports.fis(undo.region);
  const { id } = await fis.start(template, tokenFor(use, `start ${template}`), tagsFor(name, undo), signal);
  for (;;) {
    const now = await fis.get(id, signal);
    if (now?.status === 'completed') return;
    if (now !== undefined && !isActive(now)) {
      const reason = now.actions['command']?.reason ?? now.reason;
      throw new BlackstartError(
        'INJECT_FAILED',
        `FIS experiment ${id} in ${undo.region} is ${now.status}: ${reason}`,
        'See it in the AWS console, and the command in the history of SSM.',
      );
    }
    await clock.sleep(lookEveryMs(context), signal);
  }
};

/** The experiment that carries the fault, if one is in this state. */
export const experimentIn = async (
  name: string,
  undo: HostUndo,
  status: FisExperiment['status'],
  context: FaultContext,
): Promise<string | undefined> => {
  const found = (await experimentsOf(useOf(name, undo), context)).find((one) => one.status === status);
  if (found === undefined) return undefined;
  const detail = await context.ports.fis(undo.region).get(found.id, context.signal);
  return detail?.actions['command']?.status === status ? found.id : undefined;
};

/** Stops what still runs: SSM then takes back what the document did. */
export const revertHost = async (name: string, undo: HostUndo, context: FaultContext): Promise<void> => {
  await endExperiments(useOf(name, undo), context);
};

/** No experiment of ours runs, and none ended without taking back what it did. */
export const stateOfHost = async (name: string, undo: HostUndo, context: FaultContext): Promise<RevertState> => {
  const experiments = await experimentsOf(useOf(name, undo), context);
  const active = experiments.find(isActive);
  if (active !== undefined) return { state: 'pending', detail: `FIS experiment ${active.id} is ${active.status}` };
  const failed = experiments.find(({ status }) => status === 'failed');
  if (failed === undefined) return { state: 'reverted' };
  return { state: 'pending', detail: `FIS experiment ${failed.id} failed: ${failed.reason}` };
};

/** Undo records from the tags alone. */
export const discoverOnHosts = async (
  name: string,
  runId: string | undefined,
  context: FaultContext,
): Promise<readonly HostUndo[]> => {
  const found = new Map<string, HostUndo>();
  for (const { name: region } of context.environment.regions) {
    const fis = context.ports.fis(region);
    const templates = await fis.listTemplates(faultTag, name, context.signal);
    const experiments = (await fis.listExperiments(faultTag, name, context.signal)).filter(isActive);
    for (const { tags } of [...templates, ...experiments]) {
      const undo = undoOf(tags, region);
      if (undo === undefined || (runId !== undefined && undo.run !== runId)) continue;
      found.set(`${undo.run} ${undo.target} ${undo.host}`, undo);
    }
  }
  return [...found.values()];
};

export const hostPermissions = (environment: Environment): readonly Permission[] => [
  ...fisPermissions(environment),
  { provider: 'aws', action: 'ec2:DescribeInstances', resource: '*' },
  { provider: 'aws', action: 'rds:DescribeDBInstances', resource: `arn:aws:rds:*:${environment.aws.account}:db:*` },
];

const nothingLost = { pods: 0, zones: [], regions: [], workloads: {} };

export const plannedOn = (undo: HostUndo): Planned<HostUndo> => ({ target: undo.target, undo, blast: nothingLost });
