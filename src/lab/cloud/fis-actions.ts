import { messageOf } from '../../core/errors.ts';
import { replaceAclAssociation } from './ec2-acls.ts';
import { addRouteAssociation, replaceRouteAssociation } from './ec2-routes.ts';
import { isoDurationMs } from './fis-catalogue.ts';
import { newId } from './names.ts';
import type { Command } from './ssm-commands.ts';
import {
  type AclEntry,
  aclOfSubnet,
  type Host,
  type NetworkAcl,
  type RegionWorld,
  type RouteTable,
  routeTableOfSubnet,
  type World,
} from './world.ts';

/** What an action did, and how it is taken back. `end` says what could not be taken back, if anything. */
export interface Effect {
  /** It has ended by itself: its duration is not waited for. */
  readonly isDone?: boolean;
  end(): Promise<string | undefined>;
}

export interface ActionContext {
  readonly world: World;
  readonly region: RegionWorld;
  /** Route tables this experiment manages, by subnet: several actions of one experiment share one. */
  readonly managedTables: Map<string, ManagedTable>;
  rebootDatabase(arn: string, forceFailover: boolean): Promise<void>;
  sendCommand(documentArn: string, documentParameters: string, hosts: readonly Host[]): Promise<Command>;
  /** Resolves once the bucket's replication stands still, with what resumes it. */
  pauseReplication(request: ReplicationPause): Promise<() => Promise<void>>;
}

export interface ReplicationPause {
  readonly id: string;
  /** Of the source bucket. */
  readonly arn: string;
  /** Region of the destination buckets. */
  readonly region: string;
  readonly destinationBuckets: readonly string[] | undefined;
  readonly prefixes: readonly string[] | undefined;
  /** Documented. */
  readonly durationMs: number;
}

interface ManagedTable {
  readonly tableId: string;
  readonly beforeId: string;
  /** The subnet followed its VPC's main table before. */
  readonly wasImplicit: boolean;
  readonly blockedCidrs: Set<string>;
}

const managedTags = { managedByFIS: 'true' };
const anywhere = '0.0.0.0/0';
const nothingToEnd: Effect = { end: async () => undefined };

const subnetIdOfArn = (arn: string): string => arn.slice(arn.lastIndexOf('/') + 1);

const denyAll = (): readonly AclEntry[] =>
  [false, true].map((egress) => ({ ruleNumber: 1, protocol: '-1', action: 'deny', egress, cidr: anywhere }));

const disruptedAcl = (before: NetworkAcl): NetworkAcl => ({
  id: newId('acl'),
  vpcId: before.vpcId,
  isDefault: false,
  entries: [...denyAll(), ...before.entries.map((entry) => ({ ...entry, ruleNumber: entry.ruleNumber + 1 }))],
  tags: { ...managedTags },
});

const changedMeanwhile = (what: string, subnetId: string): string =>
  `The ${what} of ${subnetId} was changed during the experiment and is left as it is.`;

/** Puts a subnet's old ACL back, unless somebody gave it another meanwhile. */
const restoreAcl = (region: RegionWorld, subnetId: string, oursId: string, beforeId: string): string | undefined => {
  const now = aclOfSubnet(region, subnetId);
  const isOurs = now?.aclId === oursId;
  if (isOurs && region.acls.has(beforeId)) replaceAclAssociation(region, now.id, beforeId);
  else if (isOurs) return `The network ACL ${beforeId} of ${subnetId} does not exist any more.`;
  region.acls.delete(oursId);
  return isOurs ? undefined : changedMeanwhile('network ACL', subnetId);
};

/** Several failures are told as the first. */
const firstFailure = (failures: readonly (string | undefined)[]): string | undefined =>
  failures.find((failure) => failure !== undefined);

/**
 * `aws:network:disrupt-connectivity`, scope `all`: each subnet gets a clone of its ACL with a denial in front, tagged
 * managedByFIS.
 */
