import { describe, expect, it } from 'vitest';
import type { LedgerLine } from '../../probes/ledger/line.ts';
import type { Sample } from '../../probes/sample.ts';
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
} from '../../testing/simulated-record.ts';
import { analyse } from '../analyse.ts';
import type { RunRecord, Target } from '../record.ts';
import { measures } from './index.ts';

type Streams = Parameters<typeof recordOf>[0];
type Changes = Parameters<typeof recordOf>[1];

/** The judged row of one target, alone in a record. */
const judged = (target: Target, streams: Streams, changes: Changes = {}) => {
  const record: RunRecord = recordOf(streams, { ...changes, targets: [target] });
  const row = analyse(record).targets[0];
  if (row === undefined) throw new Error('no row');
  return row;
};

/** Chat of two locations; the one near the west is scripted, the other stays well. */
const chats = (near: Script): Streams => [
  [named('chat', 'chat', 'near'), near],
  [named('chat', 'chat', 'far'), () => served('east', 'east-a')],
];
const west: Script = (atMs) => served('west', atMs % 100 === 0 ? 'west-a' : 'west-b');
const downFrom =
  (fromMs: number, toMs: number, otherwise: Script = west): Script =>
  (atMs) =>
    within(atMs, fromMs, toMs) ? bad('timeout', atMs, 1000) : otherwise(atMs);

describe('outage', () => {
  const target = targetOf('outage', { maxMs: 120_000 });

  it('is judged at the worst location, in documented time, with its error', () => {
    const row = judged(target, chats(downFrom(40_100, 43_100)));
    expect(row).toMatchObject({ verdict: 'PASS', location: 'near' });
    expect(row.real).toMatchObject({ minMs: 2950, estimateMs: 3000, maxMs: 3050 });
    expect(row.observed).toMatchObject({ minMs: 88_500, estimateMs: 90_000, maxMs: 91_500 });
    expect(row.locations.map(({ location, verdict }) => `${location} ${verdict}`)).toEqual(['near PASS', 'far PASS']);
  });

  it('fails when even the best end misses', () => {
    expect(judged(target, chats(downFrom(40_100, 45_100))).verdict).toBe('FAIL');
  });

  it('is inconclusive when the bracket straddles, and says which scale would resolve it', () => {
    const row = judged(target, chats(downFrom(40_100, 44_080)));
    expect(row.verdict).toBe('INCONCLUSIVE');
    expect(row.reason).toContain('straddles 2 min');
  });

  it('is inconclusive while the recovery is not confirmed, unless it is too long already', () => {
    const late = judged(
      target,
      chats(downFrom(40_100, 41_000, (atMs) => (atMs > 60_000 ? bad('503', atMs) : west(atMs)))),
    );
    expect(late.verdict).toBe('FAIL');
    const cut = chats(downFrom(40_100, 42_000));
    const record = recordOf(cut, { targets: [target], faults: [regionFault({ reverted: null })] });
    const short = {
      ...record,
      samples: new Map([...record.samples].map(([key, list]) => [key, list.filter((one) => one.sentMs < 50_000)])),
    };
    expect(analyse(short).targets[0]).toMatchObject({ verdict: 'INCONCLUSIVE', observed: { maxMs: null } });
  });

  it('adds up the outages of one fault, and leaves out what came before and after', () => {
    const script = downFrom(40_100, 41_100, downFrom(73_000, 74_000, downFrom(110_000, 111_000)));
    const row = judged(target, chats(script));
    expect(row.real?.estimateMs).toBe(2000);
    expect(row.notes.join()).toContain('2 outages');
  });

  it('with no outage at all is below what the probes surely find', () => {
    const row = judged(target, chats(west));
    expect(row).toMatchObject({ verdict: 'PASS', real: { estimateMs: 0, minMs: 0, maxMs: 1150 } });
  });

  it('does not pass for what may hide in blind time', () => {
    const blind = [{ sender: 'near', fromMs: 50_000, toMs: 55_000, cause: 'event loop' }];
    const row = judged(target, chats(downFrom(40_100, 41_100)), { blind });
    expect(row.verdict).toBe('INCONCLUSIVE');
    expect(row.reason).toContain('may hide');
  });

  it('sets the outage against the error budget', () => {
    const row = judged({ ...target, with: { availability: 0.9999 } }, chats(downFrom(40_100, 44_000)));
    const share = row.figures.find(({ name }) => name.includes('budget'))?.value;
    expect(share).toBeCloseTo((3900 * 30) / 259_200, 3);
  });
});

