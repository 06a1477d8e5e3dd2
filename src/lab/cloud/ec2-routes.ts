import { AwsError } from './aws-error.ts';
import { described, type Ec2Operation, specifiedTags, tagSet, tagValues } from './ec2-call.ts';
import { newId } from './names.ts';
import type { RegionWorld, Route, RouteAssociation, RouteTable } from './world.ts';
import type { XmlValue } from './xml.ts';

const associationsOf = (region: RegionWorld, tableId: string): readonly RouteAssociation[] =>
  [...region.routeAssociations.values()].filter((association) => association.routeTableId === tableId);

const routeXml = ({ cidr, target, state }: Route): XmlValue => ({
  destinationCidrBlock: cidr,
  gatewayId: target.kind === 'gateway' ? target.id : undefined,
  vpcPeeringConnectionId: target.kind === 'peering' ? target.id : undefined,
  networkInterfaceId: target.kind === 'interface' ? target.id : undefined,
  state,
  origin: target.kind === 'gateway' ? 'CreateRouteTable' : 'CreateRoute',
});

const tableXml = (region: RegionWorld, account: string, table: RouteTable): XmlValue => ({
  routeTableId: table.id,
  vpcId: table.vpcId,
  ownerId: account,
  routeSet: { item: table.routes.map(routeXml) },
  associationSet: {
    item: associationsOf(region, table.id).map(({ id, routeTableId, subnetId }) => ({
      routeTableAssociationId: id,
      routeTableId,
      subnetId: subnetId ?? undefined,
      main: subnetId === null,
      associationState: { state: 'associated' },
    })),
  },
  tagSet: tagSet(table.tags),
});

const valuesOf =
  (region: RegionWorld, account: string) =>
  (table: RouteTable, filter: string): readonly string[] | undefined => {
    const associations = associationsOf(region, table.id);
    const values: Readonly<Record<string, readonly string[]>> = {
      'association.subnet-id': associations.flatMap(({ subnetId }) => (subnetId === null ? [] : [subnetId])),
      'association.route-table-association-id': associations.map(({ id }) => id),
      'association.route-table-id': associations.map(({ routeTableId }) => routeTableId),
      'association.main': associations.map(({ subnetId }) => String(subnetId === null)),
      'route-table-id': [table.id],
      'vpc-id': [table.vpcId],
      'owner-id': [account],
    };
    return values[filter] ?? tagValues(table.tags, filter);
  };

const describeRouteTables: Ec2Operation = (call) => {
  const { region, world } = call;
  const { items, next } = described(call, [...region.routeTables.values()], {
    ids: { parameter: 'RouteTableId', notFound: 'InvalidRouteTableID.NotFound' },
    idOf: (table) => table.id,
    valuesOf: valuesOf(region, world.account),
  });
  return () => ({
    routeTableSet: { item: items.map((table) => tableXml(region, world.account, table)) },
    nextToken: next,
  });
};

const requiredTable = (region: RegionWorld, id: string): RouteTable => {
  const table = region.routeTables.get(id);
  if (table !== undefined) return table;
  throw new AwsError(400, 'InvalidRouteTableID.NotFound', `The routeTable ID '${id}' does not exist`);
};

const requiredAssociation = (region: RegionWorld, id: string): RouteAssociation => {
  const association = region.routeAssociations.get(id);
  if (association !== undefined) return association;
  throw new AwsError(400, 'InvalidAssociationID.NotFound', `The association ID '${id}' does not exist`);
};

const createRouteTable: Ec2Operation = ({ form, region, world }) => {
  const vpcId = form.required('VpcId');
  const tags = specifiedTags(form, 'route-table');
  form.text('ClientToken');
  if (vpcId !== region.vpcId) throw new AwsError(400, 'InvalidVpcID.NotFound', `The vpc ID '${vpcId}' does not exist`);
  return () => {
    const local: Route = { cidr: region.cidr, target: { kind: 'gateway', id: 'local' }, state: 'active' };
    const table: RouteTable = { id: newId('rtb'), vpcId, routes: [local], tags };
    region.routeTables.set(table.id, table);
    return { routeTable: tableXml(region, world.account, table) };
  };
};

