import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { smallEnvironment } from '../testing/fake-platform.ts';
import type { BlastRadius, Planned } from './fault.ts';
import { randomFrom, refusalsOf } from './plan.ts';

const limits = { ...smallEnvironment.limits, podsMax: 2, zonesMax: 1, regionsMax: 1, survivingShareMin: 0.5 };
const planned = (blast: Partial<BlastRadius>): Planned<unknown> => ({
  target: 'pod/a',
  undo: {},
  blast: { pods: 1, zones: [], regions: [], workloads: {}, ...blast },
});

describe('the limits of an environment', () => {
  it('let a small blast radius through', () => {
    expect(refusalsOf(limits, [planned({ workloads: { llm: { ready: 10, surviving: 9 } } })])).toEqual([]);
  });

  it('refuse too many pods, zones and regions, each by name', () => {
    expect(refusalsOf(limits, [planned({}), planned({}), planned({})])).toEqual([
      '3 pods are more than limits.podsMax (2)',
    ]);
    const zones = refusalsOf(limits, [planned({ zones: ['a'] }), planned({ zones: ['b'] })]);
    expect(zones).toEqual(['2 zones are more than limits.zonesMax (1)']);
    const regions = refusalsOf(limits, [planned({ regions: ['a', 'b'] })]);
    expect(regions).toEqual(['2 regions are more than limits.regionsMax (1)']);
  });

  it('refuse when too little survives, or when nothing can be said of it', () => {
    const [little] = refusalsOf(limits, [planned({ workloads: { llm: { ready: 10, surviving: 4 } } })]);
    expect(little).toContain('4 of 10 llm pods survive (40 %)');
    const [unknown] = refusalsOf(limits, [planned({ workloads: { llm: { ready: 0, surviving: 0 } } })]);
    expect(unknown).toContain('no ready pod of llm');
  });
});

describe('randomFrom', () => {
  it('gives the same numbers for the same seed, all in [0, 1), and others for another', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const take = (from: number): readonly number[] => {
          const random = randomFrom(from);
          return Array.from({ length: 20 }, random);
        };
        const numbers = take(seed);
        expect(numbers).toEqual(take(seed));
        expect(numbers).not.toEqual(take(seed + 1));
        expect(numbers.every((value) => value >= 0 && value < 1)).toBe(true);
      }),
    );
  });
});
