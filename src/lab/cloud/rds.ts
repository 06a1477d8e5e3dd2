import { ControlError, callControl } from '../control.ts';
import type { LabLayout } from '../layout.ts';
import { AwsError } from './aws-error.ts';
import type { Resource } from './fis-targets.ts';
import { type Form, filtered, parseForm } from './form.ts';
import { pageOf, refuseQuery, type Service, xmlResponse } from './protocol.ts';
import type { World } from './world.ts';
import type { XmlValue } from './xml.ts';

const namespace = 'http://rds.amazonaws.com/doc/2014-10-31/';
const port = 5432;

/** An instance as the lab's database control describes it. */
interface Instance {
  readonly id: string;
  readonly region: string;
  readonly status: string;
  readonly zone: string;
  readonly secondaryZone: string | null;
  readonly multiZone: boolean;
  readonly source: string | null;
  readonly replicas: readonly string[];
}

interface Call {
  readonly form: Form;
  readonly region: string;
  readonly layout: LabLayout;
}

type Operation = (call: Call) => Promise<XmlValue>;

const listInstances = async (layout: LabLayout): Promise<readonly Instance[]> => {
  const listed = await callControl(layout, 'database', 'GET', '/instances');
  if (!Array.isArray(listed)) throw new Error('the database control did not list its instances');
  return listed;
};

const arnOf = (layout: LabLayout, { region, id }: Instance): string =>
  `arn:aws:rds:${region}:${layout.environment.aws.account}:db:${id}`;

/** Database instances as targets of FIS. */
export const databaseResources = async (layout: LabLayout, region: string): Promise<readonly Resource[]> =>
  (await listInstances(layout))
    .filter((instance) => instance.region === region)
    .map((instance) => ({
      arn: arnOf(layout, instance),
      tags: {},
      attributes: {
        DBInstanceIdentifier: instance.id,
        AvailabilityZone: instance.zone,
        DBInstanceStatus: instance.status,
      },
      parameters: { availabilityZoneIdentifiers: [instance.zone] },
    }));

/** Within a region instances name each other by id, across regions by ARN. */
const nameFor = (layout: LabLayout, reader: Instance, named: Instance): string =>
  named.region === reader.region ? named.id : arnOf(layout, named);

const instanceXml = (layout: LabLayout, instance: Instance, all: readonly Instance[]): XmlValue => {
  const { environment } = layout;
  const byId = (id: string): Instance | undefined => all.find((one) => one.id === id);
  const source = instance.source === null ? undefined : byId(instance.source);
  const replicas = instance.replicas.map(byId).filter((one) => one !== undefined);
  return {
    DBInstanceIdentifier: instance.id,
    DBInstanceClass: 'db.r6g.large',
    Engine: 'postgres',
    EngineVersion: '18',
    DBInstanceStatus: instance.status,
    MasterUsername: layout.databaseUser,
    DBName: environment.service.databaseName,
    Endpoint: { Address: `${instance.id}.${environment.service.databaseDomain}`, Port: port },
    AllocatedStorage: 100,
    PreferredBackupWindow: '03:00-04:00',
    BackupRetentionPeriod: 7,
    AvailabilityZone: instance.zone,
    SecondaryAvailabilityZone: instance.secondaryZone ?? undefined,
    MultiAZ: instance.multiZone,
    AutoMinorVersionUpgrade: false,
    ReadReplicaSourceDBInstanceIdentifier: source === undefined ? undefined : nameFor(layout, instance, source),
    ReadReplicaDBInstanceIdentifiers: {
      ReadReplicaDBInstanceIdentifier: replicas.map((replica) => nameFor(layout, instance, replica)),
    },
    PubliclyAccessible: false,
    StorageType: 'gp3',
    DbInstancePort: 0,
    StorageEncrypted: false,
    DBInstanceArn: arnOf(layout, instance),
    DeletionProtection: false,
    TagList: {},
  };
};

const notFound = (id: string): AwsError => new AwsError(404, 'DBInstanceNotFound', `DBInstance ${id} not found.`);

const requiredInstance = async ({ layout, region }: Call, id: string): Promise<Instance> => {
  const found = (await listInstances(layout)).find((one) => one.id === id && one.region === region);
  if (found === undefined) throw notFound(id);
  return found;
};

/** An identifier or an ARN, as callers give it; ARNs of another region are told apart from ids of this one. */
const idOf = (name: string): string => (name.startsWith('arn:') ? (name.split(':').at(-1) ?? '') : name);

const describeInstances: Operation = async ({ form, region, layout }) => {
  const wanted = form.text('DBInstanceIdentifier');
  const max = form.integer('MaxRecords') ?? 100;
  const marker = form.text('Marker');
  const filters = form
    .forms('Filters.Filter')
    .map((filter) => ({ name: filter.required('Name'), values: filter.list('Values.Value') }));
  form.refuseUnknown();
  if (max < 20 || max > 100) throw new AwsError(400, 'InvalidParameterValue', 'MaxRecords must be between 20 and 100.');
  const all = await listInstances(layout);
  const here = all.filter((one) => one.region === region);
  const chosen = wanted === undefined ? here : here.filter((one) => one.id === idOf(wanted));
  if (wanted !== undefined && chosen.length === 0) throw notFound(wanted);
  const found = filtered(chosen, filters, (one, name) => {
    if (name === 'db-instance-id') return [one.id, arnOf(layout, one)];
    return name === 'engine' ? ['postgres'] : undefined;
  });
  const page = pageOf(found, max, marker);
  if (page === undefined) throw new AwsError(400, 'InvalidParameterValue', 'Marker is not valid.');
  return {
    DBInstances: { DBInstance: page.items.map((one) => instanceXml(layout, one, all)) },
    Marker: page.next,
  };
};