const old = '7:00000001:5432:2026-01-01T00:00:00';
const next = '7:00000002:5433:2026-01-01T00:00:00';
const writes = (script: Script): Streams[number] => [
  named('postgres-ledger', 'postgres-ledger', 'near', { required: false }),
  script,
];

describe('database-failover', () => {
  const target = targetOf('database-failover', {
    maxMs: 60_000,
    also: [{ text: '60-120 s', maxMs: 120_000, source: 'detail' }],
  });
  const failing =
    (toMs: number): Script =>
    (atMs) =>
      within(atMs, 40_100, toMs) ? bad('refused', atMs) : { epoch: atMs < 40_100 ? old : next };

  it('runs from the fault to the first acknowledgement with a new epoch', () => {
    const row = judged(target, [...chats(west), writes(failing(41_600))]);
    expect(row.verdict).toBe('PASS');
    // Effective between the last good answer from the zone (40,100) and the first known failure (40,120).
    expect(row.real).toMatchObject({ minMs: 41_550 - 40_120, maxMs: 41_620 - 40_100 });
    expect(row.documented.also.map(({ verdict }) => verdict)).toEqual(['PASS']);
  });

  it('judges each documented number of its own', () => {
    const row = judged(target, [...chats(west), writes(failing(43_000))]);
    expect(row.verdict).toBe('FAIL');
    expect(row.documented.also.map(({ verdict }) => verdict)).toEqual(['PASS']);
  });

  it('is not measured when the database stayed where it was', () => {
    expect(judged(target, [...chats(west), writes(() => ({ epoch: old }))]).verdict).toBe('NOT MEASURED');
    expect(judged(target, chats(west)).reason).toContain('no postgres-ledger stream');
  });

  it('is at least as long as what was seen when nobody took over', () => {
    const never: Script = (atMs) => (atMs < 40_100 ? { epoch: old } : bad('refused', atMs));
    expect(judged(target, [...chats(west), writes(never)])).toMatchObject({
      verdict: 'FAIL',
      observed: { maxMs: null },
    });
  });
});

describe('shares', () => {
  it('goodput counts what is served once the rest carries the load', () => {
    const target = targetOf('goodput', { minShare: 0.5, with: { from: 'recovery' } });
    const row = judged(target, chats(downFrom(40_100, 42_100)));
    expect(row).toMatchObject({ verdict: 'PASS', share: { estimate: 1 } });
    expect(row.notes.join()).toContain('full load');
    const down: Script = (atMs) => (within(atMs, 40_100, 95_000) ? bad('503', atMs) : west(atMs));
    expect(judged(target, chats(down)).reason).toContain('did not recover while the fault lasted');
  });

  it('goodput fails when less than half is served', () => {
    const script: Script = (atMs) => (within(atMs, 40_000, 90_000) && atMs % 200 !== 0 ? bad('503', atMs) : west(atMs));
    const row = judged(targetOf('goodput', { minShare: 0.5 }), chats(script));
    expect(row.verdict).toBe('FAIL');
    expect(row.share?.estimate).toBeCloseTo(0.25, 2);
  });

  it('goodput is set against the steady state that held, not against an outage before it', () => {
    const rough: Script = (atMs) => (within(atMs, 1000, 6000) ? bad('503', atMs) : west(atMs));
    const row = judged(targetOf('goodput', { minShare: 0.5 }), chats(rough));
    expect(row.share?.estimate).toBeCloseTo(1, 2);
  });

  it('throughput loss of a tenth passes plus its error, a fifth fails', () => {
    const losing =
      (every: number): Script =>
      (atMs) =>
        within(atMs, 40_000, 90_000) && atMs % (50 * every) === 0 ? bad('503', atMs) : west(atMs);
    const target = targetOf('throughput-loss', { maxShare: 0.1 });
    const tenth = judged(target, chats(losing(11)), { faults: [podFault()] });
    expect(tenth.verdict).toBe('PASS');
    // The bracket stays what was measured: it is the promise that allows for its error.
    expect(tenth.share?.max).toBeGreaterThan(0.1);
    expect(judged(target, chats(losing(5)), { faults: [podFault()] }).verdict).toBe('FAIL');
  });

  it('throughput better than the baseline keeps its error: a bracket without width would claim to know exactly', () => {
    const strays: Script = (atMs) => (atMs < 40_000 && atMs % 2500 === 0 ? bad('503', atMs) : west(atMs));
    const { share } = judged(targetOf('throughput-loss', { maxShare: 0.1 }), chats(strays), { faults: [podFault()] });
    if (share === null) throw new Error('no share');
    expect(share.max - share.min).toBeGreaterThan(0.005);
    expect(share.estimate).toBeCloseTo(-0.02, 2);
    expect(share.min).toBeLessThanOrEqual(share.estimate);
    expect(share.estimate).toBeLessThanOrEqual(share.max);
  });

  it('served-share counts the retrying clients of the broken region', () => {
    const target = targetOf('served-share', { minShare: 0.99, with: { stream: 'chat-retry' } });
    const retry = (script: Script): Streams => [
      ...chats(west),
      [named('chat-retry', 'chat', 'near', { required: false }), script],
    ];
    expect(judged(target, retry(west))).toMatchObject({ verdict: 'PASS', share: { estimate: 1 } });
    expect(judged(target, retry(downFrom(40_100, 42_100))).verdict).toBe('FAIL');
    expect(judged(target, chats(west)).reason).toContain('no stream named chat-retry');
  });

  it('drain-back finds the worst stretch, and insists that traffic came back', () => {
    const target = targetOf('drain-back', { maxShare: 0.01 });
    const back: Script = (atMs) => served('west', atMs > 100_000 ? 'west-a' : 'west-b');
    expect(judged(target, chats(back)).verdict).toBe('PASS');
    expect(judged(target, chats(downFrom(95_000, 97_000, back))).verdict).toBe('FAIL');
    const never: Script = (atMs) => served('west', atMs < 40_000 ? 'west-a' : 'west-b');
    const row = judged(target, chats(never));
    expect(row.verdict).toBe('INCONCLUSIVE');
    expect(row.notes.join()).toContain('has not returned');
  });
});

