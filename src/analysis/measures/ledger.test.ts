import { describe, expect, it } from 'vitest';
import type { LedgerLine } from '../../probes/ledger/line.ts';
import { named, recordOf, regionFault, seen, targetOf } from '../../testing/simulated-record.ts';
import { analyse } from '../analyse.ts';
import type { RunRecord, Target } from '../record.ts';

/*
 * Ledgers of a run whose fault takes effect between 40.0 and 40.2 s and is ended at 90 s. The old primary is `old`, the
 * new one `new`; writes are answered after 5 ms.
 */
const oldEpoch = '7:00000001:5432:2026-01-01T00:00:00';
const newEpoch = '7:00000002:5433:2026-01-01T00:10:00';
const everyMs = 50;

interface Plan {
  readonly name?: string;
  readonly probe?: string;
  readonly everyMs?: number;
  /** What happens to the write sent at an instant. */
  readonly at: (atMs: number) => 'old' | 'new' | 'refused' | 'cut' | 'timeout';
  /** Server it is tried at when it is not acknowledged. */
  readonly by?: string;
  /** Whether an acknowledged write is there in the end. */
  readonly survives?: (atMs: number) => boolean;
  /** A copy, and how far behind it is. */
  readonly copy?: {
    readonly name: string;
    readonly lagMs: number;
    readonly standsStillFromMs?: number;
    readonly looksUntilMs?: number;
  };
  readonly reads?: boolean;
}

const linesOf = ({ at, by = 'old', survives = () => true, copy, reads = true, ...plan }: Plan): LedgerLine[] => {
  const spacingMs = plan.everyMs ?? everyMs;
  const lines: LedgerLine[] = [];
  const there: number[] = [];
  const sent: { seq: number; atMs: number }[] = [];
  for (let seq = 0; -60_000 + seq * spacingMs <= 120_000; seq += 1) {
    const atMs = -60_000 + seq * spacingMs;
    const outcome = at(atMs);
    lines.push({ kind: 'invoke', seq, atMs });
    if (outcome === 'old' || outcome === 'new') {
      const epoch = outcome === 'old' ? oldEpoch : newEpoch;
      lines.push({ kind: 'end', seq, atMs: atMs + 5, out: 'ok', code: 'ok', epoch, by: outcome });
      if (survives(atMs)) there.push(seq);
      sent.push({ seq, atMs });
    } else if (outcome === 'refused' || outcome === 'cut') {
      lines.push({ kind: 'end', seq, atMs: atMs + 5, out: 'fail', code: outcome === 'cut' ? 'reset' : '25006', by });
    } else lines.push({ kind: 'end', seq, atMs: atMs + 1000, out: 'info', code: 'timeout', by });
  }
  const read = (copyName: string | null, startMs: number, seqs: readonly number[], since = 0): LedgerLine => ({
    kind: 'read',
    copy: copyName,
    final: copyName === null,
    startMs,
    endMs: startMs + 4,
    code: 'ok',
    since,
    seen: seqs.join(','),
  });
  if (copy !== undefined) {
    let since = 0;
    for (let atMs = -59_900; atMs < (copy.looksUntilMs ?? 120_000); atMs += 200) {
      const untilMs = Math.min(atMs, copy.standsStillFromMs ?? Number.POSITIVE_INFINITY) - copy.lagMs;
      const shown = sent.filter(({ seq, atMs: sentMs }) => seq >= since && sentMs <= untilMs).map(({ seq }) => seq);
      lines.push(read(copy.name, atMs, shown, since));
      since = (shown.at(-1) ?? since - 1) + 1;
    }
  }
  if (reads) lines.push(read(null, 130_000, there), read(null, 130_500, there));
  return lines;
};

const judged = (target: Target, plans: readonly Plan[], changes: Partial<Omit<RunRecord, 'run'>> = {}) => {
  const chat = named('chat', 'chat', 'near');
  const ledgers = plans.map((plan) => ({
    plan,
    stream: named(plan.name ?? 'writes', plan.probe ?? 'postgres-ledger', 'near', { everyMs: plan.everyMs ?? everyMs }),
  }));
  const record = recordOf([[chat, () => ({ region: 'west', zone: 'west-b' })]], {
    targets: [target],
    faults: [regionFault()],
    ...changes,
  });
  const report = analyse({
    ...record,
    streams: [...record.streams, ...ledgers.map(({ stream }) => stream)],
    ledgers: new Map(ledgers.map(({ plan, stream }) => [stream.stream, linesOf(plan)])),
  });
  const [row] = report.targets;
  if (row === undefined) throw new Error('no row');
  return { ...row, report };
};