const createRoute: Ec2Operation = ({ form, region, world }) => {
  const table = requiredTable(region, form.required('RouteTableId'));
  const cidr = form.required('DestinationCidrBlock');
  const peering = form.text('VpcPeeringConnectionId');
  const networkInterface = form.text('NetworkInterfaceId');
  const id = peering ?? networkInterface;
  if (id === undefined) throw new AwsError(400, 'MissingParameter', 'The request must contain a target of the route');
  if (table.routes.some((route) => route.cidr === cidr)) {
    throw new AwsError(400, 'RouteAlreadyExists', `The route identified by ${cidr} already exists.`);
  }
  return async () => {
    // An interface of this lab leads nowhere; only peering connections carry traffic.
    if (peering !== undefined) table.routes.push({ cidr, target: { kind: 'peering', id }, state: 'active' });
    else table.routes.push({ cidr, target: { kind: 'interface', id }, state: 'blackhole' });
    await world.apply();
    return { return: true };
  };
};

const deleteRoute: Ec2Operation = ({ form, region, world }) => {
  const table = requiredTable(region, form.required('RouteTableId'));
  const cidr = form.required('DestinationCidrBlock');
  const index = table.routes.findIndex((route) => route.cidr === cidr && route.target.id !== 'local');
  if (index < 0) throw new AwsError(400, 'InvalidRoute.NotFound', `no route with destination-cidr-block ${cidr}`);
  return async () => {
    table.routes.splice(index, 1);
    await world.apply();
    return { return: true };
  };
};

/** Puts one association in the place of another; the old id dies at once. */
export const replaceRouteAssociation = (
  region: RegionWorld,
  associationId: string,
  routeTableId: string,
): RouteAssociation => {
  const { subnetId } = requiredAssociation(region, associationId);
  requiredTable(region, routeTableId);
  const replacement = { id: newId('rtbassoc'), routeTableId, subnetId };
  region.routeAssociations.delete(associationId);
  region.routeAssociations.set(replacement.id, replacement);
  return replacement;
};

/** Gives a subnet that follows its VPC's main table one of its own. */
export const addRouteAssociation = (region: RegionWorld, subnetId: string, routeTableId: string): RouteAssociation => {
  const association = { id: newId('rtbassoc'), routeTableId, subnetId };
  region.routeAssociations.set(association.id, association);
  return association;
};

const replaceAssociation: Ec2Operation = ({ form, region, world }) => {
  const association = requiredAssociation(region, form.required('AssociationId'));
  const table = requiredTable(region, form.required('RouteTableId'));
  return async () => {
    const { id } = replaceRouteAssociation(region, association.id, table.id);
    await world.apply();
    return { newAssociationId: id, associationState: { state: 'associated' } };
  };
};

const associate: Ec2Operation = ({ form, region, world }) => {
  const table = requiredTable(region, form.required('RouteTableId'));
  const subnetId = form.required('SubnetId');
  if (!region.subnets.some((subnet) => subnet.id === subnetId)) {
    throw new AwsError(400, 'InvalidSubnetID.NotFound', `The subnet ID '${subnetId}' does not exist`);
  }
  if ([...region.routeAssociations.values()].some((association) => association.subnetId === subnetId)) {
    throw new AwsError(400, 'Resource.AlreadyAssociated', `the specified association for ${subnetId} already exists`);
  }
  return async () => {
    const { id } = addRouteAssociation(region, subnetId, table.id);
    await world.apply();
    return { associationId: id, associationState: { state: 'associated' } };
  };
};

const disassociate: Ec2Operation = ({ form, region, world }) => {
  const association = requiredAssociation(region, form.required('AssociationId'));
  if (association.subnetId === null) {
    throw new AwsError(400, 'InvalidParameterValue', 'cannot disassociate the main route table association');
  }
  return async () => {
    region.routeAssociations.delete(association.id);
    await world.apply();
    return { return: true };
  };
};

const deleteRouteTable: Ec2Operation = ({ form, region }) => {
  const table = requiredTable(region, form.required('RouteTableId'));
  if (associationsOf(region, table.id).length > 0) {
    throw new AwsError(
      400,
      'DependencyViolation',
      `The routeTable '${table.id}' has dependencies and cannot be deleted.`,
    );
  }
  return () => {
    region.routeTables.delete(table.id);
    return { return: true };
  };
};

export const routeOperations: Readonly<Record<string, Ec2Operation>> = {
  DescribeRouteTables: describeRouteTables,
  CreateRouteTable: createRouteTable,
  CreateRoute: createRoute,
  DeleteRoute: deleteRoute,
  ReplaceRouteTableAssociation: replaceAssociation,
  AssociateRouteTable: associate,
  DisassociateRouteTable: disassociate,
  DeleteRouteTable: deleteRouteTable,
};