describe('capacity and hands', () => {
  it('scale-out needs a rise in a zone that survived', () => {
    const target = targetOf('scale-out', { with: { app: 'llm' } });
    const rise = seen('replicas.changed', 'west-b', 45_000, 45_100, { app: 'llm', ready: 6, before: 5 });
    const fall = seen('replicas.changed', 'west-b', 45_000, 45_100, { app: 'llm', ready: 4, before: 5 });
    expect(judged(target, chats(west), { observations: [rise] })).toMatchObject({
      verdict: 'PASS',
      real: { maxMs: 5000 },
    });
    expect(judged(target, chats(west), { observations: [fall] }).verdict).toBe('NOT MEASURED');
    expect(judged(target, chats(west), { observations: [fall], facts: { 'autoscaler.available': true } }).verdict).toBe(
      'FAIL',
    );
  });

  it('counts each manual step once', () => {
    const target = targetOf('hands', { maxCount: 0 });
    expect(judged(target, chats(west)).verdict).toBe('PASS');
    const observations = [
      seen('decision', 'promote?', 50_000, 50_000, { by: 'auto' }),
      seen('hands.needed', 'promote?', 45_000, 50_000, { by: 'auto' }),
    ];
    expect(judged(target, chats(west), { observations })).toMatchObject({ verdict: 'FAIL', count: 1 });
  });
});

const answers = (location: string, home: string, away: string, fromMs: number, toMs: number): Streams[number] => [
  named('dns', 'dns', location, { everyMs: 200, required: false }),
  (atMs) => ({ answer: within(atMs, fromMs, toMs) ? away : home }),
];

