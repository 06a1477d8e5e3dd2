import { describe, expect, it } from 'vitest';
import { labEnvironment } from '../testing.ts';
import { AwsError } from './aws-error.ts';
import { matchesOf } from './data-plane.ts';
import { createEc2 } from './ec2.ts';
import { zoneIdOf } from './names.ts';
import { createWorld, type World } from './world.ts';
import { childOf, parseXml, textOf, type XmlElement } from './xml.ts';

const environment = labEnvironment();
const region = 'us-west-2';

const ec2Of = (world: World) => {
  const service = createEc2(world);
  return async (action: string, params: Record<string, string> = {}): Promise<XmlElement> => {
    const answer = await service.answer({
      method: 'POST',
      target: '/',
      path: '/',
      query: new URLSearchParams(),
      headers: {},
      body: Buffer.from(new URLSearchParams({ Action: action, Version: '2016-11-15', ...params }).toString()),
      region,
      requestId: 'request',
    });
    return parseXml(String(answer.body));
  };
};

const setUp = () => {
  let applied = 0;
  const world = createWorld(environment, 0, async () => {
    applied += 1;
  });
  const one = world.regions.get(region);
  if (one === undefined) throw new Error('no region');
  return { world, region: one, ec2: ec2Of(world), applied: () => applied };
};

const refusal = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call;
  } catch (error) {
    if (error instanceof AwsError) return `${error.status} ${error.code}`;
    throw error;
  }
  return 'accepted';
};

const swapAcl = async (ec2: ReturnType<typeof ec2Of>, associationId: string, vpcId: string): Promise<string> => {
  const made = await ec2('CreateNetworkAcl', { VpcId: vpcId });
  const acl = childOf(made, 'networkAcl');
  const id = acl === undefined ? '' : (textOf(acl, 'networkAclId') ?? '');
  const swapped = await ec2('ReplaceNetworkAclAssociation', { AssociationId: associationId, NetworkAclId: id });
  return textOf(swapped, 'newAssociationId') ?? '';
};

describe('what the network state means for the links', () => {
  it('is nothing while all is well', () => {
    expect(matchesOf(setUp().world)).toEqual(new Map());
  });

  it('is an isolated zone for an empty ACL, and nothing again once it allows both directions', async () => {
    const { world, region: one, ec2, applied } = setUp();
    const [association] = one.aclAssociations.values();
    await swapAcl(ec2, association?.id ?? '', one.vpcId);
    expect(matchesOf(world)).toEqual(new Map([['aws-zone-us-west-2a', { isolate: ['zone/us-west-2a'] }]]));
    const acl = [...one.acls.values()].find(({ isDefault }) => !isDefault)?.id ?? '';
    const allow = { NetworkAclId: acl, RuleNumber: '100', Protocol: '-1', RuleAction: 'allow', CidrBlock: '0.0.0.0/0' };
    await ec2('CreateNetworkAclEntry', { ...allow, Egress: 'false' });
    expect(matchesOf(world).size).toBe(1);
    await ec2('CreateNetworkAclEntry', { ...allow, Egress: 'true' });
    expect(matchesOf(world).size).toBe(0);
    await ec2('CreateNetworkAclEntry', { ...allow, RuleNumber: '50', RuleAction: 'deny', Egress: 'true' });
    expect(matchesOf(world).size).toBe(1);
    expect(applied()).toBe(4);
  });

  it('is the region’s services too once every zone is dark', async () => {
    const { world, region: one, ec2 } = setUp();
    for (const { id } of [...one.aclAssociations.values()]) await swapAcl(ec2, id, one.vpcId);
    expect([...matchesOf(world).values()]).toContainEqual({ isolate: ['region/us-west-2'] });
    expect(matchesOf(world).size).toBe(3);
  });

  it('is one direction for lost routes: of a zone, or of the whole region', async () => {
    const { world, region: one, ec2 } = setUp();
    const other = world.regions.get('us-east-1');
    const tables = [...one.routeTables.values()].filter(({ tags }) => tags['Name'] !== undefined);
    const lost = { DestinationCidrBlock: other?.cidr ?? '' };
    await ec2('DeleteRoute', { RouteTableId: tables[0]?.id ?? '', ...lost });
    expect([...matchesOf(world).values()]).toEqual([{ from: ['zone/us-west-2a'], to: ['region/us-east-1'] }]);
    await ec2('DeleteRoute', { RouteTableId: tables[1]?.id ?? '', ...lost });
    expect([...matchesOf(world).values()]).toEqual([{ from: ['region/us-west-2'], to: ['region/us-east-1'] }]);
  });
});