const disruptConnectivity = async (
  parameters: Readonly<Record<string, string>>,
  arns: readonly string[],
  { region, world }: ActionContext,
): Promise<Effect> => {
  if (parameters['scope'] !== 'all') throw new Error('This lab carries out scope "all" alone.');
  const swapped: { subnetId: string; oursId: string; beforeId: string }[] = [];
  const end = async (): Promise<string | undefined> => {
    const failures = swapped.map(({ subnetId, oursId, beforeId }) => restoreAcl(region, subnetId, oursId, beforeId));
    await world.apply();
    return firstFailure(failures);
  };
  for (const subnetId of arns.map(subnetIdOfArn)) {
    const association = aclOfSubnet(region, subnetId);
    const before = association === undefined ? undefined : region.acls.get(association.aclId);
    if (association === undefined || before?.tags['managedByFIS'] !== undefined || before === undefined) {
      await end();
      throw new Error(`The network ACL of ${subnetId} is managed by another experiment.`);
    }
    const ours = disruptedAcl(before);
    region.acls.set(ours.id, ours);
    replaceAclAssociation(region, association.id, ours.id);
    swapped.push({ subnetId, oursId: ours.id, beforeId: before.id });
  }
  await applyOrEnd(world, end);
  return { end };
};

/** A change the links did not follow is no effect: it is taken back, and the action fails. */
const applyOrEnd = async (world: World, end: () => Promise<unknown>): Promise<void> => {
  try {
    await world.apply();
  } catch (error) {
    await end().catch(() => undefined);
    throw error;
  }
};

const manageTable = (context: ActionContext, subnetId: string): ManagedTable => {
  const { region, managedTables } = context;
  const known = managedTables.get(subnetId);
  if (known !== undefined) return known;
  const association = routeTableOfSubnet(region, subnetId);
  const before = association === undefined ? undefined : region.routeTables.get(association.routeTableId);
  if (association === undefined || before === undefined || before.tags['managedByFIS'] !== undefined) {
    throw new Error(`The route table of ${subnetId} is managed by another experiment.`);
  }
  const table: RouteTable = {
    id: newId('rtb'),
    vpcId: before.vpcId,
    routes: [...before.routes],
    tags: { ...managedTags },
  };
  region.routeTables.set(table.id, table);
  const wasImplicit = association.subnetId === null;
  if (wasImplicit) addRouteAssociation(region, subnetId, table.id);
  else replaceRouteAssociation(region, association.id, table.id);
  const managed = { tableId: table.id, beforeId: before.id, wasImplicit, blockedCidrs: new Set<string>() };
  managedTables.set(subnetId, managed);
  return managed;
};

/** Takes one region's routes out of the managed table; the last one out puts the old table back. */
const releaseTable = (context: ActionContext, subnetId: string, cidr: string): string | undefined => {
  const { region, managedTables } = context;
  const managed = managedTables.get(subnetId);
  if (managed === undefined || !managed.blockedCidrs.delete(cidr)) return undefined;
  const table = region.routeTables.get(managed.tableId);
  const before = region.routeTables.get(managed.beforeId);
  const association = routeTableOfSubnet(region, subnetId);
  const isOurs = association?.routeTableId === managed.tableId && association.subnetId === subnetId;
  if (managed.blockedCidrs.size > 0) {
    const route = before?.routes.find((one) => one.cidr === cidr);
    const index = table?.routes.findIndex((one) => one.cidr === cidr) ?? -1;
    if (route !== undefined && index >= 0) table?.routes.splice(index, 1, route);
    return isOurs ? undefined : changedMeanwhile('route table', subnetId);
  }
  managedTables.delete(subnetId);
  if (isOurs && before === undefined)
    return `The route table ${managed.beforeId} of ${subnetId} does not exist any more.`;
  if (isOurs && managed.wasImplicit) region.routeAssociations.delete(association.id);
  else if (isOurs) replaceRouteAssociation(region, association.id, managed.beforeId);
  region.routeTables.delete(managed.tableId);
  return isOurs ? undefined : changedMeanwhile('route table', subnetId);
};