/** The control API refuses with RDS's own codes. */
const refusal = (error: unknown): unknown =>
  error instanceof ControlError && error.status < 500
    ? new AwsError(error.code === 'DBInstanceNotFound' ? 404 : 400, error.code, error.message)
    : error;

const act = async (layout: LabLayout, id: string, action: string, body?: unknown): Promise<void> => {
  try {
    await callControl(layout, 'database', 'POST', `/instances/${encodeURIComponent(id)}/${action}`, { body });
  } catch (error) {
    throw refusal(error);
  }
};

const described = async (call: Call, id: string): Promise<XmlValue> => {
  const all = await listInstances(call.layout);
  const instance = all.find((one) => one.id === id);
  if (instance === undefined) throw notFound(id);
  return { DBInstance: instanceXml(call.layout, instance, all) };
};

/** Fails an instance over to its standby, as RebootDBInstance with ForceFailover does. */
export const forceFailover = async (layout: LabLayout, region: string, id: string): Promise<void> => {
  const instance = (await listInstances(layout)).find((one) => one.id === id && one.region === region);
  if (instance === undefined) throw notFound(id);
  if (!instance.multiZone) {
    throw new AwsError(
      400,
      'InvalidParameterCombination',
      'Cannot force failover: the DB instance is not configured for Multi-AZ.',
    );
  }
  await act(layout, id, 'failover');
};

const reboot: Operation = async (call) => {
  const id = call.form.required('DBInstanceIdentifier');
  const isFailover = call.form.flag('ForceFailover') === true;
  call.form.refuseUnknown();
  await requiredInstance(call, id);
  if (!isFailover) {
    throw new AwsError(400, 'InvalidParameterCombination', 'This lab reboots with ForceFailover alone.');
  }
  await forceFailover(call.layout, call.region, id);
  return await described(call, id);
};

const promote: Operation = async (call) => {
  const id = call.form.required('DBInstanceIdentifier');
  call.form.integer('BackupRetentionPeriod');
  call.form.text('PreferredBackupWindow');
  call.form.refuseUnknown();
  const instance = await requiredInstance(call, id);
  if (instance.source === null) {
    throw new AwsError(400, 'InvalidDBInstanceState', `DB instance ${id} is not a read replica.`);
  }
  await act(call.layout, id, 'promote');
  return await described(call, id);
};

const start: Operation = async (call) => {
  const id = call.form.required('DBInstanceIdentifier');
  call.form.refuseUnknown();
  await requiredInstance(call, id);
  await act(call.layout, id, 'start');
  return await described(call, id);
};

/**
 * On AWS the identifier must be new. Here it is that of an instance which stands alone: it loses its data and becomes a
 * replica of the source, which stands for deleting it and creating it again.
 */
const createReplica: Operation = async (call) => {
  const { form } = call;
  const id = form.required('DBInstanceIdentifier');
  const sourceName = form.required('SourceDBInstanceIdentifier');
  // Signed for the source's region by the SDK; this lab has one signing authority and does not need it.
  for (const name of ['PreSignedUrl', 'DestinationRegion', 'SourceRegion', 'DBInstanceClass', 'AvailabilityZone']) {
    form.text(name);
  }
  form.refuseUnknown();
  const instance = await requiredInstance(call, id);
  if (instance.source !== null) {
    throw new AwsError(400, 'DBInstanceAlreadyExists', `DB instance ${id} already exists and is a replica.`);
  }
  const source = (await listInstances(call.layout)).find((one) => one.id === idOf(sourceName));
  if (source === undefined || (source.region !== call.region && !sourceName.startsWith('arn:'))) {
    throw notFound(sourceName);
  }
  await act(call.layout, id, 'replica-of', { source: source.id });
  return await described(call, id);
};

const operations: Readonly<Record<string, Operation>> = {
  DescribeDBInstances: describeInstances,
  RebootDBInstance: reboot,
  StartDBInstance: start,
  PromoteReadReplica: promote,
  CreateDBInstanceReadReplica: createReplica,
};

/** RDS (query protocol, API version 2014-10-31) on the lab's database control. */
export const createRds = (layout: LabLayout, world: World): Service => ({
  refuse: refuseQuery,
  async answer(request) {
    const form = parseForm(request.method === 'GET' ? request.query.toString() : request.body.toString('utf8'));
    const action = form.text('Action') ?? '';
    const operation = Object.hasOwn(operations, action) ? operations[action] : undefined;
    if (operation === undefined) throw new AwsError(400, 'InvalidAction', `Could not find operation ${action}.`);
    if (!world.regions.has(request.region)) {
      throw new AwsError(400, 'InvalidParameterValue', `There is no RDS in ${request.region}.`);
    }
    const result = await operation({ form, region: request.region, layout });
    return xmlResponse(
      `${action}Response`,
      { [`${action}Result`]: result, ResponseMetadata: { RequestId: request.requestId } },
      { namespace },
    );
  },
});
