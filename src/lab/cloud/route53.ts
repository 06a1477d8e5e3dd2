import { createHash } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { ControlError, callControl } from '../control.ts';
import type { LabLayout } from '../layout.ts';
import { AwsError } from './aws-error.ts';
import { type AwsRequest, type AwsResponse, refuseQuery, type Service, xmlResponse } from './protocol.ts';
import { childOf, parseXml, textOf, type XmlElement, type XmlValue } from './xml.ts';

const namespace = 'https://route53.amazonaws.com/doc/2013-04-01/';

interface ZoneHealth {
  readonly healthy: boolean;
  readonly lastReason: string;
  readonly checkedAtMs: number | null;
}

interface RegionHealth {
  readonly region: string;
  /** Set by hand, whatever the checks say. */
  readonly override: boolean | null;
  readonly zones: readonly ZoneHealth[];
}

interface Change {
  readonly id: string;
  readonly submittedAt: string;
  status: 'PENDING' | 'INSYNC';
}

interface State {
  readonly layout: LabLayout;
  readonly clock: Clock;
  readonly changes: Map<string, Change>;
}

interface Call {
  readonly state: State;
  readonly request: AwsRequest;
  readonly parts: readonly string[];
}

type Operation = (call: Call) => Promise<AwsResponse> | AwsResponse;

/** Real: how long a change is PENDING. Route 53 takes up to 60 s; DNS itself follows at once here. */
const pendingMs = 100;

const isoOf = (clock: Clock): string => new Date(clock.nowMs()).toISOString();

const answer = (name: string, value: XmlValue): AwsResponse => xmlResponse(name, value, { namespace });

