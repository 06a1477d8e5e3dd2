import { describe, expect, it } from 'vitest';
import { reportSchema } from '../report/model.ts';
import {
  bad,
  named,
  recordOf,
  regionFault,
  type Script,
  seen,
  served,
  targetOf,
  within,
  zoneFault,
} from '../testing/simulated-record.ts';
import { analyse } from './analyse.ts';
import type { RunRecord } from './record.ts';

const well: Script = () => served('west', 'west-b');
const down =
  (fromMs: number, toMs: number): Script =>
  (atMs) =>
    within(atMs, fromMs, toMs) ? bad('timeout', atMs, 1000) : well(atMs);
const chats = (near: Script): Parameters<typeof recordOf>[0] => [
  [named('chat', 'chat', 'near'), near],
  [named('chat', 'chat', 'far'), () => served('east', 'east-a')],
];
const targets = [
  targetOf('outage', { id: 'az.disruption', maxMs: 120_000 }),
  targetOf('not-yet', { id: 'az.no-data-loss', maxCount: 0, with: { reason: 'needs the ledger' } }),
];
const record = (changes: Parameters<typeof recordOf>[1] = {}, near: Script = down(40_100, 42_100)): RunRecord =>
  recordOf(chats(near), { targets, ...changes });

describe('the report', () => {
  it('fits its published schema, and is the same to the byte for the same record', () => {
    const report = analyse(record());
    expect(reportSchema.parse(report)).toEqual(report);
    expect(JSON.stringify(analyse(record()))).toBe(JSON.stringify(report));
    expect(reportSchema.parse(JSON.parse(JSON.stringify(report)))).toEqual(report);
  });

  it('passes, and says what that certifies and what was not measured', () => {
    const report = analyse(record());
    expect(report).toMatchObject({ verdict: 'PASS', reason: '1 target met; 1 not measured' });
    expect(report.certifies).toContain('90 %: 29, 95 %: 59, 99 %: 299');
    expect(report.targets.map(({ verdict }) => verdict)).toEqual(['PASS', 'NOT MEASURED']);
    expect(report.baseline).toMatchObject({ holds: true });
    expect(report.outages[0]).toMatchObject({
      stream: 'chat/near/fresh',
      startedAt: '2026-01-01T00:01:40.100Z',
      startMs: 100_100,
      confirmed: true,
    });
  });

  it('gives instants from the start of the run', () => {
    const report = analyse(record());
    expect(report.phases[1]).toEqual({ name: 'inject', startMs: 99_500, endMs: 100_300 });
    expect(report.timeline.map(({ name }) => name)).toEqual(
      ['fault.effective', 'client.down', 'client.stable', 'fault.reverted', 'fault.bites'].toSorted(
        (a, b) =>
          report.timeline.findIndex((one) => one.name === a) - report.timeline.findIndex((one) => one.name === b),
      ),
    );
  });

  it('takes the outage apart', () => {
    const observations = [
      seen('health.failed', 'west', 40_600, 40_700),
      seen('decision', 'promote?', 41_000, 41_000, { by: 'auto' }),
      seen('redundancy.restored', 'db', 100_000, 100_100),
    ];
    const { decomposition } = analyse(record({ faults: [regionFault()], observations }));
    expect(decomposition).toHaveLength(1);
    const { durations, instants } = decomposition[0] ?? {};
    expect(instants?.detected).toEqual({ minMs: 100_600, maxMs: 100_700 });
    expect(durations?.outage?.estimateMs).toBe(2000);
    // Effective between the call at 40,000 and the first probe known to have failed at 41,100: wide, for a hang.
    expect(durations?.detect).toMatchObject({ minMs: 400, maxMs: 700 });
    expect(durations?.redundancy?.estimateMs).toBeGreaterThan(57_000);
  });
});

