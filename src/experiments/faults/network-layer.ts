import type { FaultContext } from '../fault.ts';

/** What a subnet has attached now. */
export interface SubnetNow {
  /** Network ACL or route table. */
  readonly attached: string;
  /** It belongs to FIS. */
  readonly isManaged: boolean;
}

export type Layer = 'acl' | 'routes';

interface LayerReader {
  readonly noun: string;
  /** Permissions that reading needs. */
  readonly reads: readonly string[];
  read(region: string, subnetIds: readonly string[], context: FaultContext): Promise<ReadonlyMap<string, SubnetNow>>;
}

const isManaged = (tags: Readonly<Record<string, string>>): boolean => tags['managedByFIS'] === 'true';

/** Where FIS cuts: at the subnet's edge (network ACL), or on the way out (route table). */
export const layers: Readonly<Record<Layer, LayerReader>> = {
  acl: {
    noun: 'network ACL',
    reads: ['ec2:DescribeNetworkAcls'],
    async read(region, subnetIds, { ports, signal }) {
      if (subnetIds.length === 0) return new Map();
      const acls = await ports.ec2(region).subnetAcls(subnetIds, signal);
      return new Map(
        acls.map(({ subnetId, networkAclId, tags }) => [
          subnetId,
          { attached: networkAclId, isManaged: isManaged(tags) },
        ]),
      );
    },
  },
  routes: {
    noun: 'route table',
    reads: ['ec2:DescribeRouteTables'],
    async read(region, subnetIds, { ports, signal }) {
      if (subnetIds.length === 0) return new Map();
      const tables = await ports.ec2(region).subnetRouteTables(subnetIds, signal);
      return new Map(
        tables.map(({ subnetId, routeTableId, tags }) => [
          subnetId,
          { attached: routeTableId, isManaged: isManaged(tags) },
        ]),
      );
    },
  },
};