describe('EC2 refuses as AWS does', () => {
  it('what does not exist, is in use, or is out of bounds', async () => {
    const { region: one, ec2 } = setUp();
    const [association] = one.aclAssociations.values();
    const [acl] = one.acls.values();
    const own = { NetworkAclId: acl?.id ?? '' };
    const entry = { ...own, Protocol: '-1', RuleAction: 'deny', Egress: 'true', CidrBlock: '0.0.0.0/0' };
    const replaced = { AssociationId: association?.id ?? '', ...own };
    expect(await refusal(ec2('ReplaceNetworkAclAssociation', { ...replaced, AssociationId: 'aclassoc-0' }))).toBe(
      '400 InvalidAssociationID.NotFound',
    );
    expect(await refusal(ec2('ReplaceNetworkAclAssociation', { ...replaced, NetworkAclId: 'acl-0' }))).toBe(
      '400 InvalidNetworkAclID.NotFound',
    );
    expect(await refusal(ec2('DeleteNetworkAcl', own))).toBe('400 InvalidParameterValue');
    expect(await refusal(ec2('CreateNetworkAclEntry', { ...entry, RuleNumber: '100' }))).toBe(
      '400 NetworkAclEntryAlreadyExists',
    );
    expect(await refusal(ec2('CreateNetworkAclEntry', { ...entry, RuleNumber: '32767' }))).toBe(
      '400 InvalidParameterValue',
    );
    expect(await refusal(ec2('CreateNetworkAcl', { VpcId: 'vpc-0' }))).toBe('400 InvalidVpcID.NotFound');
    expect(await refusal(ec2('DescribeSubnets', { 'SubnetId.1': 'subnet-0' }))).toBe('400 InvalidSubnetID.NotFound');
    expect(await refusal(ec2('DescribeSubnets', { SubnetIds: 'x' }))).toBe('400 UnknownParameter');
    expect(await refusal(ec2('DescribeSubnets', { MaxResults: '1' }))).toBe('400 InvalidParameterValue');
    expect(await refusal(ec2('TerminateInstances'))).toBe('400 InvalidAction');
    // Ids of associations that were replaced die at once.
    await swapAcl(ec2, association?.id ?? '', one.vpcId);
    expect(await refusal(ec2('ReplaceNetworkAclAssociation', replaced))).toBe('400 InvalidAssociationID.NotFound');
    const used = [...one.acls.values()].find(({ isDefault }) => !isDefault)?.id ?? '';
    expect(await refusal(ec2('DeleteNetworkAcl', { NetworkAclId: used }))).toBe('400 DependencyViolation');
  });

  it('a dry run, after checking it and without doing it', async () => {
    const { region: one, ec2, applied } = setUp();
    const dry = { VpcId: one.vpcId, DryRun: 'true' };
    expect(await refusal(ec2('CreateNetworkAcl', dry))).toBe('412 DryRunOperation');
    expect(await refusal(ec2('CreateNetworkAcl', { ...dry, VpcId: 'vpc-0' }))).toBe('400 InvalidVpcID.NotFound');
    expect(one.acls.size).toBe(1);
    expect(applied()).toBe(0);
  });
});

describe('zone ids', () => {
  it.each([
    ['us-west-2', 1, 'usw2-az1'],
    ['eu-central-1', 3, 'euc1-az3'],
    ['eu-north-1', 2, 'eun1-az2'],
    ['ap-southeast-1', 1, 'apse1-az1'],
  ])('of %s', (name, number, id) => expect(zoneIdOf(name, number)).toBe(id));
});
