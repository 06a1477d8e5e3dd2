import { AwsError } from './aws-error.ts';
import { described, type Ec2Operation, specifiedTags, tagSet, tagValues } from './ec2-call.ts';
import type { Form } from './form.ts';
import { newId } from './names.ts';
import type { AclAssociation, AclEntry, NetworkAcl, RegionWorld } from './world.ts';
import type { XmlValue } from './xml.ts';

/** Numbers above are AWS's own: what no rule decides is denied there. */
const ruleNumberMax = 32766;
const rulesPerDirectionMax = 20;
const aclsPerVpcMax = 200;

const associationsOf = (region: RegionWorld, aclId: string): readonly AclAssociation[] =>
  [...region.aclAssociations.values()].filter((association) => association.aclId === aclId);

const aclXml = (region: RegionWorld, account: string, acl: NetworkAcl): XmlValue => {
  const implicit = [false, true].map((egress) => ({
    ruleNumber: ruleNumberMax + 1,
    protocol: '-1',
    ruleAction: 'deny',
    egress,
    cidrBlock: '0.0.0.0/0',
  }));
  return {
    networkAclId: acl.id,
    vpcId: acl.vpcId,
    default: acl.isDefault,
    ownerId: account,
    entrySet: {
      item: [
        ...acl.entries.map(({ ruleNumber, protocol, action, egress, cidr }) => ({
          ruleNumber,
          protocol,
          ruleAction: action,
          egress,
          cidrBlock: cidr,
        })),
        ...implicit,
      ],
    },
    associationSet: {
      item: associationsOf(region, acl.id).map(({ id, aclId, subnetId }) => ({
        networkAclAssociationId: id,
        networkAclId: aclId,
        subnetId,
      })),
    },
    tagSet: tagSet(acl.tags),
  };
};

const valuesOf =
  (region: RegionWorld, account: string) =>
  (acl: NetworkAcl, filter: string): readonly string[] | undefined => {
    const associations = associationsOf(region, acl.id);
    const values: Readonly<Record<string, readonly string[]>> = {
      'association.subnet-id': associations.map((association) => association.subnetId),
      'association.association-id': associations.map((association) => association.id),
      'association.network-acl-id': associations.map((association) => association.aclId),
      'network-acl-id': [acl.id],
      'vpc-id': [acl.vpcId],
      'owner-id': [account],
      default: [String(acl.isDefault)],
    };
    return values[filter] ?? tagValues(acl.tags, filter);
  };

const describeNetworkAcls: Ec2Operation = (call) => {
  const { region, world } = call;
  const { items, next } = described(call, [...region.acls.values()], {
    ids: { parameter: 'NetworkAclId', notFound: 'InvalidNetworkAclID.NotFound' },
    idOf: (acl) => acl.id,
    valuesOf: valuesOf(region, world.account),
  });
  return () => ({
    networkAclSet: { item: items.map((acl) => aclXml(region, world.account, acl)) },
    nextToken: next,
  });
};

const requiredAcl = (region: RegionWorld, id: string): NetworkAcl => {
  const acl = region.acls.get(id);
  if (acl !== undefined) return acl;
  throw new AwsError(400, 'InvalidNetworkAclID.NotFound', `The networkAcl ID '${id}' does not exist`);
};

const createNetworkAcl: Ec2Operation = ({ form, region, world }) => {
  const vpcId = form.required('VpcId');
  const tags = specifiedTags(form, 'network-acl');
  form.text('ClientToken');
  if (vpcId !== region.vpcId) throw new AwsError(400, 'InvalidVpcID.NotFound', `The vpc ID '${vpcId}' does not exist`);
  if (region.acls.size >= aclsPerVpcMax) {
    throw new AwsError(400, 'NetworkAclLimitExceeded', 'The maximum number of network ACLs has been reached.');
  }
  return () => {
    const acl: NetworkAcl = { id: newId('acl'), vpcId, isDefault: false, entries: [], tags };
    region.acls.set(acl.id, acl);
    return { networkAcl: aclXml(region, world.account, acl) };
  };
};

const cidr = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d|[12]\d|3[0-2])$/;

