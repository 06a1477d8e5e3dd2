import type { HealthCheckConfig, HealthCheckObservation, ResourceRecordSet } from '@aws-sdk/client-route-53';
import { type Clock, deadline, poll } from '../core/clock.ts';
import { BlackstartError } from '../core/errors.ts';
import { type AwsCaller, allPages, lazily } from './aws-call.ts';
import type { HealthCheckStatus, HealthReport, Route53Port } from './ports.ts';

/** Route 53 calls an endpoint healthy when more than this share of its checkers does. */
const healthyShare = 0.18;
/** Which health checks there are changes rarely; what they say is asked every time. */
const checksKeptMs = 30_000;
const syncWithinMs = 180_000;
const syncLookEveryMs = 250;
/** A full weight: this share of 100 per cent. */
const recordTtlSeconds = 60;

const withoutDot = (name: string | undefined): string => (name ?? '').replace(/\.$/, '').toLowerCase();

interface Check {
  readonly id: string;
  readonly domainName: string;
  readonly configured: string;
}

const isGood = (status: string): boolean => status.startsWith('Success');

const reportsOf = (observations: readonly HealthCheckObservation[]): readonly HealthReport[] =>
  observations.flatMap(({ Region, IPAddress, StatusReport }) => {
    const checkedAtMs = StatusReport?.CheckedTime?.getTime();
    const healthy = isGood(StatusReport?.Status ?? '');
    return checkedAtMs === undefined ? [] : [{ checker: `${Region} ${IPAddress}`, healthy, checkedAtMs }];
  });

const statusOf = (check: Check, observations: readonly HealthCheckObservation[]): HealthCheckStatus => {
  const reports = observations.map((one) => one.StatusReport?.Status ?? '');
  const good = reports.filter(isGood);
  const bad = reports.find((status) => !isGood(status));
  return {
    id: check.id,
    region: check.domainName.split('.')[0] ?? '',
    healthy: reports.length > 0 && good.length / reports.length > healthyShare,
    detail: bad ?? good[0] ?? 'no checker has reported',
    configured: check.configured,
    reports: reportsOf(observations),
  };
};

const configuredText = (config: HealthCheckConfig | undefined): string =>
  `every ${config?.RequestInterval ?? '?'} s, ${config?.FailureThreshold ?? '?'} failures`;

export const createRoute53Port = (caller: AwsCaller, clock: Clock): Route53Port => {
  const load = lazily(async () => {
    const sdk = await import('@aws-sdk/client-route-53');
    return { sdk, client: new sdk.Route53Client(caller.config) };
  });
  let kept: { readonly checks: readonly Check[]; readonly atMs: number } | undefined;

  const listChecks = async (signal: AbortSignal): Promise<readonly Check[]> => {
    if (kept !== undefined && clock.monotonicMs() - kept.atMs < checksKeptMs) return kept.checks;
    const { sdk, client } = await load();
    const found = await allPages(async (Marker) => {
      const command = new sdk.ListHealthChecksCommand({ Marker });
      const page = await caller.call('ListHealthChecks', signal, (options) => client.send(command, options));
      return { items: page.HealthChecks ?? [], next: page.IsTruncated === true ? page.NextMarker : undefined };
    });
    const checks = found.map((check) => ({
      id: check.Id ?? '',
      domainName: withoutDot(check.HealthCheckConfig?.FullyQualifiedDomainName),
      configured: configuredText(check.HealthCheckConfig),
    }));
    kept = { checks, atMs: clock.monotonicMs() };
    return checks;
  };

  const readSets = async (
    zoneId: string,
    name: string,
    type: 'CNAME' | 'A',
    signal: AbortSignal,
  ): Promise<readonly ResourceRecordSet[]> => {
    const { sdk, client } = await load();
    const command = new sdk.ListResourceRecordSetsCommand({
      HostedZoneId: zoneId,
      StartRecordName: name,
      StartRecordType: type,
    });
    const page = await caller.call('ListResourceRecordSets', signal, (options) => client.send(command, options));
    return (page.ResourceRecordSets ?? []).filter(
      (set) => withoutDot(set.Name) === withoutDot(name) && set.Type === type,
    );
  };

  const upsert = async (zoneId: string, set: ResourceRecordSet, signal: AbortSignal): Promise<void> => {
    const { sdk, client } = await load();
    const command = new sdk.ChangeResourceRecordSetsCommand({
      HostedZoneId: zoneId,
      ChangeBatch: { Comment: 'blackstart', Changes: [{ Action: 'UPSERT', ResourceRecordSet: set }] },
    });
    const made = await caller.call('ChangeResourceRecordSets', signal, (options) => client.send(command, options));
    const Id = made.ChangeInfo?.Id;
    const late = new BlackstartError(
      'UNREACHABLE',
      `Route 53 did not bring ${set.Name} in sync within ${syncWithinMs / 1000} s`,
      `Look at the change: aws route53 get-change --id ${Id}`,
    );
    const limit = deadline(clock, syncWithinMs, late, signal);
    try {
      await poll(clock, syncLookEveryMs, limit.signal, async () => {
        const look = new sdk.GetChangeCommand({ Id });
        const change = await caller.call('GetChange', limit.signal, (options) => client.send(look, options));
        return change.ChangeInfo?.Status === 'INSYNC' ? true : undefined;
      });
    } finally {
      limit.dispose();
    }
  };

  /** A region's share is the weight of the weighted record `<region>.<host>`, whose SetIdentifier is the region. */
  const weightedSet = async (
    zoneId: string,
    host: string,
    region: string,
    signal: AbortSignal,
  ): Promise<ResourceRecordSet> => {
    const sets = await readSets(zoneId, `${region}.${host}`, 'A', signal);
    const found = sets.find((set) => set.SetIdentifier === region);
    if (found !== undefined) return found;
    throw new BlackstartError(
      'UNREACHABLE',
      `hosted zone ${zoneId} has no weighted record ${region}.${host} with the SetIdentifier ${region}`,
      'Traffic is shifted by the weight of that record: create it, or leave traffic shifting out of the drill.',
    );
  };

  return {
    async healthChecks(signal) {
      const { sdk, client } = await load();
      return await Promise.all(
        (await listChecks(signal)).map(async (check) => {
          const command = new sdk.GetHealthCheckStatusCommand({ HealthCheckId: check.id });
          const status = await caller.call('GetHealthCheckStatus', signal, (options) => client.send(command, options));
          return statusOf(check, status.HealthCheckObservations ?? []);
        }),
      );
    },

    async getRecord(zoneId, name, signal) {
      const [set] = await readSets(zoneId, name, 'CNAME', signal);
      if (set === undefined) return undefined;
      const value = withoutDot(set.ResourceRecords?.[0]?.Value);
      return { name: withoutDot(set.Name), type: 'CNAME', value, ttlSeconds: set.TTL ?? recordTtlSeconds };
    },

    async putRecord(zoneId, { name, value, ttlSeconds }, signal) {
      const set: ResourceRecordSet = {
        Name: name,
        Type: 'CNAME',
        TTL: ttlSeconds,
        ResourceRecords: [{ Value: value }],
      };
      await upsert(zoneId, set, signal);
    },

    getWeight: async (zoneId, host, region, signal) => (await weightedSet(zoneId, host, region, signal)).Weight ?? 0,

    async putWeight(zoneId, host, region, weight, signal) {
      const set = await weightedSet(zoneId, host, region, signal);
      await upsert(zoneId, { ...set, Weight: weight }, signal);
    },
  };
};