const partition = { fault: 'region.partition', target: 'region/west' };
const failsOver = (atMs: number): 'old' | 'new' | 'timeout' =>
  atMs < 40_000 ? 'old' : atMs < 50_000 ? 'timeout' : 'new';

describe('data-lost', () => {
  const target = targetOf('data-lost', { maxCount: 0 });

  it('is none, when the ledger would have seen a small loss', () => {
    const row = judged(target, [{ at: failsOver }]);
    expect(row).toMatchObject({ verdict: 'PASS', count: 0 });
    expect(row.reason).toContain('a loss of 55 ms would have been seen');
    expect(row.report.dataLoss.stores[0]).toMatchObject({ lost: 0, power: { smallestLossMs: 55 } });
  });

  it('is not known from a ledger too sparse, or one that was not read in the end', () => {
    expect(judged(target, [{ at: failsOver, everyMs: 1000 }]).verdict).toBe('INCONCLUSIVE');
    const unread = judged(target, [{ at: failsOver, reads: false }]);
    expect(unread).toMatchObject({ verdict: 'INCONCLUSIVE', reason: expect.stringContaining('was not read') });
    expect(judged(target, []).verdict).toBe('NOT MEASURED');
  });

  it('is exact, and fails even a run that is void otherwise', () => {
    const plan: Plan = { at: failsOver, survives: (atMs) => atMs < 39_800 || atMs >= 50_000 };
    expect(judged(target, [plan])).toMatchObject({ verdict: 'FAIL', count: 4 });
    const stuck = judged(target, [plan], {
      undo: { armed: 1, reverted: 0, outstanding: [{ fault: 'x', target: 'y', reason: 'z' }] },
    });
    expect(stuck).toMatchObject({ verdict: 'FAIL', report: { verdict: 'FAIL' } });
  });
});

describe('recovery-point', () => {
  const target = targetOf('recovery-point', { maxMs: 30_000 });

  it('is the time of what was lost, up to the fault that cut the old authority off', () => {
    const row = judged(target, [{ at: failsOver, survives: (atMs) => atMs < 39_800 || atMs >= 50_000 }]);
    // Last survivor sent at 39.75 s, first lost acknowledged at 39.805 s; the end between 39.95 and 40.2 s.
    expect(row).toMatchObject({ verdict: 'PASS', real: { minMs: 145, maxMs: 450 } });
    expect(row.report.dataLoss.stores[0]?.handovers[0]).toMatchObject({ lost: 4, isPrefix: true });
  });

  it('has no upper end when nothing shows that the old authority stopped', () => {
    const row = judged(target, [{ at: failsOver, survives: (atMs) => atMs < 39_800 || atMs >= 50_000 }], {
      faults: [regionFault(partition)],
    });
    expect(row).toMatchObject({ verdict: 'INCONCLUSIVE', real: { maxMs: null } });
    expect(row.notes.join()).toContain('nothing shows when');
  });

  it('says when what was lost is no mere tail', () => {
    const lost = (atMs: number): boolean => atMs === 39_000 || atMs === 39_600;
    const row = judged(target, [{ at: failsOver, survives: (atMs) => !lost(atMs) }]);
    expect(row.notes.join()).toContain('no mere tail');
    expect(row.real?.maxMs).toBe(1200);
  });

  it('of a copy is what it did not show while its source was gone', () => {
    const copied = targetOf('recovery-point', { maxMs: 30_000, with: { copy: 'east' } });
    const plan: Plan = {
      at: (atMs) => (atMs < 40_000 ? 'old' : 'timeout'),
      copy: { name: 'east', lagMs: 500, standsStillFromMs: 40_000 },
    };
    const row = judged(copied, [plan]);
    expect(row.real?.minMs).toBe(395);
    expect(row.real?.maxMs).toBeLessThanOrEqual(800);
    expect(judged(copied, [{ at: failsOver }]).reason).toContain('nobody looked at the copy in east');
  });
});

