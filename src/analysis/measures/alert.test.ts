import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Observation } from '../../core/observation.ts';
import {
  bad,
  named,
  podFault,
  recordOf,
  regionFault,
  type Script,
  seen,
  served,
  targetOf,
  within,
  zoneFault,
} from '../../testing/simulated-record.ts';
import { shareCrossing } from '../alert-conditions.ts';
import { analyse } from '../analyse.ts';
import type { Target } from '../record.ts';

type Streams = Parameters<typeof recordOf>[0];
type Changes = Parameters<typeof recordOf>[1];

const judged = (target: Target, streams: Streams, changes: Changes = {}) => {
  const row = analyse(recordOf(streams, { ...changes, targets: [target] })).targets[0];
  if (row === undefined) throw new Error('no row');
  return row;
};

const chats = (near: Script): Streams => [
  [named('chat', 'chat', 'near'), near],
  [named('chat', 'chat', 'far'), () => served('east', 'east-a')],
];
const west: Script = (atMs) => served('west', atMs % 100 === 0 ? 'west-a' : 'west-b');
const watched = (firing = ''): Observation => seen('alert.watched', 'alertmanager', -59_000, -58_990, { firing });
const fired = (name: string, minMs: number, maxMs: number, receiver: string, more: Observation['data'] = {}) =>
  seen('alert.fired', name, minMs, maxMs, { receiver, labels: '', description: 'it is high', ...more });

describe('when a share rises above its limit within a window', () => {
  it('is when as many hits had ended as it takes, and not before they were sent', () => {
    // A probe every 10 ms that takes 5 ms; from 1,000 ms on all of them are hits.
    const hits = Array.from({ length: 200 }, (_, index) => {
      return { sentMs: index * 10, atMs: index * 10 + 5, isHit: index >= 100 };
    });
    const found = shareCrossing(hits, 500, 0.05, 900, 0);
    // 3 of 50.
    expect(found).toMatchObject({ episode: { began: { minMs: 1020, maxMs: 1025 }, heldToMs: 1995 }, largest: 1 });
    expect(shareCrossing(hits.slice(0, 102), 500, 0.05, 900, 0)).toEqual({ episode: undefined, largest: 0.04 });
  });

  it('contains the instant at which any order of answers would have it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ isHit: fc.boolean(), tookMs: fc.nat(300) }), { minLength: 30, maxLength: 90 }),
        (all) => {
          const hits = all.map(({ isHit, tookMs }, index) => ({
            sentMs: index * 20,
            atMs: index * 20 + tookMs,
            isHit,
          }));
          const { episode } = shareCrossing(hits, 10_000, 0.3, 0, 0);
          if (episode === undefined) return;
          const { began } = episode;
          expect(began.minMs).toBeLessThanOrEqual(began.maxMs);
          // Of the hits that were sent before the lower end there were too few, even had all of them counted at once.
          const ended = hits.filter(({ atMs }) => atMs <= began.maxMs);
          const needed = ended.filter(({ isHit }) => isHit).length;
          expect(hits.filter(({ isHit, sentMs }) => isHit && sentMs < began.minMs).length).toBeLessThan(needed);
        },
      ),
    );
  });
});

