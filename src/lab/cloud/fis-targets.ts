import { randomInt } from 'node:crypto';
import type { TemplateTarget } from './fis-template.ts';
import type { RegionWorld, Subnet, Tags } from './world.ts';

/** A resource that can be a target: its ARN, its tags, and its Describe output by PascalCase path. */
export interface Resource {
  readonly arn: string;
  readonly tags: Tags;
  readonly attributes: Readonly<Record<string, string>>;
  /** Values of target parameters (`availabilityZoneIdentifier`…) that select it. */
  readonly parameters: Readonly<Record<string, readonly string[]>>;
  /** Target parameters that are read together, such as a selector's type and value: whether they choose it. */
  chosenBy?(parameters: Readonly<Record<string, string>>): boolean;
}

const subnetResource = (subnet: Subnet): Resource => ({
  arn: subnet.arn,
  tags: subnet.tags,
  attributes: {
    SubnetId: subnet.id,
    AvailabilityZone: subnet.zone,
    AvailabilityZoneId: subnet.zoneId,
    VpcId: subnet.vpcId,
    CidrBlock: subnet.cidr,
    State: 'available',
  },
  parameters: { availabilityZoneIdentifier: [subnet.zone, subnet.zoneId], vpc: [subnet.vpcId] },
});

export const subnetResources = (region: RegionWorld): readonly Resource[] => region.subnets.map(subnetResource);

export const hostResources = (region: RegionWorld): readonly Resource[] =>
  region.hosts.map((host) => ({
    arn: host.arn,
    tags: host.tags,
    attributes: {
      InstanceId: host.id,
      'Placement.AvailabilityZone': host.zone,
      PrivateIpAddress: host.address,
      'State.Name': 'running',
      SubnetId: host.subnetId,
    },
    parameters: {},
  }));

const isChosen = (target: TemplateTarget, resource: Resource): boolean =>
  Object.entries(target.resourceTags ?? {}).every(([key, value]) => resource.tags[key] === value) &&
  (target.filters ?? []).every(({ path, values }) => values.includes(resource.attributes[path] ?? '')) &&
  (resource.chosenBy === undefined
    ? Object.entries(target.parameters ?? {}).every(
        ([key, value]) => resource.parameters[key]?.includes(value) === true,
      )
    : resource.chosenBy(target.parameters ?? {}));

const sample = <T>(items: readonly T[], count: number): readonly T[] => {
  const left = [...items];
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(randomInt(left.length), 1)).flat();
};

/** Picks at random as the selection mode says; a percentage is rounded down. */
export const selected = <T>(items: readonly T[], mode: string): readonly T[] => {
  const [, kind, number = '0'] = /^(COUNT|PERCENT)\((\d+)\)$/.exec(mode) ?? [];
  if (kind === 'COUNT') return sample(items, Number(number));
  if (kind === 'PERCENT') return sample(items, Math.floor((items.length * Number(number)) / 100));
  return items;
};

export type Resolution = { readonly arns: readonly string[] } | { readonly missing: string };

/** Resolves one target once and for all. A named ARN that does not exist is an error in every mode. */
export const resolveTarget = (target: TemplateTarget, resources: readonly Resource[]): Resolution => {
  const named = target.resourceArns ?? [];
  const missing = named.find((arn) => !resources.some((resource) => resource.arn === arn));
  if (missing !== undefined) return { missing };
  const candidates = named.length > 0 ? named : resources.filter((one) => isChosen(target, one)).map(({ arn }) => arn);
  return { arns: selected(candidates, target.selectionMode) };
};