describe('a copy that nobody could look at since before the fault', () => {
  it('may lack all that was acknowledged since: no PASS comes from not looking', () => {
    const copied = targetOf('recovery-point', { maxMs: 30_000, with: { copy: 'east' } });
    const plan: Plan = {
      at: (atMs) => (atMs < 40_000 ? 'old' : 'timeout'),
      copy: { name: 'east', lagMs: 0, looksUntilMs: 30_000 },
    };
    const row = judged(copied, [plan]);
    expect(row.verdict).not.toBe('PASS');
    expect(row.real?.maxMs).toBeGreaterThan(9000);
  });
});

describe('visibility-lag', () => {
  it('brackets how long writes took to show, and passes only by its worst end', () => {
    const plan: Plan = { at: () => 'old', copy: { name: 'east', lagMs: 500 } };
    const row = judged(targetOf('visibility-lag', { maxMs: 30_000, with: { copy: 'east' } }), [plan]);
    expect(row.verdict).toBe('PASS');
    expect(row.real?.minMs).toBe(445);
    expect(row.real?.maxMs).toBeLessThan(720);
    const tight = judged(targetOf('visibility-lag', { maxMs: 13_000, with: { copy: 'east' } }), [plan]);
    expect(tight.verdict).toBe('FAIL');
    const all = judged(targetOf('visibility-lag', { maxMs: 30_000 }), [plan]);
    expect(all.real).toEqual(row.real);
  });

  it('is open where a copy never showed a write', () => {
    const plan: Plan = { at: () => 'old', copy: { name: 'east', lagMs: 500, standsStillFromMs: 40_000 } };
    const target = targetOf('visibility-lag', { maxMs: 30_000, with: { copy: 'east', during: 'run' } });
    expect(judged(target, [plan])).toMatchObject({ verdict: 'FAIL', real: { maxMs: null } });
  });
});

describe('split brain', () => {
  const single = targetOf('single-writer', { maxCount: 0 });
  const faults = [regionFault(partition)];
  const follows = (atMs: number): 'old' | 'new' | 'timeout' =>
    atMs < 40_000 ? 'old' : atMs < 50_000 ? 'timeout' : 'new';
  const direct = (at: Plan['at']): Plan => ({ name: 'direct', everyMs: 250, at });

  it('is proven by acknowledgements of both, with exact counts', () => {
    const both = direct((atMs) => (atMs < 60_000 ? 'old' : 'refused'));
    const survives = (atMs: number): boolean => atMs < 49_000;
    const row = judged(single, [{ at: follows }, { ...both, survives }], { faults });
    // Sent after the new one's first acknowledgement at 50.005 s, until 60 s, every 250 ms.
    expect(row).toMatchObject({ verdict: 'FAIL', count: 39 });
    expect(row.report.dataLoss.stores[0]?.splitBrain).toMatchObject({ dualAcknowledged: 39, divergent: 39 });
    expect(row.report.dataLoss.stores[0]?.splitBrain.overlap).toMatchObject({ minMs: 9745, maxMs: 9755 });
    expect(judged(targetOf('fenced'), [{ at: follows }, both], { faults }).verdict).toBe('FAIL');
  });

  it('is ruled out only where the old primary was heard to refuse all the time', () => {
    const fenced = direct((atMs) => (atMs < 41_000 ? 'old' : 'refused'));
    expect(judged(single, [{ at: follows }, fenced], { faults })).toMatchObject({ verdict: 'PASS', count: 0 });
    const silent = direct((atMs) => (atMs < 41_000 ? 'old' : 'timeout'));
    expect(judged(single, [{ at: follows }, silent], { faults }).verdict).toBe('INCONCLUSIVE');
    expect(judged(single, [{ at: follows }], { faults }).notes.join()).toContain('no write was tried');
    // Cut off by whom nobody can tell, unless its own control plane says that it is stopped.
    const cut = direct((atMs) => (atMs < 41_000 ? 'old' : 'cut'));
    expect(judged(single, [{ at: follows }, cut], { faults }).verdict).toBe('INCONCLUSIVE');
    const observations = [seen('database.unavailable', 'db', 42_000, 42_500, { status: 'stopped' })];
    expect(judged(single, [{ at: follows }, cut], { faults, observations }).verdict).toBe('PASS');
    expect(judged(targetOf('fenced'), [{ at: follows }, cut], { faults, observations }).verdict).toBe('PASS');
    const once = direct((atMs) => (atMs < 41_000 ? 'old' : atMs < 70_000 ? 'refused' : 'timeout'));
    expect(judged(single, [{ at: follows }, once], { faults }).verdict).toBe('INCONCLUSIVE');
  });

  it('fenced says how long before the new one took over', () => {
    const fenced = direct((atMs) => (atMs < 41_000 ? 'old' : 'refused'));
    const row = judged(targetOf('fenced'), [{ at: follows }, fenced], { faults });
    expect(row).toMatchObject({ verdict: 'PASS', reason: expect.stringContaining('refused at the old primary') });
    const silent = direct((atMs) => (atMs < 41_000 ? 'old' : 'timeout'));
    expect(judged(targetOf('fenced'), [{ at: follows }, silent], { faults }).verdict).toBe('INCONCLUSIVE');
  });

  it('without a change of hands, those who could be promoted must have refused', () => {
    const replica: Plan = { name: 'replica', everyMs: 250, at: () => 'refused', by: 'replica' };
    expect(judged(single, [{ at: () => 'old' }, replica], { faults }).verdict).toBe('PASS');
    expect(judged(single, [{ at: () => 'old' }], { faults }).verdict).toBe('INCONCLUSIVE');
  });
});