describe('regions', () => {
  const faults = [regionFault()];
  const away = downFrom(40_100, 41_400, (atMs) =>
    within(atMs, 41_400, 100_000) ? served('east', 'east-a') : west(atMs),
  );

  it('dns-removal ends when the answers change for good', () => {
    const row = judged(
      targetOf('dns-removal', { maxMs: 45_000 }),
      [...chats(away), answers('near', 'west', 'east', 41_200, 100_000)],
      { faults },
    );
    expect(row).toMatchObject({ verdict: 'PASS', location: 'near', real: { maxMs: 1220 } });
    expect(row.notes.join()).toContain('black-holed');
    const never = judged(
      targetOf('dns-removal', { maxMs: 45_000 }),
      [...chats(away), answers('near', 'west', 'east', 0, 0)],
      { faults },
    );
    expect(never.verdict).toBe('FAIL');
  });

  it("promotion tells people's share from the machine's", () => {
    const epochs: Script = (atMs) =>
      within(atMs, 40_100, 55_000) ? bad('refused', atMs) : { epoch: atMs < 40_100 ? old : next };
    const observations = [
      seen('health.failed', 'west', 41_000, 41_100),
      seen('decision', 'promote?', 51_000, 51_000, { by: 'auto' }),
    ];
    const row = judged(targetOf('promotion', { maxMs: 300_000 }), [...chats(away), writes(epochs)], {
      faults,
      observations,
    });
    expect(row.verdict).toBe('FAIL');
    const share = (name: string) => Number(row.figures.find((one) => one.name === name)?.value);
    expect(share("people's share")).toBeCloseTo(9950, 0);
    expect(share("machine's share")).toBeGreaterThan(3900);
  });

  it('switch-errors ends with the switch, not with the outage of the database', () => {
    const script: Script = (atMs) =>
      within(atMs, 40_100, 41_400)
        ? bad('timeout', atMs, 1000)
        : within(atMs, 41_400, 60_000)
          ? { ...bad('503', atMs), region: 'east' }
          : west(atMs);
    const streams = [...chats(script), answers('near', 'west', 'east', 41_300, 100_000)];
    const row = judged(targetOf('switch-errors', { maxMs: 60_000 }), streams, { faults });
    expect(row).toMatchObject({ verdict: 'PASS', location: 'near' });
    expect(row.real?.estimateMs).toBe(1350);
  });

  it('latency-shift reports both sides of the switch', () => {
    const slower: Script = (atMs) => {
      const sample: Partial<Sample> = away(atMs);
      return sample.region === 'east'
        ? { ...sample, firstByteMs: atMs + 60 }
        : { ...sample, ...(sample.outcome === 'bad' ? {} : { firstByteMs: atMs + 10 }) };
    };
    const row = judged(targetOf('latency-shift'), chats(slower), { faults });
    expect(row.verdict).toBe('PASS');
    expect(row.figures.find(({ name }) => name === 'near p50 before')?.value).toBe(10);
    expect(row.figures.find(({ name }) => name === 'near p50 after')?.value).toBe(60);
  });

  it('failback waits for redundancy and for every location', () => {
    const target = targetOf('failback', { maxMs: 4 * 3_600_000 });
    const observations = [seen('redundancy.restored', 'db', 120_000, 120_500)];
    const row = judged(target, chats(away), { faults, observations });
    expect(row).toMatchObject({ verdict: 'PASS', real: { maxMs: 30_500 } });
    expect(judged(target, chats(away), { faults, facts: { 'settled.db': false } }).verdict).toBe('INCONCLUSIVE');
    expect(judged(target, chats(away), { faults }).verdict).toBe('NOT MEASURED');
  });

  it('quorum counts who was elected without a majority, and believes in none that was not tried', () => {
    const target = targetOf('quorum', { maxCount: 0, with: { ledger: 'postgres-ledger' } });
    expect(judged(target, chats(west)).verdict).toBe('NOT MEASURED');
    const stream = named('ledger', 'postgres-ledger', 'near', { required: false, everyMs: 1000 });
    const write = (seq: number, atMs: number, epoch: string): readonly LedgerLine[] => [
      { kind: 'invoke', seq, atMs },
      { kind: 'end', seq, atMs: atMs + 50, out: 'ok', code: 'ok', epoch },
    ];
    const read = { kind: 'read', copy: null, final: true, code: 'ok', since: 0, seen: '0-2' } as const;
    const ends = [141_000, 142_000].map((atMs): LedgerLine => ({ ...read, startMs: atMs, endMs: atMs + 10 }));
    const places = {
      regions: ['west', 'east', 'north'].map((name) => ({ name, zones: [`${name}-a`] })),
      clients: [],
    };
    const run = (elected: { zone: string; from: string } | undefined, last: string) =>
      judged(target, [...chats(west), [stream, () => ({})]], {
        places,
        faults: [regionFault({ fault: 'region.partition', target: 'partition/west' })],
        observations: elected === undefined ? [] : [seen('database.elected', 'billing', 50_000, 50_900, elected)],
        ledgers: new Map([
          [stream.stream, [...write(0, 30_000, old), ...write(1, 52_000, next), ...write(2, 60_000, last), ...ends]],
        ]),
      });
    const well = run({ zone: 'east-a', from: 'west-a' }, next);
    expect(well).toMatchObject({ verdict: 'PASS', count: 0 });
    expect(well.reason).toContain('the others elected a writer of billing in east');
    expect(run({ zone: 'east-a', from: 'west-a' }, old)).toMatchObject({ verdict: 'FAIL', count: 1 });
    expect(run({ zone: 'west-a', from: 'east-a' }, next)).toMatchObject({ verdict: 'FAIL', count: 1 });
    expect(run(undefined, next)).toMatchObject({ verdict: 'INCONCLUSIVE', count: 0 });
  });

  it('read-only hears a replica refuse, counts what it takes, and stops counting at its promotion', () => {
    const target = targetOf('read-only', { maxCount: 0 });
    const replica = (script: Script): Streams[number] => [
      named('replica', 'postgres-ledger', 'near', { required: false, everyMs: 250 }),
      script,
    ];
    const refusing: Script = (atMs) => bad('25006', atMs);
    expect(judged(target, chats(west)).verdict).toBe('NOT MEASURED');
    const row = judged(target, [...chats(west), replica(refusing)]);
    expect(row).toMatchObject({ verdict: 'PASS', count: 0 });
    expect(row.reason).toContain('were refused as read-only');
    const taking: Script = (atMs) => (within(atMs, 60_000, 61_000) ? { epoch: next } : bad('25006', atMs));
    expect(judged(target, [...chats(west), replica(taking)])).toMatchObject({ verdict: 'FAIL', count: 4 });
    const silent = judged(target, [...chats(west), replica((atMs) => bad('timeout', atMs, 1000))]);
    expect(silent.verdict).toBe('INCONCLUSIVE');
    const promoted = seen('database.failover', 'conversations-east', 59_000, 59_900, { promoted: true });
    const changes: Changes = { observations: [promoted] };
    expect(judged(target, [...chats(west), replica(taking)], changes)).toMatchObject({ verdict: 'PASS', count: 0 });
  });

  it('one-primary proves two primaries, and does not believe in silence', () => {
    const target = targetOf('one-primary', { maxCount: 0 });
    const moved: Script = (atMs) => ({ epoch: atMs < 45_000 ? old : next });
    const split: Script = (atMs) => ({ epoch: atMs < 45_000 || within(atMs, 60_000, 60_500) ? old : next });
    expect(judged(target, [...chats(west), writes(split)])).toMatchObject({ verdict: 'FAIL', count: 10 });
    expect(judged(target, [...chats(west), writes(moved)]).verdict).toBe('INCONCLUSIVE');
    // Tried at the old primary itself: gone with its region, refusing once it is back, primary again after 140 s.
    const direct = (script: Script): Streams[number] => [
      named('old-primary', 'postgres-ledger', 'near', { required: false, everyMs: 250 }),
      (atMs) => (atMs < 41_000 ? { epoch: old } : atMs < 90_000 ? bad('timeout', atMs, 1000) : script(atMs)),
    ];
    const home = '7:00000003:5432:2026-01-01T01:00:00';
    const tried = (script: Script) =>
      judged(target, [
        ...chats(west),
        writes((atMs) => (atMs < 140_000 ? moved(atMs) : { epoch: home })),
        direct(script),
      ]);
    const refusing = tried((atMs) =>
      atMs < 100_000 ? bad('reset', atMs) : atMs < 140_000 ? bad('25006', atMs) : { epoch: home },
    );
    expect(refusing).toMatchObject({ verdict: 'PASS', count: 0 });
    expect(refusing.reason).toContain('160 of 200 writes tried at the old primary itself were refused');
    expect(refusing.figures.find(({ name }) => name === 'first refusal after')?.value).toBe(10_020);
    const silent = tried((atMs) => (atMs < 140_000 ? bad('timeout', atMs, 1000) : { epoch: home }));
    expect(silent.verdict).toBe('INCONCLUSIVE');
    expect(silent.notes.join()).toContain('never heard to refuse');
    const full = tried((atMs) => (atMs < 140_000 ? bad('53300', atMs) : { epoch: home }));
    expect(full.verdict).toBe('INCONCLUSIVE');
    const taking = tried((atMs) => (within(atMs, 95_000, 96_000) ? { epoch: old } : bad('25006', atMs)));
    expect(taking).toMatchObject({ verdict: 'FAIL', count: 4 });
    expect(judged(target, [...chats(west), writes(() => ({ epoch: old }))]).verdict).toBe('PASS');
    expect(judged(target, chats(west)).verdict).toBe('NOT MEASURED');
  });

  it('a stream that is served from elsewhere proves it', () => {
    const target = targetOf('serves', { with: { stream: 'health', proves: 'vectors' } });
    const health = (script: Script): Streams[number] => [
      named('health', 'health', 'near', { required: false }),
      script,
    ];
    expect(judged(target, [...chats(away), health(away)], { faults }).verdict).toBe('PASS');
    const gone = downFrom(40_100, 90_000);
    expect(judged(target, [...chats(away), health(gone)], { faults }).verdict).not.toBe('PASS');
    expect(judged(target, chats(away), { faults }).reason).toContain('no probe named health');
  });

  it('a stream too slow to confirm a recovery still proves that it was served, whatever the way home was like', () => {
    const target = targetOf('serves', { with: { stream: 'health', proves: 'vectors' } });
    const slowly = (script: Script): Streams[number] => [
      named('health', 'health', 'near', { required: false, everyMs: 1000 }),
      script,
    ];
    const switched = downFrom(40_100, 44_500, away);
    const homeward: Script = (atMs) => (within(atMs, 95_000, 110_000) ? bad('503', atMs) : switched(atMs));
    const row = judged(target, [...chats(away), slowly(homeward)], { faults });
    expect(row).toMatchObject({ verdict: 'PASS' });
    expect(row.reason).toContain('from east');
    expect(row.figures.find(({ name }) => name === 'near answered from elsewhere after')).toMatchObject({ unit: 'ms' });
    const flickering: Script = (atMs) => (atMs > 60_000 && atMs % 2000 === 0 ? bad('503', atMs) : away(atMs));
    expect(judged(target, [...chats(away), slowly(flickering)], { faults }).verdict).toBe('FAIL');
    const once: Script = (atMs) => (within(atMs, 41_000, 86_000) ? bad('timeout', atMs, 1000) : away(atMs));
    expect(judged(target, [...chats(away), slowly(once)], { faults }).verdict).toBe('INCONCLUSIVE');
  });
});