const entryOf = (form: Form): AclEntry => {
  const ruleNumber = form.integer('RuleNumber');
  if (ruleNumber === undefined) form.required('RuleNumber');
  if (ruleNumber === undefined || ruleNumber < 1 || ruleNumber > ruleNumberMax) {
    throw new AwsError(400, 'InvalidParameterValue', `Value (${ruleNumber}) for parameter ruleNumber is invalid.`);
  }
  const action = form.required('RuleAction');
  if (action !== 'allow' && action !== 'deny') {
    throw new AwsError(400, 'InvalidParameterValue', `Value (${action}) for parameter ruleAction is invalid.`);
  }
  form.required('Egress');
  const block = form.text('CidrBlock');
  if (block === undefined || !cidr.test(block)) {
    throw new AwsError(400, 'InvalidParameterValue', `Value (${block}) for parameter cidrBlock is invalid.`);
  }
  return {
    ruleNumber,
    protocol: form.required('Protocol'),
    action,
    egress: form.flag('Egress') === true,
    cidr: block,
  };
};

const samePlace = (entry: AclEntry, number: number | undefined, egress: boolean | undefined): boolean =>
  entry.ruleNumber === number && entry.egress === egress;

const createEntry: Ec2Operation = ({ form, region, world }) => {
  const acl = requiredAcl(region, form.required('NetworkAclId'));
  const entry = entryOf(form);
  if (acl.entries.some((other) => samePlace(other, entry.ruleNumber, entry.egress))) {
    throw new AwsError(400, 'NetworkAclEntryAlreadyExists', `The network acl entry ${entry.ruleNumber} already exists`);
  }
  if (acl.entries.filter((other) => other.egress === entry.egress).length >= rulesPerDirectionMax) {
    throw new AwsError(400, 'NetworkAclEntryLimitExceeded', 'The maximum number of network ACL entries was reached.');
  }
  return async () => {
    acl.entries.push(entry);
    await world.apply();
    return { return: true };
  };
};

const deleteEntry: Ec2Operation = ({ form, region, world }) => {
  const acl = requiredAcl(region, form.required('NetworkAclId'));
  const number = form.integer('RuleNumber');
  const egress = form.flag('Egress');
  const index = acl.entries.findIndex((entry) => samePlace(entry, number, egress));
  if (index < 0) {
    throw new AwsError(400, 'InvalidNetworkAclEntry.NotFound', `The entry ${number} does not exist in ${acl.id}`);
  }
  return async () => {
    acl.entries.splice(index, 1);
    await world.apply();
    return { return: true };
  };
};

/** The old association id dies at once; the subnet is never without an ACL. */
export const replaceAclAssociation = (region: RegionWorld, associationId: string, aclId: string): AclAssociation => {
  const association = region.aclAssociations.get(associationId);
  if (association === undefined) {
    throw new AwsError(400, 'InvalidAssociationID.NotFound', `The association ID '${associationId}' does not exist`);
  }
  requiredAcl(region, aclId);
  const replacement = { id: newId('aclassoc'), aclId, subnetId: association.subnetId };
  region.aclAssociations.delete(associationId);
  region.aclAssociations.set(replacement.id, replacement);
  return replacement;
};

const replaceAssociation: Ec2Operation = ({ form, region, world }) => {
  const associationId = form.required('AssociationId');
  const aclId = form.required('NetworkAclId');
  requiredAcl(region, aclId);
  if (!region.aclAssociations.has(associationId)) {
    throw new AwsError(400, 'InvalidAssociationID.NotFound', `The association ID '${associationId}' does not exist`);
  }
  return async () => {
    const { id } = replaceAclAssociation(region, associationId, aclId);
    await world.apply();
    return { newAssociationId: id };
  };
};

const deleteNetworkAcl: Ec2Operation = ({ form, region }) => {
  const acl = requiredAcl(region, form.required('NetworkAclId'));
  if (acl.isDefault) throw new AwsError(400, 'InvalidParameterValue', 'You cannot delete the default network ACL.');
  if (associationsOf(region, acl.id).length > 0) {
    throw new AwsError(
      400,
      'DependencyViolation',
      `The networkAcl '${acl.id}' has dependencies and cannot be deleted.`,
    );
  }
  return () => {
    region.acls.delete(acl.id);
    return { return: true };
  };
};

export const aclOperations: Readonly<Record<string, Ec2Operation>> = {
  DescribeNetworkAcls: describeNetworkAcls,
  CreateNetworkAcl: createNetworkAcl,
  CreateNetworkAclEntry: createEntry,
  DeleteNetworkAclEntry: deleteEntry,
  ReplaceNetworkAclAssociation: replaceAssociation,
  DeleteNetworkAcl: deleteNetworkAcl,
};