describe('residency', () => {
  it('tells where the records of a location can be read', () => {
    const target = targetOf('residency', { with: { location: 'near', region: 'west' } });
    const plan = (name: string): Plan => ({ at: () => 'old', copy: { name, lagMs: 100 } });
    const never: Plan = { ...plan('east'), name: 'others', copy: { name: 'east', lagMs: Number.POSITIVE_INFINITY } };
    expect(judged(target, [plan('west'), never])).toMatchObject({ verdict: 'PASS' });
    expect(judged(target, [plan('east')]).reason).toContain('can be read in east');
  });

  it('is not known of copies that nobody looked at', () => {
    const target = targetOf('residency', { with: { location: 'near', region: 'west' } });
    expect(judged(target, [{ at: () => 'old' }]).reason).toContain('no copy could be looked at');
    expect(judged(target, [{ at: () => 'old', copy: { name: 'west', lagMs: 100 } }]).reason).toContain(
      'no copy outside west was looked at',
    );
    // Found nowhere is not found in the right place.
    const nowhere = (name: string): Plan => ({
      name,
      at: () => 'old',
      copy: { name, lagMs: Number.POSITIVE_INFINITY },
    });
    expect(judged(target, [nowhere('west'), nowhere('east')])).toMatchObject({
      verdict: 'NOT MEASURED',
      reason: expect.stringContaining('no record was seen in west'),
    });
  });
});

describe('all stores together', () => {
  it('are as old as the one that lost most, and what the others kept dangles', () => {
    const target = targetOf('recovery-point', { maxMs: 30_000 });
    const rows: Plan = { at: failsOver, survives: (atMs) => atMs < 39_900 || atMs >= 50_000 };
    const vectors: Plan = {
      name: 'vectors',
      probe: 'vector-ledger',
      at: (atMs) => (atMs < 40_000 ? 'old' : 'timeout'),
      copy: { name: 'failover', lagMs: 2000, standsStillFromMs: 40_000 },
    };
    const { consistentCut } = judged(target, [rows, vectors]).report.dataLoss;
    // Vectors up to 38 s are in the copy; rows up to 39.9 s, 36 of them sent after the first vector that is missing.
    expect(consistentCut).toMatchObject({
      ledgers: ['postgres-ledger', 'vector-ledger'],
      dangling: [{ kept: 'postgres-ledger', without: 'vector-ledger', count: 36 }],
    });
    expect(consistentCut?.rpo.minMs).toBeGreaterThan(1800);
    expect(consistentCut?.rpo.maxMs).toBeLessThan(2400);
    expect(judged(target, [rows]).report.dataLoss.consistentCut).toBeNull();
  });
});