/** A health check per region, always with the same id. */
export const healthCheckIdOf = (host: string, region: string): string => {
  const hex = createHash('sha256').update(`health check ${region}.${host}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
};

/** The domain that the names of the service and of its database share. */
const zoneNameOf = (layout: LabLayout): string => {
  const { host, databaseHost } = layout.environment.service;
  const one = host.split('.').reverse();
  const other = databaseHost.split('.').reverse();
  const common = one.slice(
    0,
    one.findIndex((label, index) => label !== other[index]),
  );
  return common.length === 0 ? 'lab.' : `${common.reverse().join('.')}.`;
};

const healthCheckXml = ({ layout }: State, region: string): XmlValue => {
  const { host } = layout.environment.service;
  const { period, failures } = layout.settings.health;
  return {
    Id: healthCheckIdOf(host, region),
    CallerReference: `lab-${region}`,
    HealthCheckConfig: {
      Port: 80,
      Type: 'HTTP',
      ResourcePath: '/health',
      FullyQualifiedDomainName: `${region}.${host}`,
      RequestInterval: Math.round(period / 1000),
      FailureThreshold: failures,
      MeasureLatency: false,
      Inverted: false,
      Disabled: false,
    },
    HealthCheckVersion: 1,
  };
};

const listHealthChecks: Operation = ({ state }) =>
  answer('ListHealthChecksResponse', {
    HealthChecks: { HealthCheck: state.layout.environment.regions.map(({ name }) => healthCheckXml(state, name)) },
    Marker: '',
    IsTruncated: false,
    MaxItems: 100,
  });

const regionOfCheck = ({ state, parts: [id = ''] }: Call): string => {
  const { environment } = state.layout;
  const region = environment.regions.find(({ name }) => healthCheckIdOf(environment.service.host, name) === id);
  if (region === undefined) {
    throw new AwsError(404, 'NoSuchHealthCheck', `A health check with id ${id} does not exist.`);
  }
  return region.name;
};

const getHealthCheck: Operation = (call) =>
  answer('GetHealthCheckResponse', { HealthCheck: healthCheckXml(call.state, regionOfCheck(call)) });

const readHealth = async (layout: LabLayout): Promise<readonly RegionHealth[]> => {
  const health = await callControl(layout, 'dns', 'GET', '/health');
  const regions = typeof health === 'object' && health !== null && 'regions' in health ? health.regions : undefined;
  if (!Array.isArray(regions)) throw new Error('the DNS control did not tell its health');
  return regions;
};

/** The region in which the lab's checkers say they stand; one that Route 53 has checkers in. */
const checkerRegion = 'us-east-1';

const statusText = ({ lastReason }: ZoneHealth, isHealthy: boolean): string =>
  isHealthy ? 'Success: HTTP Status Code 200, OK' : `Failure: ${lastReason}`;

/**
 * One checker per zone of the region, each with an address of its own: what it thinks of the endpoint now, and when it
 * last looked. A checker that has not looked yet reports nothing.
 */
const getHealthCheckStatus: Operation = async (call) => {
  const region = regionOfCheck(call);
  const health = (await readHealth(call.state.layout)).find((one) => one.region === region);
  const observations = (health?.zones ?? []).flatMap((zone, index) =>
    zone.checkedAtMs === null
      ? []
      : [
          {
            Region: checkerRegion,
            IPAddress: `127.0.0.${index + 1}`,
            StatusReport: {
              Status: statusText(zone, health?.override ?? zone.healthy),
              CheckedTime: new Date(zone.checkedAtMs).toISOString(),
            },
          },
        ],
  );
  return answer('GetHealthCheckStatusResponse', {
    HealthCheckObservations: { HealthCheckObservation: observations },
  });
};

const zoneXml = ({ layout }: State): XmlValue => ({
  Id: `/hostedzone/${layout.environment.service.hostedZoneId}`,
  Name: zoneNameOf(layout),
  CallerReference: 'lab',
  Config: { PrivateZone: false },
  ResourceRecordSetCount: 1 + layout.environment.regions.length,
});

const listHostedZones: Operation = ({ state }) =>
  answer('ListHostedZonesResponse', {
    HostedZones: { HostedZone: zoneXml(state) },
    IsTruncated: false,
    MaxItems: 100,
  });

const requireZone = ({ state, parts: [id = ''] }: Call): void => {
  if (id !== state.layout.environment.service.hostedZoneId) {
    throw new AwsError(404, 'NoSuchHostedZone', `No hosted zone found with ID: ${id}`);
  }
};

const getHostedZone: Operation = (call) => {
  requireZone(call);
  return answer('GetHostedZoneResponse', {
    HostedZone: zoneXml(call.state),
    DelegationSet: { NameServers: { NameServer: [`ns.${zoneNameOf(call.state.layout)}`] } },
  });
};

interface CnameRecord {
  readonly name: string;
  readonly value: string;
  readonly ttlSeconds: number;
}

/** The control lists records as `{name: {type, value, ttlSeconds}}` or as a list; both are read. */
const readRecords = async (layout: LabLayout): Promise<readonly CnameRecord[]> => {
  const listed = await callControl(layout, 'dns', 'GET', '/records');
  const records = typeof listed === 'object' && listed !== null && 'records' in listed ? listed.records : listed;
  if (Array.isArray(records)) return records;
  if (typeof records !== 'object' || records === null) throw new Error('the DNS control did not list its records');
  return Object.entries(records).map(([name, record]) => ({ name, ...record }));
};

const readWeight = async (layout: LabLayout, region: string): Promise<number> => {
  const answered = await callControl(layout, 'dns', 'GET', `/weights/${region}`);
  const weight =
    typeof answered === 'object' && answered !== null && 'weight' in answered ? answered.weight : undefined;
  if (typeof weight !== 'number') throw new Error(`the DNS control did not tell the weight of ${region}`);
  return weight;
};

const withDot = (name: string): string => (name.endsWith('.') ? name : `${name}.`);
const withoutDot = (name: string): string => name.replace(/\.$/, '').toLowerCase();

/** Order of Route 53: by name with its labels reversed, then type. */
const sortKey = (name: string, type: string): string => `${withoutDot(name).split('.').reverse().join('.')} ${type}`;

interface RecordSet {
  readonly name: string;
  readonly type: string;
  readonly xml: XmlValue;
}

/**
 * The records of the zone: the CNAME of the database, and one weighted A record per region, `<region>.<service host>`
 * with the region as its SetIdentifier. Its weight, 0 to 100, is the share of the clients preferring the region that
 * GeoDNS sends there.
 */
const recordSets = async ({ layout }: State): Promise<readonly RecordSet[]> => {
  const { regions, service } = layout.environment;
  const cnames = (await readRecords(layout)).map(({ name, value, ttlSeconds }) => ({
    name: withDot(name),
    type: 'CNAME',
    xml: {
      Name: withDot(name),
      Type: 'CNAME',
      TTL: ttlSeconds,
      ResourceRecords: { ResourceRecord: { Value: value } },
    },
  }));
  const weighted = await Promise.all(
    regions.map(async ({ name: region }) => {
      const name = withDot(`${region}.${service.host}`);
      const xml = {
        Name: name,
        Type: 'A',
        SetIdentifier: region,
        Weight: await readWeight(layout, region),
        TTL: Math.floor(layout.settings.dns.ttl / layout.timeScale / 1000),
        ResourceRecords: { ResourceRecord: { Value: '127.0.0.1' } },
        HealthCheckId: healthCheckIdOf(service.host, region),
      };
      return { name, type: 'A', xml };
    }),
  );
  const key = (set: RecordSet): string => sortKey(set.name, set.type);
  return [...cnames, ...weighted].sort((one, other) => (key(one) < key(other) ? -1 : Number(key(one) > key(other))));
};

const listRecordSets: Operation = async (call) => {
  requireZone(call);
  const { query } = call.request;
  const max = Number(query.get('maxitems') ?? 300);
  const from = sortKey(query.get('name') ?? '', query.get('type') ?? '');
  const all = await recordSets(call.state);
  const found = query.get('name') === null ? all : all.filter((set) => sortKey(set.name, set.type) >= from);
  const page = found.slice(0, max);
  const next = found[max];
  return answer('ListResourceRecordSetsResponse', {
    ResourceRecordSets: { ResourceRecordSet: page.map((set) => set.xml) },
    IsTruncated: next !== undefined,
    NextRecordName: next?.name,
    NextRecordType: next?.type,
    MaxItems: max,
  });
};

const badBatch = (message: string): AwsError => new AwsError(400, 'InvalidChangeBatch', message);

/** One change of a batch, checked; what it returns carries it out. */
const checkedChange = ({ state }: Call, change: XmlElement): (() => Promise<unknown>) => {
  const { layout } = state;
  const { service, regions } = layout.environment;
  const action = textOf(change, 'Action') ?? '';
  const set = childOf(change, 'ResourceRecordSet');
  if (set === undefined) throw badBatch('Every change needs a ResourceRecordSet.');
  const name = withoutDot(textOf(set, 'Name') ?? '');
  const type = textOf(set, 'Type') ?? '';
  if (action !== 'UPSERT') throw badBatch(`This lab changes records with UPSERT alone, not ${action}.`);
  const values = (childOf(set, 'ResourceRecords')?.children ?? []).map((record) => textOf(record, 'Value') ?? '');
  const [value = ''] = values;
  const ttl = Number(textOf(set, 'TTL') ?? Number.NaN);
  if (values.length !== 1 || value === '' || !Number.isInteger(ttl) || ttl < 0) {
    throw badBatch(`RRSet of type ${type} with DNS name ${name}. needs one value and a TTL.`);
  }
  if (type === 'CNAME') {
    if (!withDot(name).endsWith(`.${zoneNameOf(layout)}`)) {
      throw badBatch(`RRSet with DNS name ${name}. is not permitted in zone ${zoneNameOf(layout)}`);
    }
    const body = { type: 'CNAME', value: withoutDot(value), ttlSeconds: ttl };
    return () => callControl(layout, 'dns', 'PUT', `/records/${encodeURIComponent(name)}`, { body });
  }
  const region = textOf(set, 'SetIdentifier');
  const weight = Number(textOf(set, 'Weight') ?? Number.NaN);
  const isRegion = regions.some((one) => one.name === region) && name === `${region}.${service.host}`;
  if (type !== 'A' || !isRegion || !Number.isInteger(weight) || weight < 0 || weight > 100) {
    throw badBatch(
      `RRSet of type ${type} with DNS name ${name}. This lab has CNAMEs, and A records <region>.${service.host} with ` +
        'the region as SetIdentifier and a Weight from 0 to 100.',
    );
  }
  return () => callControl(layout, 'dns', 'PUT', `/weights/${region}`, { body: { weight } });
};

const changeXml = ({ id, status, submittedAt }: Change): XmlValue => ({
  ChangeInfo: { Id: `/change/${id}`, Status: status, SubmittedAt: submittedAt },
});

const changeRecordSets: Operation = async (call) => {
  requireZone(call);
  const { state } = call;
  const document = parseXml(call.request.body.toString('utf8'));
  const batch = childOf(document, 'ChangeBatch');
  const changes = batch === undefined ? [] : (childOf(batch, 'Changes')?.children ?? []);
  if (document.name !== 'ChangeResourceRecordSetsRequest' || changes.length === 0) {
    throw new AwsError(400, 'InvalidInput', 'The change batch holds no change.');
  }
  // All or nothing: every change is checked before the first is made.
  const perform = changes.map((change) => checkedChange(call, change));
  for (const one of perform) await one();
  const id = `C${createHash('sha256').update(call.request.requestId).digest('hex').slice(0, 20).toUpperCase()}`;
  const change: Change = { id, submittedAt: isoOf(state.clock), status: 'PENDING' };
  state.changes.set(id, change);
  void state.clock.sleep(pendingMs).then(() => {
    change.status = 'INSYNC';
  });
  return answer('ChangeResourceRecordSetsResponse', changeXml(change));
};

const getChange: Operation = ({ state, parts: [id = ''] }) => {
  const change = state.changes.get(id);
  if (change === undefined) throw new AwsError(404, 'NoSuchChange', `A change with ID ${id} does not exist.`);
  return answer('GetChangeResponse', changeXml(change));
};

/** `*` is a variable part of the path, after the API version. */
const routes: readonly (readonly [string, Operation])[] = [
  ['GET healthcheck', listHealthChecks],
  ['GET healthcheck/*', getHealthCheck],
  ['GET healthcheck/*/status', getHealthCheckStatus],
  ['GET hostedzone', listHostedZones],
  ['GET hostedzone/*', getHostedZone],
  ['GET hostedzone/*/rrset', listRecordSets],
  ['POST hostedzone/*/rrset', changeRecordSets],
  ['GET change/*', getChange],
];

const matchRoute = (method: string, path: string): { operation: Operation; parts: readonly string[] } => {
  const segments = path.replace(/\/+$/, '').split('/').slice(2);
  for (const [route, operation] of routes) {
    const [wanted, pattern = ''] = route.split(' ');
    const words = pattern.split('/');
    if (wanted !== method || words.length !== segments.length) continue;
    if (!words.every((word, index) => word === '*' || word === segments[index])) continue;
    const parts = segments.filter((_, index) => words[index] === '*').map((part) => decodeURIComponent(part));
    return { operation, parts };
  }
  throw new AwsError(404, 'UnknownOperationException', `This lab does not have ${method} ${path}.`);
};

/** Route 53 (restXml, API version 2013-04-01) on the lab's GeoDNS: health checks and records that DNS obeys. */
export const createRoute53 = (layout: LabLayout, clock: Clock): Service => {
  const state: State = { layout, clock, changes: new Map() };
  return {
    refuse: refuseQuery,
    async answer(request) {
      const { operation, parts } = matchRoute(request.method, request.path);
      try {
        return await operation({ state, request, parts });
      } catch (error) {
        if (error instanceof ControlError && error.status < 500) {
          throw new AwsError(400, 'InvalidInput', error.message);
        }
        throw error;
      }
    },
  };
};
