import { describe, expect, it } from 'vitest';
import { named, recordOf, seen, served, targetOf, zoneFault } from '../../testing/simulated-record.ts';
import { analyse } from '../analyse.ts';
import type { InjectedFault, Target } from '../record.ts';

type Changes = Parameters<typeof recordOf>[1];

/** Time scale 30: one documented hour is 120 s. */
const hourMs = 120_000;

const judged = (target: Target, fault: InjectedFault, changes: Changes) => {
  const streams = [[named('chat', 'chat', 'near'), () => served('west', 'west-a')]] as const;
  const row = analyse(recordOf(streams, { ...changes, faults: [fault], targets: [target] })).targets[0];
  if (row === undefined) throw new Error('no row');
  return row;
};

describe('the rebuild of a lost index', () => {
  const target = targetOf('vector-rebuild', { maxMs: 3_600_000, with: { lossMax: '24h' } });
  const fault = zoneFault({ fault: 'vector.lose', target: 'vector/east' });
  const before = seen('vector.recall', 'east', -50_000, -49_900, { found: 8, of: 8 });
  const fell = seen('vector.recall', 'east', 40_000, 40_500, { found: 0, of: 8 });
  const equal = seen('vector.recall', 'east', 99_500, 100_000, { found: 8, of: 8 });
  const rebuilt = (ageMs: number) =>
    seen('vector.rebuilt', 'east', 99_500, 100_000, { from: 'snapshot', takenMs: 40_000 - ageMs });

  it('lasts from the loss until everything is found again', () => {
    const observations = [before, fell, rebuilt(2 * hourMs), equal];
    const row = judged(target, fault, { observations });
    expect(row).toMatchObject({ verdict: 'PASS', location: 'east', real: { minMs: 59_300, maxMs: 60_000 } });
    expect(row.figures).toContainEqual({ name: 'recall at the end', value: '8 of 8', unit: 'text' });
    expect(row.notes).toContain('rebuilt from its snapshot');
  });

  it('is not over while less is found than before', () => {
    const partly = seen('vector.recall', 'east', 99_500, 100_000, { found: 7, of: 8 });
    const row = judged(target, fault, { observations: [before, fell, rebuilt(hourMs), partly] });
    expect(row.verdict).not.toBe('PASS');
    expect(row.observed?.maxMs).toBe(null);
  });

  it('fails when what was loaded is older than promised, however fast it was', () => {
    const row = judged(target, fault, { observations: [before, fell, rebuilt(25 * hourMs), equal] });
    expect(row).toMatchObject({ verdict: 'FAIL', reason: expect.stringContaining('old at the loss') });
  });

  it('says nothing of a store that nobody asked, or that was never seen to be lost', () => {
    expect(judged(target, fault, { observations: [] }).verdict).toBe('NOT MEASURED');
    expect(judged(target, fault, { observations: [before] }).verdict).toBe('NOT MEASURED');
    expect(judged(target, zoneFault(), { observations: [before, fell, equal] }).verdict).toBe('NOT MEASURED');
    const elsewhere = seen('vector.recall', 'west', 40_000, 40_500, { found: 0, of: 8 });
    expect(judged(target, fault, { observations: [before, elsewhere] }).verdict).toBe('NOT MEASURED');
  });
});

describe('a full sync', () => {
  const target = targetOf('vector-full-sync', { maxMs: 3_600_000 });
  const fault = zoneFault({
    fault: 'vector.drift',
    target: 'vector/east',
    reverted: { minMs: 200_000, maxMs: 200_100 },
  });
  const diverged = seen('vector.diverged', 'east', 40_000, 40_500, { by: 'delta' });
  const converged = (maxMs: number) => seen('vector.converged', 'east', maxMs - 500, maxMs, { by: 'full' });

  it('ends drift, and says what kind of sync it was', () => {
    const row = judged(target, fault, { observations: [diverged, converged(100_000)] });
    expect(row).toMatchObject({ verdict: 'PASS', location: 'east', real: { minMs: 59_300, maxMs: 60_000 } });
    expect(row.figures).toEqual([{ name: 'sync that ended it', value: 'full', unit: 'text' }]);
  });

  it('did not end what was put back by hand', () => {
    const row = judged(target, fault, { observations: [diverged, converged(200_200)] });
    expect(row).toMatchObject({ verdict: 'FAIL', observed: { maxMs: null } });
  });

  it('is not measured on a copy that never differed', () => {
    expect(judged(target, fault, { observations: [converged(100_000)] }).verdict).toBe('NOT MEASURED');
    expect(judged(target, zoneFault(), { observations: [diverged] }).verdict).toBe('NOT MEASURED');
  });
});
