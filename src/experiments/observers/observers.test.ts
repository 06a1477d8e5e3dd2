import { describe, expect, it } from 'vitest';
import type { DatabaseInstance, HealthCheckStatus, Pod } from '../../adapters/ports.ts';
import { createSimClock } from '../../testing/sim-clock.ts';
import { podChanges } from './kubernetes.ts';
import { databaseChanges } from './rds.ts';
import { createCheckLog } from './route53.ts';

const healthCheck = (region: string, checkedAtMs: number, healthy: boolean): HealthCheckStatus => ({
  id: region,
  region,
  healthy,
  detail: '',
  configured: 'every 10 s, 3 failures',
  reports: [{ checker: 'us-east-1 127.0.0.1', healthy, checkedAtMs }],
});

describe('what health checkers report', () => {
  it('is noted once for each check, on the clock of the run, and told in batches', async () => {
    const clock = createSimClock();
    const log = createCheckLog(clock);
    const at = (checkedAtMs: number, healthy: boolean): void => {
      log.look(new Map([['west', healthCheck('west', checkedAtMs, healthy)]]), clock.monotonicMs());
    };
    const offsetMs = clock.nowMs() - clock.monotonicMs();
    at(offsetMs - 300, true);
    at(offsetMs - 300, true);
    at(offsetMs + 200, true);
    at(offsetMs + 200, true);
    at(offsetMs + 700, false);
    const [batch] = log.take();
    expect(batch).toMatchObject({ name: 'health.checked', subject: 'west' });
    // The first report is older than the run: how many came before it, nobody saw.
    expect(batch?.data['us-east-1 127.0.0.1']).toBe('200.0+ 700.0-');
    at(offsetMs + 700, false);
    expect(log.take()).toEqual([]);
  });
});

const bracket = { minMs: 10, maxMs: 20 };

const pod = (uid: string, changes: Partial<Pod> & { readonly restarts?: number } = {}): Pod => ({
  name: `llm-${uid}`,
  namespace: 'platform',
  uid,
  resourceVersion: '1',
  node: 'node-a',
  zone: 'a',
  labels: { app: 'llm' },
  annotations: {},
  phase: 'Running',
  ready: true,
  deleting: false,
  createdAt: '',
  containers: [{ name: 'llm', id: 'lab://1', ready: true, restartCount: changes.restarts ?? 0, startedAt: '' }],
  ...changes,
});
const pods = (...list: readonly Pod[]): ReadonlyMap<string, Pod> => new Map(list.map((one) => [one.uid, one]));
const namesOf = (before: ReadonlyMap<string, Pod>, now: ReadonlyMap<string, Pod>): readonly string[] =>
  podChanges(before, now, bracket).map((change) => `${change.name} ${change.subject}`);

describe('what happened to pods between two looks', () => {
  it('sees a kill and its replacement, and the zone that lost a replica', () => {
    expect(namesOf(pods(pod('1'), pod('2')), pods(pod('2'), pod('3', { ready: false })))).toEqual([
      'pod.not-ready llm-1',
      'pod.deleted llm-1',
      'replicas.changed a',
    ]);
    expect(namesOf(pods(pod('3', { ready: false })), pods(pod('3')))).toEqual([
      'pod.ready llm-3',
      'replicas.changed a',
    ]);
  });

  it('sees a restart even where both looks found the pod ready', () => {
    expect(namesOf(pods(pod('1')), pods(pod('1', { restarts: 1 })))).toEqual([
      'pod.restarted llm-1',
      'pod.not-ready llm-1',
      'pod.ready llm-1',
    ]);
  });

  it('counts a pod that is being deleted as out of rotation', () => {
    expect(namesOf(pods(pod('1')), pods(pod('1', { deleting: true })))[0]).toBe('pod.not-ready llm-1');
  });

  it('says nothing when nothing changed, and puts its bracket on what did', () => {
    expect(namesOf(pods(pod('1')), pods(pod('1')))).toEqual([]);
    expect(podChanges(pods(pod('1')), pods(), bracket)[0]).toMatchObject(bracket);
  });
});

const database = (changes: Partial<DatabaseInstance> = {}): DatabaseInstance => ({
  id: 'db',
  arn: 'arn',
  status: 'available',
  zone: 'a',
  secondaryZone: 'b',
  multiZone: true,
  endpoint: 'db.rds',
  source: null,
  replicas: [],
  ...changes,
});
const databaseNames = (before: Partial<DatabaseInstance>, now: Partial<DatabaseInstance>): readonly string[] =>
  databaseChanges(database(before), database(now), bracket).map((change) => change.name);

describe('what happened to a database between two looks', () => {
  it('tells unavailability, failover, availability and redundancy apart', () => {
    expect(databaseNames({}, { status: 'failing-over' })).toEqual(['database.unavailable']);
    expect(databaseNames({ status: 'failing-over' }, { zone: 'b', secondaryZone: null })).toEqual([
      'database.failover',
      'database.available',
    ]);
    expect(databaseNames({ secondaryZone: null }, {})).toEqual(['redundancy.restored']);
  });

  it('sees a replica become a primary', () => {
    const before = { source: 'other', secondaryZone: null, multiZone: false };
    expect(databaseNames(before, { ...before, source: null })).toEqual(['database.failover']);
  });
});
