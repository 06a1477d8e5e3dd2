import { AwsError } from './aws-error.ts';
import { checkedTags, described, type Ec2Operation, filtersOf, tagSet, tagValues } from './ec2-call.ts';
import { filtered } from './form.ts';
import type { Host, RegionWorld, Subnet, Tags } from './world.ts';

const subnetValues = (subnet: Subnet, filter: string): readonly string[] | undefined => {
  const values: Readonly<Record<string, string>> = {
    'availability-zone': subnet.zone,
    availabilityZone: subnet.zone,
    'availability-zone-id': subnet.zoneId,
    'vpc-id': subnet.vpcId,
    'subnet-id': subnet.id,
    'subnet-arn': subnet.arn,
    'cidr-block': subnet.cidr,
    state: 'available',
  };
  const value = values[filter];
  return value === undefined ? tagValues(subnet.tags, filter) : [value];
};

const describeSubnets: Ec2Operation = (call) => {
  const { items, next } = described(call, call.region.subnets, {
    ids: { parameter: 'SubnetId', notFound: 'InvalidSubnetID.NotFound' },
    idOf: (subnet) => subnet.id,
    valuesOf: subnetValues,
  });
  return () => ({
    subnetSet: {
      item: items.map((subnet) => ({
        subnetId: subnet.id,
        subnetArn: subnet.arn,
        state: 'available',
        ownerId: call.world.account,
        vpcId: subnet.vpcId,
        cidrBlock: subnet.cidr,
        availableIpAddressCount: 4091,
        availabilityZone: subnet.zone,
        availabilityZoneId: subnet.zoneId,
        defaultForAz: false,
        mapPublicIpOnLaunch: false,
        tagSet: tagSet(subnet.tags),
      })),
    },
    nextToken: next,
  });
};

const describeZones: Ec2Operation = ({ form, region }) => {
  const names = form.list('ZoneName');
  const ids = form.list('ZoneId');
  form.flag('AllAvailabilityZones');
  const filters = filtersOf(form);
  const found = filtered(region.subnets, filters, (subnet, filter) => {
    if (filter === 'region-name') return [region.name];
    if (filter === 'zone-name') return [subnet.zone];
    if (filter === 'zone-id') return [subnet.zoneId];
    return filter === 'state' ? ['available'] : undefined;
  });
  const missing = names.find((name) => !region.subnets.some((subnet) => subnet.zone === name));
  if (missing !== undefined)
    throw new AwsError(400, 'InvalidParameterValue', `Invalid availability zone: [${missing}]`);
  const chosen = found.filter(
    (subnet) =>
      (names.length === 0 || names.includes(subnet.zone)) && (ids.length === 0 || ids.includes(subnet.zoneId)),
  );
  return () => ({
    availabilityZoneInfo: {
      item: chosen.map((subnet) => ({
        optInStatus: 'opt-in-not-required',
        zoneName: subnet.zone,
        zoneId: subnet.zoneId,
        zoneState: 'available',
        zoneType: 'availability-zone',
        regionName: region.name,
        groupName: region.name,
        networkBorderGroup: region.name,
      })),
    },
  });
};

const describeRegions: Ec2Operation = ({ form, world }) => {
  form.flag('AllRegions');
  const names = form.list('RegionName');
  const chosen = [...world.regions.keys()].filter((name) => names.length === 0 || names.includes(name));
  return () => ({
    regionInfo: {
      item: chosen.map((regionName) => ({
        regionName,
        regionEndpoint: `ec2.${regionName}.amazonaws.com`,
        optInStatus: 'opt-in-not-required',
      })),
    },
  });
};

const describeVpcs: Ec2Operation = (call) => {
  const { region } = call;
  const { items, next } = described(call, [region], {
    ids: { parameter: 'VpcId', notFound: 'InvalidVpcID.NotFound' },
    idOf: (one) => one.vpcId,
    valuesOf: (one, filter) => (filter === 'vpc-id' ? [one.vpcId] : filter === 'cidr' ? [one.cidr] : undefined),
  });
  return () => ({
    vpcSet: {
      item: items.map((one) => ({
        vpcId: one.vpcId,
        ownerId: call.world.account,
        state: 'available',
        cidrBlock: one.cidr,
        instanceTenancy: 'default',
        isDefault: false,
      })),
    },
    nextToken: next,
  });
};

const hostValues = (host: Host, filter: string): readonly string[] | undefined => {
  const values: Readonly<Record<string, string>> = {
    'availability-zone': host.zone,
    'instance-id': host.id,
    'instance-state-name': 'running',
    'private-ip-address': host.address,
    'subnet-id': host.subnetId,
  };
  const value = values[filter];
  return value === undefined ? tagValues(host.tags, filter) : [value];
};

const describeInstances: Ec2Operation = (call) => {
  const { items, next } = described(call, call.region.hosts, {
    ids: { parameter: 'InstanceId', notFound: 'InvalidInstanceID.NotFound' },
    idOf: (host) => host.id,
    valuesOf: hostValues,
  });
  return () => ({
    reservationSet: {
      item: items.map((host) => ({
        reservationId: host.id.replace(/^i-/, 'r-'),
        ownerId: call.world.account,
        instancesSet: {
          item: [
            {
              instanceId: host.id,
              instanceState: { code: 16, name: 'running' },
              privateIpAddress: host.address,
              placement: { availabilityZone: host.zone },
              subnetId: host.subnetId,
              vpcId: call.region.vpcId,
              tagSet: tagSet(host.tags),
            },
          ],
        },
      })),
    },
    nextToken: next,
  });
};

const tagsOf = (region: RegionWorld, id: string): Tags | undefined =>
  region.subnets.find((subnet) => subnet.id === id)?.tags ??
  region.hosts.find((host) => host.id === id)?.tags ??
  region.acls.get(id)?.tags ??
  region.routeTables.get(id)?.tags;

const taggedResources = (region: RegionWorld, ids: readonly string[]): readonly Tags[] => {
  if (ids.length === 0)
    throw new AwsError(400, 'MissingParameter', 'The request must contain the parameter resourceIdSet');
  return ids.map((id) => {
    const tags = tagsOf(region, id);
    if (tags === undefined) throw new AwsError(400, 'InvalidID', `The ID '${id}' is not valid`);
    return tags;
  });
};

const createTags: Ec2Operation = ({ form, region }) => {
  const resources = taggedResources(region, form.list('ResourceId'));
  const tags = checkedTags(
    form.forms('Tag').map((tag) => ({ key: tag.required('Key'), value: tag.text('Value') ?? '' })),
  );
  return () => {
    for (const resource of resources) Object.assign(resource, tags);
    return { return: true };
  };
};

const deleteTags: Ec2Operation = ({ form, region }) => {
  const resources = taggedResources(region, form.list('ResourceId'));
  const tags = form.forms('Tag').map((tag) => ({ key: tag.required('Key'), value: tag.text('Value') }));
  return () => {
    for (const resource of resources) {
      for (const { key, value } of tags) {
        if (value === undefined || resource[key] === value) delete resource[key];
      }
    }
    return { return: true };
  };
};

export const inventoryOperations: Readonly<Record<string, Ec2Operation>> = {
  DescribeSubnets: describeSubnets,
  DescribeInstances: describeInstances,
  DescribeAvailabilityZones: describeZones,
  DescribeRegions: describeRegions,
  DescribeVpcs: describeVpcs,
  CreateTags: createTags,
  DeleteTags: deleteTags,
};
