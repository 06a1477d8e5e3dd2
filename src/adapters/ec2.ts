import type { NetworkAcl, RouteTable } from '@aws-sdk/client-ec2';
import { type AwsCaller, allPages, lazily, tagsOf } from './aws-call.ts';
import type { Ec2Port, Host, Subnet, SubnetAcl, SubnetRouteTable } from './ports.ts';

/** Values one filter may carry (EC2 API limit: 200). */
const filterValuesMax = 200;

const chunked = <T>(items: readonly T[]): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / filterValuesMax) }, (_, index) =>
    items.slice(index * filterValuesMax, (index + 1) * filterValuesMax),
  );

export const createEc2Port = (caller: AwsCaller): Ec2Port => {
  const load = lazily(async () => {
    const sdk = await import('@aws-sdk/client-ec2');
    return { sdk, client: new sdk.EC2Client(caller.config) };
  });

  const describeAcls = async (subnetIds: readonly string[], signal: AbortSignal): Promise<readonly NetworkAcl[]> => {
    const { sdk, client } = await load();
    const filter = { Name: 'association.subnet-id', Values: [...subnetIds] };
    return await allPages(async (NextToken) => {
      const command = new sdk.DescribeNetworkAclsCommand({ Filters: [filter], NextToken });
      const page = await caller.call('DescribeNetworkAcls', signal, (options) => client.send(command, options));
      return { items: page.NetworkAcls ?? [], next: page.NextToken };
    });
  };

  const describeTables = async (
    filters: readonly { readonly Name: string; readonly Values: readonly string[] }[],
    signal: AbortSignal,
  ): Promise<readonly RouteTable[]> => {
    const { sdk, client } = await load();
    const Filters = filters.map(({ Name, Values }) => ({ Name, Values: [...Values] }));
    return await allPages(async (NextToken) => {
      const command = new sdk.DescribeRouteTablesCommand({ Filters, NextToken });
      const page = await caller.call('DescribeRouteTables', signal, (options) => client.send(command, options));
      return { items: page.RouteTables ?? [], next: page.NextToken };
    });
  };

  /** VPC of each subnet: those without a table of their own follow its main one. */
  const vpcsOf = async (subnetIds: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, string>> => {
    const { sdk, client } = await load();
    const command = new sdk.DescribeSubnetsCommand({ SubnetIds: [...subnetIds] });
    const page = await caller.call('DescribeSubnets', signal, (options) => client.send(command, options));
    return new Map((page.Subnets ?? []).map((subnet) => [subnet.SubnetId ?? '', subnet.VpcId ?? '']));
  };

  const mainTables = async (
    subnetIds: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly SubnetRouteTable[]> => {
    if (subnetIds.length === 0) return [];
    const vpcs = await vpcsOf(subnetIds, signal);
    const filters = [
      { Name: 'association.main', Values: ['true'] },
      { Name: 'vpc-id', Values: [...new Set(vpcs.values())] },
    ];
    const tables = await describeTables(filters, signal);
    return subnetIds.flatMap((subnetId) => {
      const table = tables.find((one) => one.VpcId === vpcs.get(subnetId));
      return table === undefined ? [] : [tableOf(table, subnetId)];
    });
  };

  return {
    async hosts(tags, signal) {
      const { sdk, client } = await load();
      const Filters = [
        { Name: 'instance-state-name', Values: ['running'] },
        ...Object.entries(tags).map(([key, value]) => ({ Name: `tag:${key}`, Values: [value] })),
      ];
      const found = await allPages(async (NextToken) => {
        const command = new sdk.DescribeInstancesCommand({ Filters, NextToken });
        const page = await caller.call('DescribeInstances', signal, (options) => client.send(command, options));
        const reservations = page.Reservations ?? [];
        const account = reservations[0]?.OwnerId ?? '';
        return {
          items: reservations.flatMap((one) => one.Instances ?? []).map((one) => ({ one, account })),
          next: page.NextToken,
        };
      });
      return found.map(
        ({ one, account }): Host => ({
          id: one.InstanceId ?? '',
          arn: `arn:aws:ec2:${caller.region}:${account}:instance/${one.InstanceId ?? ''}`,
          zone: one.Placement?.AvailabilityZone ?? '',
          address: one.PrivateIpAddress ?? '',
          tags: tagsOf(one.Tags),
        }),
      );
    },

    async subnets({ zones }, signal) {
      const { sdk, client } = await load();
      const Filters = [
        { Name: 'availability-zone', Values: [...zones] },
        { Name: 'state', Values: ['available'] },
      ];
      const found = await allPages(async (NextToken) => {
        const command = new sdk.DescribeSubnetsCommand({ Filters, NextToken });
        const page = await caller.call('DescribeSubnets', signal, (options) => client.send(command, options));
        return { items: page.Subnets ?? [], next: page.NextToken };
      });
      return found.map(
        (subnet): Subnet => ({
          id: subnet.SubnetId ?? '',
          arn: subnet.SubnetArn ?? '',
          zone: subnet.AvailabilityZone ?? '',
          vpcId: subnet.VpcId ?? '',
          tags: tagsOf(subnet.Tags),
        }),
      );
    },

    async subnetAcls(subnetIds, signal) {
      const found: SubnetAcl[] = [];
      for (const some of chunked(subnetIds)) {
        for (const acl of await describeAcls(some, signal)) found.push(...aclsOf(acl, some));
      }
      return found;
    },

    async subnetRouteTables(subnetIds, signal) {
      const found: SubnetRouteTable[] = [];
      for (const some of chunked(subnetIds)) {
        const tables = await describeTables([{ Name: 'association.subnet-id', Values: some }], signal);
        for (const table of tables) {
          for (const { SubnetId } of table.Associations ?? []) {
            if (SubnetId !== undefined && some.includes(SubnetId)) found.push(tableOf(table, SubnetId));
          }
        }
        const known = new Set(found.map(({ subnetId }) => subnetId));
        found.push(
          ...(await mainTables(
            some.filter((id) => !known.has(id)),
            signal,
          )),
        );
      }
      return found;
    },
  };
};

const aclsOf = (acl: NetworkAcl, wanted: readonly string[]): readonly SubnetAcl[] =>
  (acl.Associations ?? [])
    .filter(({ SubnetId }) => SubnetId !== undefined && wanted.includes(SubnetId))
    .map(({ SubnetId, NetworkAclAssociationId }) => ({
      subnetId: SubnetId ?? '',
      networkAclId: acl.NetworkAclId ?? '',
      associationId: NetworkAclAssociationId ?? '',
      tags: tagsOf(acl.Tags),
    }));

const tableOf = (table: RouteTable, subnetId: string): SubnetRouteTable => ({
  subnetId,
  routeTableId: table.RouteTableId ?? '',
  tags: tagsOf(table.Tags),
});
