import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { targetOf } from '../testing/simulated-record.ts';
import type { Measured } from './measures/measure.ts';
import { bracketOf } from './span.ts';
import { judge, judgeBracket, resolvingScale, runVerdict } from './verdict.ts';

const rows = (...verdicts: readonly ('PASS' | 'FAIL' | 'INCONCLUSIVE' | 'NOT MEASURED')[]) =>
  verdicts.map((verdict, index) => ({
    ...judge(targetOf('outage', { id: `row-${index}`, maxMs: 1 }), { kind: 'none', reason: 'x' }, { timeScale: 1 }),
    verdict,
  }));

describe('a bracket against a bound', () => {
  it.each([
    [1, 2, 3, 'PASS'],
    [1, 2, 2, 'PASS'],
    [1, 4, 2, 'INCONCLUSIVE'],
    [2, 4, 2, 'INCONCLUSIVE'],
    [3, 4, 2, 'FAIL'],
    [1, Number.POSITIVE_INFINITY, 2, 'INCONCLUSIVE'],
    [3, Number.POSITIVE_INFINITY, 2, 'FAIL'],
  ] as const)('[%f, %f] against %f is %s', (minMs, maxMs, bound, verdict) => {
    expect(judgeBracket(bracketOf((minMs + 2) / 2, minMs, maxMs), bound)).toBe(verdict);
  });

  it('at the scale that is said to resolve it, it is resolved', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 10, max: 10_000, noNaN: true }),
        fc.double({ min: 1, max: 500, noNaN: true }),
        fc.double({ min: 1, max: 500, noNaN: true }),
        fc.double({ min: 2, max: 100, noNaN: true }),
        fc.double({ min: 0.5, max: 2, noNaN: true }),
        (estimateMs, below, above, timeScale, ratio) => {
          const real = { estimateMs, minMs: Math.max(0, estimateMs - below), maxMs: estimateMs + above };
          const maxMs = estimateMs * timeScale * ratio;
          const scale = resolvingScale(real, timeScale, maxMs);
          if (scale === undefined) return;
          const documented = estimateMs * timeScale;
          const finer = bracketOf(
            documented,
            documented - (estimateMs - real.minMs) * scale,
            documented + above * scale,
          );
          expect(judgeBracket(finer, maxMs)).not.toBe(
            judgeBracket({ estimateMs: 0, minMs: 0, maxMs: Number.POSITIVE_INFINITY }, maxMs),
          );
        },
      ),
    );
  });

  it('names the scale, or says that none will do', () => {
    const bracket = bracketOf(3900, 3800, 4100);
    const row = judge(targetOf('outage', { maxMs: 120_000 }), { kind: 'duration', bracket }, { timeScale: 30 });
    expect(row.reason).toContain('--time-scale 14 or less would resolve it');
    const hopeless: Measured = { kind: 'duration', bracket: bracketOf(4000, 3800, 4100) };
    expect(judge(targetOf('outage', { maxMs: 120_000 }), hopeless, { timeScale: 30 }).reason).toContain(
      'no time scale resolves it',
    );
  });

  it('scales real time to documented time, and its error with it', () => {
    const bracket = bracketOf(1000, 900, 1100);
    const { observed, real } = judge(
      targetOf('outage', { maxMs: 60_000 }),
      { kind: 'duration', bracket },
      { timeScale: 30 },
    );
    expect(observed).toEqual({ estimateMs: 30_000, minMs: 27_000, maxMs: 33_000 });
    expect(real).toEqual(bracket);
  });
});

describe('a scaled lab whose time-outs have a floor', () => {
  const target = targetOf('database-failover', { maxMs: 60_000 });
  const stretches = { 'database-checks': { maxMs: 1400, scale: 8.3 } };
  const late = (waitsFor: readonly 'database-checks'[]): Measured => ({
    kind: 'duration',
    bracket: bracketOf(3200, 3100, 3300),
    waitsFor,
  });

  it('does not fail a target for what its time-outs may have added', () => {
    const row = judge(target, late(['database-checks']), { timeScale: 20, stretches });
    expect(row.verdict).toBe('INCONCLUSIVE');
    expect(row.reason).toContain('up to 28.0 s of it may be time-outs');
    expect(row.reason).toContain('--time-scale 8.3 or less would tell');
  });

  it('fails it where they cannot explain it, or have no part in it', () => {
    expect(judge(target, late([]), { timeScale: 20, stretches }).verdict).toBe('FAIL');
    const worse: Measured = { ...late(['database-checks']), bracket: bracketOf(4600, 4500, 4700) } as Measured;
    expect(judge(target, worse, { timeScale: 20, stretches }).verdict).toBe('FAIL');
  });
});

describe('a run', () => {
  it.each([
    [['PASS', 'PASS'], 'PASS'],
    [['PASS', 'NOT MEASURED'], 'PASS'],
    [['PASS', 'INCONCLUSIVE'], 'INCONCLUSIVE'],
    [['INCONCLUSIVE', 'FAIL', 'PASS'], 'FAIL'],
    [['NOT MEASURED'], 'INCONCLUSIVE'],
    [[], 'INCONCLUSIVE'],
  ] as const)('of %j is %s', (verdicts, verdict) => {
    expect(runVerdict(rows(...verdicts), undefined).verdict).toBe(verdict);
  });

  it('that is void stays void, unless a hard invariant broke', () => {
    expect(runVerdict(rows('PASS', 'FAIL'), 'nothing was broken')).toEqual({
      verdict: 'VOID',
      reason: 'nothing was broken',
    });
    const lost = {
      ...judge(targetOf('one-primary', { maxCount: 0 }), { kind: 'count', count: 1, of: 'writes' }, { timeScale: 1 }),
    };
    expect(runVerdict([lost], 'the rollback is incomplete').verdict).toBe('FAIL');
  });
});