/** `aws:network:route-table-disrupt-cross-region-connectivity`: routes to the region lead nowhere. */
const disruptRoutes = async (
  parameters: Readonly<Record<string, string>>,
  arns: readonly string[],
  context: ActionContext,
): Promise<Effect> => {
  const { world, region } = context;
  const other = world.regions.get(parameters['region'] ?? '');
  if (other === undefined || other === region)
    throw new Error(`Region ${parameters['region']} cannot be isolated here.`);
  const done: string[] = [];
  const end = async (): Promise<string | undefined> => {
    const failures = done.map((subnetId) => releaseTable(context, subnetId, other.cidr));
    await world.apply();
    return firstFailure(failures);
  };
  for (const subnetId of arns.map(subnetIdOfArn)) {
    try {
      const managed = manageTable(context, subnetId);
      const routes = region.routeTables.get(managed.tableId)?.routes ?? [];
      const index = routes.findIndex((route) => route.cidr === other.cidr);
      const nowhere = {
        cidr: other.cidr,
        target: { kind: 'interface', id: newId('eni') },
        state: 'blackhole',
      } as const;
      if (index >= 0) routes.splice(index, 1, nowhere);
      else routes.push(nowhere);
      managed.blockedCidrs.add(other.cidr);
      done.push(subnetId);
    } catch (error) {
      await end();
      throw error;
    }
  }
  await applyOrEnd(world, end);
  return { end };
};

type Begin = (
  parameters: Readonly<Record<string, string>>,
  arns: readonly string[],
  context: ActionContext,
) => Promise<Effect>;

const rebootDatabases: Begin = async (parameters, arns, context) => {
  for (const arn of arns) await context.rebootDatabase(arn, parameters['forceFailover'] === 'true');
  return nothingToEnd;
};

const runCommand: Begin = async (parameters, arns, { region, sendCommand }) => {
  const hosts = region.hosts.filter(({ arn }) => arns.includes(arn));
  const document = parameters['documentArn'] ?? '';
  const command = await sendCommand(document, parameters['documentParameters'] ?? '{}', hosts);
  return {
    isDone: command.isDone,
    end: async () => {
      await command.cancel();
      return undefined;
    },
  };
};

const listOf = (text: string | undefined): readonly string[] | undefined =>
  text
    ?.split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');

/** `aws:s3:bucket-pause-replication`: what is put meanwhile stays PENDING, and follows when the action ends. */
const pauseReplication: Begin = async (parameters, arns, context) => {
  const resumed: (() => Promise<void>)[] = [];
  const end = async (): Promise<string | undefined> => {
    const ended = await Promise.allSettled(resumed.map((resume) => resume()));
    return firstFailure(ended.map((one) => (one.status === 'rejected' ? messageOf(one.reason) : undefined)));
  };
  for (const arn of arns) {
    try {
      const resume = await context.pauseReplication({
        id: newId('pause'),
        arn,
        region: parameters['region'] ?? '',
        destinationBuckets: listOf(parameters['destinationBuckets']),
        prefixes: listOf(parameters['prefixes']),
        durationMs: isoDurationMs(parameters['duration'] ?? '') ?? 0,
      });
      resumed.push(resume);
    } catch (error) {
      await end();
      throw error;
    }
  }
  return { end };
};

const beginnings: Readonly<Record<string, Begin>> = {
  'aws:network:disrupt-connectivity': disruptConnectivity,
  'aws:network:route-table-disrupt-cross-region-connectivity': disruptRoutes,
  'aws:rds:reboot-db-instances': rebootDatabases,
  'aws:ssm:send-command': runCommand,
  'aws:s3:bucket-pause-replication': pauseReplication,
  'aws:fis:wait': async () => nothingToEnd,
};

/** Carries out an action of a checked template. Rejects with the reason when it could not, and leaves nothing of it. */
export const beginAction = async (
  actionId: string,
  parameters: Readonly<Record<string, string>>,
  arns: readonly string[],
  context: ActionContext,
): Promise<Effect> => {
  const begin = beginnings[actionId];
  if (begin === undefined) throw new Error(`Action ${actionId} is not carried out here.`);
  return await begin(parameters, arns, context);
};