describe('error-rate-alert', () => {
  const target = targetOf('error-rate-alert', { with: { alert: 'HighErrorRate', receiver: 'page' } });
  const down: Script = (atMs) => (within(atMs, 40_100, 60_000) ? bad('503', atMs) : west(atMs));
  const page = (minMs: number, maxMs: number, receiver = 'page') => fired('HighErrorRate', minMs, maxMs, receiver);
  const rowOf = (...observations: readonly Observation[]) => judged(target, chats(down), { observations });

  it('runs from the crossing that clients saw to the page, and passes within a scrape and an evaluation', () => {
    const row = rowOf(watched(), page(40_600, 40_900));
    // 10 s of 40 probes a second: four failures are above 1 %; the fourth was sent at 40,250, answered at 40,270.
    expect(row).toMatchObject({ verdict: 'PASS', real: { minMs: 330, maxMs: 650 } });
    expect(row.reason).toContain('HighErrorRate fired within 30.0 s');
    expect(row.notes.join()).toContain('errors are those that clients saw');
  });

  it('fails when nobody was told, when it came late, and when it went to somebody else', () => {
    expect(rowOf(watched())).toMatchObject({
      verdict: 'FAIL',
      reason: expect.stringContaining('HighErrorRate did not fire'),
    });
    expect(rowOf(watched(), page(44_000, 44_200)).verdict).toBe('FAIL');
    expect(rowOf(watched(), page(41_000, 41_500)).verdict).toBe('INCONCLUSIVE');
    expect(rowOf(watched(), page(40_600, 40_900, 'slack')).reason).toContain('went to slack instead of page');
  });

  it('fails when it fired before anything was wrong', () => {
    expect(rowOf(watched(), page(0, 200), page(40_600, 40_900))).toMatchObject({
      verdict: 'FAIL',
      reason: expect.stringContaining('before the fault'),
    });
  });

  it('never takes an Alertmanager that was not seen for a silent one', () => {
    expect(rowOf()).toMatchObject({ verdict: 'NOT MEASURED', reason: expect.stringContaining('no Alertmanager') });
    const unseen = seen('alert.unseen', 'alertmanager', 45_000, 70_000);
    expect(rowOf(watched(), unseen)).toMatchObject({ verdict: 'INCONCLUSIVE' });
    expect(rowOf(watched('HighErrorRate RegionDown'))).toMatchObject({
      verdict: 'NOT MEASURED',
      reason: expect.stringContaining('fired already'),
    });
  });

  it('is not measured when the errors stayed below, or were gone before anybody could evaluate', () => {
    expect(judged(target, chats(west), { observations: [watched()] })).toMatchObject({
      verdict: 'NOT MEASURED',
      reason: expect.stringContaining('at most 0 % of chat probes failed in 5 min; HighErrorRate was silent'),
    });
    expect(judged(target, chats(west), { observations: [watched(), page(41_000, 41_200)] }).verdict).toBe(
      'INCONCLUSIVE',
    );
  });

  it('allows for what a lab cannot do faster, and says which scale resolves it', () => {
    const stretches = { alerting: { maxMs: 5000, scale: 20 } };
    const late = { observations: [watched(), page(44_000, 44_200)], stretches };
    expect(judged(target, chats(down), late)).toMatchObject({
      verdict: 'INCONCLUSIVE',
      reason: expect.stringContaining('--time-scale 20 resolves it'),
    });
  });
});

describe('latency-alert', () => {
  const target = targetOf('latency-alert', { with: { alert: 'HighLatency', receiver: 'slack' } });
  const late =
    (every: number): Script =>
    (atMs) => {
      const tookMs = within(atMs, 40_100, 90_000) && atMs % (50 * every) === 0 ? 800 : 20;
      return { ...west(atMs), firstByteMs: atMs + tookMs, endedMs: atMs + tookMs + 10 };
    };
  const slack = fired('HighLatency', 44_000, 44_300, 'slack');

  it('passes when Slack hears of a p95 above the limit', () => {
    const row = judged(target, [[named('chat', 'chat', 'near'), late(2)]], {
      faults: [podFault({ fault: 'pod.network-latency' })],
      observations: [watched(), fired('HighLatency', 41_850, 41_950, 'slack')],
    });
    expect(row.verdict).toBe('PASS');
    expect(row.reason).toContain('the p95 of the time to first token was above 700 ms');
  });

  it('is not measured while no more than 5 % are late, and says that the limit is real time', () => {
    const few = judged(target, [[named('chat', 'chat', 'near'), late(25)]], { observations: [watched()] });
    expect(few).toMatchObject({ verdict: 'NOT MEASURED', reason: expect.stringContaining('real time') });
    const streams: Streams = [[named('chat', 'chat', 'near'), late(25)]];
    expect(judged(target, streams, { observations: [watched(), slack] }).verdict).toBe('INCONCLUSIVE');
  });
});

