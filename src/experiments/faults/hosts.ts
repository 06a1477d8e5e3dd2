import { z } from 'zod';
import type { Host } from '../../adapters/ports.ts';
import type { Environment } from '../../core/environment.ts';
import { BlackstartError } from '../../core/errors.ts';
import { resolveRegion } from '../../core/places.ts';
import type { RevertState } from '../../core/undo.ts';
import type { FaultContext, Permission, Planned } from '../fault.ts';
import { environmentTag, experimentsOf, fisPermissions, isoDuration, type Tags } from './fis.ts';
import { carriedByFis, type FisRecord } from './fis-carried.ts';

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

const tagsOf = ({ host, zone, home, instance, redundant }: HostUndo): Tags => ({
  [undoTag]: [host, zone, home, instance, redundant ? 'redundant' : 'single'].join(' '),
});

const undoOf = (record: FisRecord, { [undoTag]: text = '' }: Tags): HostUndo | undefined => {
  const [host, zone, home, instance, redundant] = text.split(' ');
  const undo = { ...record, host, zone, home, instance, redundant: redundant === 'redundant' };
  return hostUndoSchema.safeParse(undo).data;
};

/** What a fault has SSM do on its hosts. */
export interface OnHosts<Params> {
  readonly fault: string;
  readonly inForce: 'running' | 'completed';
  does(undo: HostUndo): string;
  command(params: Params, undo: HostUndo, context: FaultContext): Promise<HostCommand>;
}

/** All of a fault on hosts but its plan. When it is ended, SSM takes back what the document did. */
export const carriedOnHosts = <Params>({ fault, inForce, does, command }: OnHosts<Params>) => {
  const carried = carriedByFis<Params, HostUndo>({
    fault,
    inForce,
    does,
    tags: tagsOf,
    undoOf: async (record, tags) => undoOf(record, tags),
    async work(undo, params, context) {
      const hosts = await hostsOf(undo.instance, [undo.region], context);
      const host = hosts.find(({ id }) => id === undo.host);
      if (host === undefined) throw noHost(undo.instance, undo.region);
      const { document, parameters } = await command(params, undo, context);
      return {
        planned: { arns: [host.arn], noun: 'hosts' },
        targets: { hosts: { resourceType: 'aws:ec2:instance', resourceArns: [host.arn], selectionMode: 'ALL' } },
        actions: {
          command: {
            actionId: 'aws:ssm:send-command',
            parameters: {
              documentArn: `arn:aws:ssm:${undo.region}::document/${document}`,
              documentParameters: JSON.stringify(parameters),
              duration: isoDuration(context.expiryMs),
            },
            targets: { Instances: 'hosts' },
          },
        },
      };
    },
  });
  return {
    ...carried,
    permissions: (_params: Params, environment: Environment): readonly Permission[] => hostPermissions(environment),
    /** No experiment of ours runs, and none ended without taking back what it did. */
    async isReverted(undo: HostUndo, context: FaultContext): Promise<RevertState> {
      const own = await carried.isReverted(undo, context);
      if (own.state !== 'reverted') return own;
      const { run, target, region } = undo;
      const experiments = await experimentsOf({ fault, run, target, region }, context);
      const failed = experiments.find(({ status }) => status === 'failed');
      if (failed === undefined) return { state: 'reverted' };
      return { state: 'pending', detail: `FIS experiment ${failed.id} failed: ${failed.reason}` };
    },
  };
};

const hostPermissions = (environment: Environment): readonly Permission[] => [
  ...fisPermissions(environment, ['ec2:DescribeInstances']),
  {
    provider: 'aws',
    action: 'rds:DescribeDBInstances',
    resource: `arn:aws:rds:*:${environment.aws.account}:db:*`,
  },
];

const nothingLost = { pods: 0, zones: [], regions: [], workloads: {} };

export const plannedOn = (undo: HostUndo): Planned<HostUndo> => ({ target: undo.target, undo, blast: nothingLost });