describe('pods', () => {
  const faults = [podFault()];
  const observations = [
    seen('pod.not-ready', 'llm-1', 40_050, 40_200),
    seen('pod.ready', 'llm-9', 45_000, 45_100, { app: 'llm' }),
  ];
  const pod: Script = (atMs) => ({
    region: 'west',
    zone: 'west-a',
    pod: atMs > 45_500 && atMs % 500 === 0 ? 'llm-9' : 'llm-2',
  });

  it('detection ends when the pod is out of rotation', () => {
    const target = targetOf('pod-detection', { maxMs: 10_000 });
    expect(judged(target, chats(pod), { faults, observations })).toMatchObject({
      verdict: 'PASS',
      real: { maxMs: 200 },
    });
    expect(judged(target, chats(pod), { faults })).toMatchObject({ verdict: 'FAIL', observed: { maxMs: null } });
    expect(judged(target, chats(pod), { observations }).verdict).toBe('NOT MEASURED');
  });

  it('replacement ends with the first good answer of the new pod', () => {
    const row = judged(targetOf('replacement', { maxMs: 200_000 }), chats(pod), { faults, observations });
    expect(row).toMatchObject({ verdict: 'PASS', real: { minMs: 4800, maxMs: 6020 } });
    const silent: Script = () => ({ region: 'west', zone: 'west-a', pod: 'llm-2' });
    expect(judged(targetOf('replacement', { maxMs: 200_000 }), chats(silent), { faults, observations }).verdict).toBe(
      'INCONCLUSIVE',
    );
  });

  it('retry-delay looks at what was in flight', () => {
    const target = targetOf('retry-delay', { maxMs: 10_000 });
    const delayed: Script = (atMs) => ({ ...pod(atMs), ...(atMs === 40_050 ? { endedMs: atMs + 220 } : {}) });
    expect(judged(target, chats(delayed), { faults, observations })).toMatchObject({
      verdict: 'PASS',
      real: { estimateMs: 200 },
    });
    const lost: Script = (atMs) => (atMs === 40_050 ? bad('reset', atMs) : pod(atMs));
    expect(judged(target, chats(lost), { faults, observations }).verdict).toBe('FAIL');
  });
});