describe('health-alert', () => {
  const target = targetOf('health-alert', { with: { alert: 'RegionDown', receiver: 'page', failures: 3 } });
  const checked = (text: string): Observation =>
    seen('health.checked', 'west', 30_000, 100_000, {
      configured: 'every 10 s, 3 failures',
      looksEveryMs: 50,
      checker: text,
    });
  const removed = seen('health.failed', 'west', 41_100, 41_200);
  const failing = checked('39900+ 40400+ 40800+ 41200- 41600- 42000- 95000+');
  const rowOf = (...observations: readonly Observation[]) =>
    judged(target, chats(west), { faults: [regionFault()], observations: [watched(), ...observations] });
  const page = (minMs: number, maxMs: number, region = 'west') => fired('RegionDown', minMs, maxMs, 'page', { region });

  it('runs from the fourth failure, one check after the removal, and says so', () => {
    const row = rowOf(removed, failing, page(41_700, 42_000));
    expect(row).toMatchObject({ verdict: 'PASS', real: { minMs: 95, maxMs: 405 } });
    expect(row.notes.join()).toContain('one check after the removal');
  });

  it('fails when it came at the third failure, or never, and does not count the alert of another region', () => {
    expect(rowOf(removed, failing, page(41_000, 41_300))).toMatchObject({ verdict: 'FAIL' });
    expect(rowOf(removed, failing)).toMatchObject({ verdict: 'FAIL' });
    expect(rowOf(removed, failing, page(41_700, 42_000, 'east'))).toMatchObject({ verdict: 'FAIL' });
  });

  it('is not measured when the region was not removed, or only just', () => {
    expect(rowOf(checked('39900+ 40400+ 40800+'))).toMatchObject({ verdict: 'NOT MEASURED' });
    expect(rowOf(removed, checked('39900+ 40400+ 40800+ 41200- 41600+')).reason).toContain('never more than 3');
  });
});

describe('lag-alert', () => {
  const target = targetOf('lag-alert', { with: { alert: 'DatabaseLagHigh', receiver: 'dba', lag: '30s' } });
  const partition = regionFault({ fault: 'region.partition', effective: { minMs: 40_000, maxMs: 40_100 } });
  const ledger: Streams = [
    ...chats(west),
    [named('postgres-ledger', 'postgres-ledger', 'near', { required: false }), west],
  ];
  const rowOf = (...observations: readonly Observation[]) =>
    judged(target, ledger, { faults: [partition], observations: [watched(), ...observations] });
  const alert = (minMs: number, maxMs: number) => fired('DatabaseLagHigh', minMs, maxMs, 'dba', { region: 'east' });

  it('runs from the lag that the partition must have made', () => {
    // Scale 30: 20 to 30 documented seconds after it are 667 to 1,000 real milliseconds.
    const row = rowOf(alert(41_200, 41_400));
    expect(row.verdict).toBe('PASS');
    expect(row.real?.minMs).toBeCloseTo(100, 6);
    expect(row.real?.maxMs).toBeCloseTo(733.33, 1);
  });

  it('fails below its limit, too late and never', () => {
    expect(rowOf(alert(40_300, 40_500)).verdict).toBe('FAIL');
    expect(rowOf(alert(44_000, 44_200)).verdict).toBe('FAIL');
    expect(rowOf().verdict).toBe('FAIL');
  });

  it('is not measured without a partition, without writes, or in one that was too short', () => {
    const changes = { observations: [watched()] };
    expect(judged(target, ledger, { ...changes, faults: [zoneFault()] }).reason).toContain('did not part replicas');
    expect(judged(target, chats(west), { ...changes, faults: [partition] }).reason).toContain('too few');
    const short = { ...partition, reverted: { minMs: 40_900, maxMs: 41_000 } };
    expect(judged(target, ledger, { ...changes, faults: [short] }).reason).toContain('did not last long enough');
    expect(
      judged({ ...target, with: { ...target.with, lag: '1h' } }, ledger, { ...changes, faults: [partition] }),
    ).toMatchObject({
      verdict: 'NOT MEASURED',
    });
  });
});
