import type { Environment } from '../../core/environment.ts';
import { databaseNodes } from '../layout.ts';
import {
  aclAssociationIdOf,
  defaultAclIdOf,
  hostArnOf,
  hostIdOf,
  mainRouteTableIdOf,
  peeringIdOf,
  routeAssociationIdOf,
  routeTableIdOf,
  subnetArnOf,
  subnetIdOf,
  vpcIdOf,
  zoneIdOf,
} from './names.ts';

export type Tags = Record<string, string>;

export interface AclEntry {
  readonly ruleNumber: number;
  /** `-1` is every protocol. */
  readonly protocol: string;
  readonly action: 'allow' | 'deny';
  readonly egress: boolean;
  readonly cidr: string;
}

export interface NetworkAcl {
  readonly id: string;
  readonly vpcId: string;
  readonly isDefault: boolean;
  readonly entries: AclEntry[];
  readonly tags: Tags;
}

export interface AclAssociation {
  readonly id: string;
  readonly aclId: string;
  readonly subnetId: string;
}

export interface Route {
  readonly cidr: string;
  /** `local`, a peering connection, or the interface to nowhere that FIS routes to. */
  readonly target: { readonly kind: 'gateway' | 'peering' | 'interface'; readonly id: string };
  readonly state: 'active' | 'blackhole';
}

export interface RouteTable {
  readonly id: string;
  readonly vpcId: string;
  readonly routes: Route[];
  readonly tags: Tags;
}

export interface RouteAssociation {
  readonly id: string;
  readonly routeTableId: string;
  /** Null: the table of every subnet of the VPC that has no other. */
  readonly subnetId: string | null;
}

export interface Subnet {
  readonly id: string;
  readonly arn: string;
  readonly zone: string;
  readonly zoneId: string;
  readonly vpcId: string;
  readonly cidr: string;
  readonly tags: Tags;
}

/** The machine under a PostgreSQL server, as an EC2 instance that SSM can run commands on. */
export interface Host {
  readonly id: string;
  readonly arn: string;
  /** `postgres/<server>` runs on it. */
  readonly server: string;
  readonly zone: string;
  readonly subnetId: string;
  readonly address: string;
  readonly tags: Tags;
}

export type AlarmState = 'OK' | 'ALARM' | 'INSUFFICIENT_DATA';

export interface Alarm {
  readonly arn: string;
  readonly name: string;
  state: AlarmState;
  reason: string;
  updatedAtMs: number;
}

export interface RegionWorld {
  readonly name: string;
  readonly vpcId: string;
  readonly cidr: string;
  readonly subnets: readonly Subnet[];
  readonly hosts: readonly Host[];
  readonly acls: Map<string, NetworkAcl>;
  readonly aclAssociations: Map<string, AclAssociation>;
  readonly routeTables: Map<string, RouteTable>;
  readonly routeAssociations: Map<string, RouteAssociation>;
  readonly alarms: Map<string, Alarm>;
}

/** What is done to the network of a pod, as long as it runs. */
export interface PodEffect {
  readonly pod: string;
  /** `<zone>:<port>`: where the links know it. */
  readonly address: string;
  readonly delayMs: number;
}

/** What the AWS services share: change it, then `await apply()`, and the links follow. */
export interface World {
  readonly account: string;
  readonly regions: ReadonlyMap<string, RegionWorld>;
  /** By ARN of the pod. */
  readonly podEffects: Map<string, PodEffect>;
  /** Makes the data plane what the network state says; set by the component that owns the links. */
  apply(): Promise<void>;
}

const anywhere = '0.0.0.0/0';

const allowAll = (): AclEntry[] =>
  [false, true].map((egress) => ({ ruleNumber: 100, protocol: '-1', action: 'allow', egress, cidr: anywhere }));

const cidrOf = (regionIndex: number): string => `10.${regionIndex}.0.0/16`;

const alarmOf = (template: string, region: string, nowMs: number): Alarm => {
  const arn = template.replaceAll('{region}', region);
  const name = arn.split(':alarm:')[1] ?? arn;
  return { arn, name, state: 'OK', reason: 'Unchecked: Initial alarm creation', updatedAtMs: nowMs };
};

const firstHostNumber = 10;

const hostsOf = (environment: Environment, region: string, subnets: readonly Subnet[]): readonly Host[] =>
  databaseNodes(environment)
    .filter((node) => node.region === region)
    .flatMap(({ server, zone, instance }, index): Host[] => {
      const subnet = subnets.find((one) => one.zone === zone);
      if (subnet === undefined) return [];
      return [
        {
          id: hostIdOf(server),
          arn: hostArnOf(environment.aws.account, region, server),
          server,
          zone,
          subnetId: subnet.id,
          address: subnet.cidr.replace(/\.\d+\/\d+$/, `.${firstHostNumber + index}`),
          tags: {
            Name: `postgres-${server}`,
            'blackstart:environment': environment.name,
            'blackstart:database': instance,
          },
        },
      ];
    });