describe('a run is void', () => {
  it.each([
    ['when nothing was broken', { faults: [] }, 'nothing was broken'],
    [
      'when the fault had no effect',
      { faults: [zoneFault({ effective: null })] },
      'nothing shows that the fault had an effect',
    ],
    [
      'when the rollback is incomplete',
      {
        undo: {
          armed: 1,
          reverted: 0,
          outstanding: [{ fault: 'zone.blackhole', target: 'zone/west-a', reason: 'no answer' }],
        },
      },
      'the rollback is incomplete',
    ],
  ])('%s', (_what, changes, reason) => {
    const report = analyse(record(changes));
    expect(report.verdict).toBe('VOID');
    expect(report.reason).toContain(reason);
    expect(report.targets.every(({ verdict }) => verdict !== 'PASS')).toBe(true);
    expect(report.certifies).toBe('Nothing is certified by this run.');
  });

  it('when the baseline did not hold', () => {
    const report = analyse(record({}, (atMs) => (within(atMs, 30_000, 32_000) ? bad('503', atMs) : well(atMs))));
    expect(report).toMatchObject({ verdict: 'VOID', baseline: { holds: false } });
  });

  it.each([
    ['when it was down already at the injection', 39_500, 42_000],
    ['when it was down between baseline and injection', 39_100, 39_400],
  ])('%s', (_what, fromMs, toMs) => {
    const report = analyse(record({}, down(fromMs, toMs)));
    expect(report).toMatchObject({ verdict: 'VOID', reason: expect.stringContaining('was down already') });
  });

  it('not for an outage long before, when the steady state held since', () => {
    const script: Script = (atMs) => (within(atMs, -58_000, -56_000) ? bad('503', atMs) : down(40_100, 42_100)(atMs));
    expect(analyse(record({}, script)).verdict).toBe('PASS');
  });

  it('when a clock was stepped', () => {
    const second = {
      sender: 'near',
      atMs: 1000,
      sendLagP99Ms: 1,
      sendLagMaxMs: 2,
      eventLoopDelayMaxMs: 5,
      eventLoopUtilization: 0.1,
      cpuCores: 0.1,
      dropped: 0,
      inFlightMax: 3,
      clockStepMs: 5000,
      controlSent: 10,
      controlBad: 0,
    };
    expect(analyse(record({ instrument: [second] }))).toMatchObject({
      verdict: 'VOID',
      instrument: { trusted: false },
    });
  });
});

describe('other kinds of run', () => {
  it('an aborted run passes nothing', () => {
    const report = analyse(record({ ended: { reason: 'aborted', message: 'Ctrl-C' } }));
    expect(report.targets[0]).toMatchObject({ verdict: 'INCONCLUSIVE' });
    expect(report.targets[0]?.reason).toContain('the run was aborted: Ctrl-C');
  });

  it('a check passes when the steady state held', () => {
    const phases = [{ name: 'baseline', startMs: -60_000, endMs: 150_000 }];
    const check = { run: { kind: 'check' as const }, faults: [], targets: [], phases };
    expect(analyse(record(check, well)).verdict).toBe('PASS');
    expect(analyse(record(check)).verdict).toBe('FAIL');
  });

  it('an observation tells outages apart that are seconds apart, and judges nothing', () => {
    const script: Script = (atMs) => ((atMs + 60_000) % 20_000 < 3000 ? bad('refused', atMs) : {});
    const observe = { run: { kind: 'observe' as const }, faults: [], targets: [], phases: [] };
    const report = analyse(recordOf([[named('http', 'http', 'here'), script]], observe));
    expect(report.verdict).toBe('VOID');
    expect(report.outages).toHaveLength(11);
    expect(report.outages.slice(1, -1).every(({ flaps, client }) => flaps === 0 && client.estimateMs === 3000)).toBe(
      true,
    );
  });
});

describe('contradictions', () => {
  it('are printed when they bear on the run: written ones, conflicting numbers, regions that do not exist', () => {
    const places = {
      regions: [{ name: 'west', zones: ['west-a'] }],
      clients: [{ name: 'asia', prefers: ['nowhere', 'west'] }],
    };
    const also = [{ text: '60-120 s', maxMs: 120_000, source: 'detail' }];
    const report = analyse(
      record({
        places,
        targets: [
          targetOf('outage', { id: 'a', maxMs: 60_000, also }),
          targetOf('outage', { id: 'b', maxMs: 60_000, contradictions: ['An hour is not an hour.'] }),
          targetOf('dns-removal', { id: 'c', maxMs: 60_000 }),
        ],
      }),
    );
    expect(report.contradictions).toEqual([
      'An hour is not an hour.',
      'a is documented as 1 min (the documentation) and as 2 min (detail).',
      'nowhere is preferred for clients in asia but is no region of this environment.',
    ]);
  });
});