describe('health and routes', () => {
  /** Two checkers of the region west: a check every `everyMs`, and from 40.2 s on one failure every 1.1 s. */
  const checked = (everyMs: number, failuresAtTurn: number, looksEveryMs = 200): RunRecord['observations'] =>
    [0, 130].map((phaseMs, checker) => {
      const times: string[] = [];
      for (let atMs = 10_000 + phaseMs; atMs < 40_000; atMs += everyMs) times.push(`${atMs}+`);
      for (let failure = 1; failure < 8; failure += 1) {
        times.push(`${40_200 + phaseMs + failure * 1100}${failure >= failuresAtTurn ? '-' : '+'}`);
      }
      const data = { configured: 'every 10 s, 3 failures', looksEveryMs, [`127.0.0.${checker}`]: times.join(' ') };
      return seen('health.checked', 'west', 10_000, 50_000, data);
    });

  it.each([
    ['as documented', checked(335, 3), 'PASS', '3 failures in a row removed'],
    ['checks too seldom', checked(500, 3), 'FAIL', 'every 15.0 s of documented time, not every 10.0 s'],
    ['a region removed after two failures', checked(335, 2), 'FAIL', '2 failures in a row removed'],
    ['a region removed after four failures', checked(335, 4), 'FAIL', '4 failures in a row removed'],
    // The reports are those of the checks, not of a verdict: they say nothing about how many it takes.
    ['a first failure that reads as one', checked(335, 1), 'INCONCLUSIVE', 'how many failures'],
    ['no failure at all', checked(335, 99), 'INCONCLUSIVE', 'how many failures'],
    ['looks as rare as the checks', checked(335, 3, 330), 'INCONCLUSIVE', 'too rare to tell'],
    ['nobody who reports', [], 'NOT MEASURED', 'no checker'],
  ])('health-period with %s', (_what, observations, verdict, reason) => {
    const target = targetOf('health-period', { with: { period: '10s', failures: 3 } });
    const row = judged(target, chats(west), { observations, faults: [regionFault()] });
    expect(row.verdict).toBe(verdict);
    expect(row.reason).toContain(reason);
  });

  it('health-period counts what it rests on, and says that two failures were tolerated', () => {
    const target = targetOf('health-period', { with: { period: '10s', failures: 3 } });
    const row = judged(target, chats(west), { observations: checked(335, 3), faults: [regionFault()] });
    const value = (name: string) => row.figures.find((one) => one.name === name)?.value;
    expect(value('period')).toBeCloseTo(335, 6);
    expect(value('times between two checks')).toBeGreaterThan(150);
    expect(value('failures at removal')).toBe('3');
    expect(value('failures tolerated')).toBe(2);
    expect(row.notes.join()).not.toContain('not tried');
  });

  it('health-period does not take a check that nobody saw for a longer period, nor for a failure less', () => {
    const target = targetOf('health-period', { with: { period: '10s', failures: 3 } });
    const holed = checked(335, 3).map((one) => ({
      ...one,
      data: Object.fromEntries(
        Object.entries(one.data).map(([key, value]) => {
          const times = String(value).split(' ');
          const kept = times.filter((_time, index) => index % 5 !== 0);
          return [key, key.startsWith('127') ? kept.join(' ') : value];
        }),
      ),
    }));
    const row = judged(target, chats(west), { observations: holed, faults: [regionFault()] });
    expect(row.figures.find((one) => one.name === 'period')?.value).toBeCloseTo(335, 6);
    expect(row.figures.find((one) => one.name.startsWith('left out'))?.value).toBeGreaterThan(20);
  });

  it('routes are held against the list for each combination that occurred', () => {
    const target = targetOf('route', { with: { location: 'near', prefers: 'nowhere, west, east' } });
    const observations = [
      seen('health.failed', 'west', 41_000, 41_100),
      seen('health.restored', 'west', 95_000, 95_100),
    ];
    const right = answers('near', 'west', 'east', 41_050, 95_050);
    const row = judged(target, [...chats(west), right], { observations });
    expect(row.verdict).toBe('PASS');
    expect(row.notes.join(' ')).toContain('nowhere is in the list but is no region');
    expect(row.notes.join(' ')).toContain('2 of 4 combinations');
    const wrong = answers('near', 'west', 'east', 0, 0);
    expect(judged(target, [...chats(west), wrong], { observations }).reason).toContain('west instead of east');
  });
});

