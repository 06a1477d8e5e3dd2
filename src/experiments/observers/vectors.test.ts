import { describe, expect, it } from 'vitest';
import type { VectorStatus } from '../../adapters/ports.ts';
import { type VectorLook, vectorChanges } from './vectors.ts';

const bracket = { minMs: 10, maxMs: 20 };

const statusOf = (changes: Partial<VectorStatus> = {}): VectorStatus => ({
  role: 'replica',
  state: 'serving',
  count: 8,
  digest: 'a',
  lostBy: null,
  sync: {
    periodMs: 100,
    durationMs: 10,
    fullPeriodMs: 1000,
    runningSinceMs: null,
    nextDueMs: 50,
    nextFullDueMs: 500,
    pausedBy: null,
    last: { kind: 'delta', failed: false },
    shown: { takenMs: 5, digest: 'a' },
  },
  snapshotTakenMs: 1,
  rebuild: null,
  ...changes,
});
const lookOf = (changes: Partial<VectorStatus> = {}, found = 8): VectorLook => ({
  status: statusOf(changes),
  found,
  of: 8,
});
const inWords = (before: VectorLook | undefined, now: VectorLook): readonly string[] =>
  vectorChanges('east', before, now, bracket).map(
    ({ name, subject, data }) => `${name} ${subject} ${JSON.stringify(data)}`,
  );

describe('what is seen of a vector store', () => {
  it('is all of it at first, so that it is on record', () => {
    expect(inWords(undefined, lookOf())).toEqual([
      'vector.recall east {"found":8,"of":8}',
      'vector.converged east {"by":"delta"}',
    ]);
  });

  it('is nothing while nothing changes', () => {
    expect(inWords(lookOf(), lookOf())).toEqual([]);
  });

  it('is a loss, and a rebuild with the age of what it loaded', () => {
    const lost = lookOf({ state: 'lost', digest: null }, 0);
    expect(inWords(lookOf(), lost)).toEqual(['vector.recall east {"found":0,"of":8}']);
    const rebuild = { from: 'snapshot', takenMs: 3, finished: true, error: null } as const;
    expect(inWords(lost, lookOf({ rebuild }))).toEqual([
      'vector.rebuilt east {"from":"snapshot","takenMs":3}',
      'vector.recall east {"found":8,"of":8}',
      'vector.converged east {"by":"delta"}',
    ]);
  });

  it('is drift of a copy, and its end', () => {
    expect(inWords(lookOf(), lookOf({ digest: 'b' }))).toEqual(['vector.diverged east {"by":"delta"}']);
    expect(inWords(lookOf({ digest: 'b' }), lookOf())).toEqual(['vector.converged east {"by":"delta"}']);
  });

  it('has no drift where there is no copy', () => {
    expect(inWords(undefined, lookOf({ role: 'source', sync: null }))).toEqual([
      'vector.recall east {"found":8,"of":8}',
    ]);
  });
});