const regionWorld = (environment: Environment, region: string, index: number, nowMs: number): RegionWorld => {
  const zones = environment.regions[index]?.zones ?? [];
  const vpcId = vpcIdOf(region);
  const routes = (): Route[] =>
    environment.regions.map((other, otherIndex) => ({
      cidr: cidrOf(otherIndex),
      target:
        other.name === region
          ? { kind: 'gateway', id: 'local' }
          : { kind: 'peering', id: peeringIdOf(region, other.name) },
      state: 'active',
    }));
  const ours = (name: string): Tags => ({ Name: name, 'blackstart:environment': environment.name });
  const subnets = zones.map(
    ({ name }, zoneIndex): Subnet => ({
      id: subnetIdOf(name),
      arn: subnetArnOf(environment.aws.account, region, name),
      zone: name,
      zoneId: zoneIdOf(region, zoneIndex + 1),
      vpcId,
      cidr: `10.${index}.${zoneIndex * 16}.0/20`,
      tags: ours(`platform-${name}`),
    }),
  );
  const acl: NetworkAcl = { id: defaultAclIdOf(region), vpcId, isDefault: true, entries: allowAll(), tags: {} };
  const main: RouteTable = { id: mainRouteTableIdOf(region), vpcId, routes: routes(), tags: {} };
  const tables = zones.map(
    ({ name }): RouteTable => ({ id: routeTableIdOf(name), vpcId, routes: routes(), tags: ours(`platform-${name}`) }),
  );
  const aclAssociations = subnets.map(
    (subnet): AclAssociation => ({ id: aclAssociationIdOf(subnet.zone), aclId: acl.id, subnetId: subnet.id }),
  );
  const routeAssociations: RouteAssociation[] = [
    { id: routeAssociationIdOf(region), routeTableId: main.id, subnetId: null },
    ...subnets.map(({ id, zone }) => ({
      id: routeAssociationIdOf(zone),
      routeTableId: routeTableIdOf(zone),
      subnetId: id,
    })),
  ];
  const alarm = alarmOf(environment.aws.stopAlarm, region, nowMs);
  const byId = <T extends { readonly id: string }>(items: readonly T[]): Map<string, T> =>
    new Map(items.map((item) => [item.id, item]));
  return {
    name: region,
    vpcId,
    cidr: cidrOf(index),
    subnets,
    hosts: hostsOf(environment, region, subnets),
    acls: byId([acl]),
    aclAssociations: byId(aclAssociations),
    routeTables: byId([main, ...tables]),
    routeAssociations: byId(routeAssociations),
    alarms: new Map([[alarm.name, alarm]]),
  };
};

/** The network, alarms and names of a platform that nobody has touched yet. */
export const createWorld = (environment: Environment, nowMs: number, apply: World['apply']): World => ({
  account: environment.aws.account,
  regions: new Map(environment.regions.map(({ name }, index) => [name, regionWorld(environment, name, index, nowMs)])),
  podEffects: new Map(),
  apply,
});

export const aclOfSubnet = (region: RegionWorld, subnetId: string): AclAssociation | undefined =>
  [...region.aclAssociations.values()].find((association) => association.subnetId === subnetId);

/** A subnet's own route table association, else its VPC's main one. */
export const routeTableOfSubnet = (region: RegionWorld, subnetId: string): RouteAssociation | undefined => {
  const associations = [...region.routeAssociations.values()];
  return (
    associations.find((association) => association.subnetId === subnetId) ??
    associations.find((association) => association.subnetId === null)
  );
};

/** Entries are evaluated in order of their numbers; what no entry decides is denied. */
const passesAll = (acl: NetworkAcl, egress: boolean): boolean => {
  const [first] = acl.entries
    .filter((entry) => entry.egress === egress && entry.protocol === '-1' && entry.cidr === anywhere)
    .sort((left, right) => left.ruleNumber - right.ruleNumber);
  return first?.action === 'allow';
};

/**
 * Whether the subnet's network ACL lets nothing through. ACLs are stateless, so denying one direction is enough. Only
 * entries for all protocols and all addresses count: the lab has no packets to look into.
 */
export const isDark = (region: RegionWorld, subnetId: string): boolean => {
  const association = aclOfSubnet(region, subnetId);
  const acl = association === undefined ? undefined : region.acls.get(association.aclId);
  return acl !== undefined && !(passesAll(acl, false) && passesAll(acl, true));
};

/** Whether the subnet's route table has an active route to the other region. */
export const hasRoute = (region: RegionWorld, subnetId: string, other: RegionWorld): boolean => {
  const association = routeTableOfSubnet(region, subnetId);
  const table = association === undefined ? undefined : region.routeTables.get(association.routeTableId);
  return table?.routes.some((route) => route.cidr === other.cidr && route.state === 'active') === true;
};