describe('cache-rebalance', () => {
  const target = targetOf('cache-rebalance', { maxMs: 30_000 });
  const first = seen('cache.served', 'node-a', -50_000, -49_900);
  const lost = seen('cache.unserved', 'node-a', 40_100, 40_300);

  it('lasts from the fault until a node takes writes again', () => {
    const back = seen('cache.served', 'node-b', 40_700, 40_900);
    const row = judged(target, chats(west), { observations: [first, lost, back] });
    expect(row).toMatchObject({ verdict: 'PASS', real: { minMs: 500, maxMs: 800 } });
    expect(row.figures.find(({ name }) => name === 'primary after')?.value).toBe('node-b');
    const late = seen('cache.served', 'node-b', 41_700, 41_900);
    expect(judged(target, chats(west), { observations: [first, lost, late] }).verdict).toBe('FAIL');
  });

  it('counts the last time it came back, and no recovery that the end of the fault brought', () => {
    const flap = [
      seen('cache.served', 'node-b', 40_400, 40_500),
      seen('cache.unserved', 'node-b', 40_500, 40_600),
      seen('cache.served', 'node-c', 45_000, 45_200),
    ];
    expect(judged(target, chats(west), { observations: [first, lost, ...flap] })).toMatchObject({
      verdict: 'FAIL',
      real: { maxMs: 5100 },
    });
    const afterwards = seen('cache.served', 'node-a', 95_000, 95_200);
    expect(judged(target, chats(west), { observations: [first, lost, afterwards] })).toMatchObject({
      verdict: 'FAIL',
      observed: { maxMs: null },
    });
  });

  it('does not pass when nothing was lost', () => {
    expect(judged(target, chats(west), { observations: [first] }).verdict).toBe('INCONCLUSIVE');
  });
});

describe('what cannot be measured says why', () => {
  it('for a cache that is not there, and for rows of later days', () => {
    expect(judged(targetOf('cache-rebalance', { maxMs: 1 }), chats(west)).reason).toContain(
      'no redis-server was found',
    );
    expect(judged(targetOf('not-yet', { with: { reason: 'needs the ledger' } }), chats(west)).reason).toBe(
      'needs the ledger',
    );
  });

  it('names every measure once', () => {
    const names = measures.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('undelete', () => {
  const target = targetOf('undelete');
  const faults = [regionFault({ fault: 'object.delete', target: 'object/west/documents/handbook/one.txt' })];
  const reads = (near: Script, far: Script = () => served('east', 'east-a')): Streams => [
    [named('objects', 'objects', 'near', { required: true }), near],
    [named('objects', 'objects', 'far'), far],
  ];
  const missing =
    (toMs: number): Script =>
    (atMs) =>
      within(atMs, 40_100, toMs) ? bad('404', atMs) : served('west', 'west-a');

  it('runs from the call that undoes it to the first good read, and says what copies did meanwhile', () => {
    const row = judged(target, reads(missing(90_200)), { faults });
    expect(row).toMatchObject({ verdict: 'PASS', real: { minMs: 150, maxMs: 200 } });
    const figureOf = (name: string) => row.figures.find((one) => one.name === name)?.value;
    expect(figureOf('hidden from its readers for at most')).toBeGreaterThan(50_000);
    expect(figureOf('of them good')).toBe(figureOf('reads of copies meanwhile'));
  });

  it('passes only when readers missed it, and had it again', () => {
    const never = judged(target, reads(missing(0)), { faults });
    expect(never).toMatchObject({ verdict: 'INCONCLUSIVE' });
    expect(never.reason).toContain('never seen to be missing');
    expect(judged(target, reads(missing(Number.POSITIVE_INFINITY)), { faults }).verdict).toBe('FAIL');
    const flickering: Script = (atMs) => (atMs > 90_200 && atMs % 200 === 0 ? bad('404', atMs) : missing(90_200)(atMs));
    expect(judged(target, reads(flickering), { faults }).verdict).not.toBe('PASS');
  });

  it('is not measured without a delete, or without a reader', () => {
    expect(judged(target, reads(missing(90_200))).verdict).toBe('NOT MEASURED');
    expect(judged(target, chats(west), { faults }).reason).toContain('no probe named objects');
  });
});
