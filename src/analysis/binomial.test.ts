import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binomialAtMost, lowerShare, probesProving, toleratedCount, upperShare } from './binomial.ts';

/** The definition, summed term by term. */
const summed = (count: number, trials: number, share: number): number => {
  let term = (1 - share) ** trials;
  let total = term;
  for (let k = 1; k <= count; k += 1) {
    term *= ((trials - k + 1) / k) * (share / (1 - share));
    total += term;
  }
  return total;
};

describe('binomial bounds', () => {
  it('agree with the definition', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0.001, max: 0.9, noNaN: true }),
        (n, part, p) => {
          const k = Math.floor(part * (n - 1));
          expect(binomialAtMost(k, n, p)).toBeCloseTo(summed(k, n, p), 9);
        },
      ),
    );
  });

  it.each([
    [0, 299, 0.00997],
    [0, 1, 0.95],
    [2, 628, 0.00999],
    [10, 10, 1],
  ])('upper bound of %i of %i is %f', (count, trials, share) => {
    expect(upperShare(count, trials)).toBeCloseTo(share, 4);
  });

  it('lower bound mirrors the upper one', () => {
    expect(lowerShare(0, 50)).toBe(0);
    expect(lowerShare(50, 50)).toBeCloseTo(0.9418, 4);
    expect(lowerShare(7, 40)).toBeCloseTo(1 - upperShare(33, 40), 12);
  });

  it('hold the share that was drawn in 95 % of draws', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 0, max: 200 }), (n, some) => {
        const k = Math.min(n, some);
        expect(lowerShare(k, n)).toBeLessThanOrEqual(k / n + 1e-12);
        expect(upperShare(k, n)).toBeGreaterThanOrEqual(k / n - 1e-12);
      }),
    );
  });

  it.each([
    [0.01, [299, 473, 628, 773]],
    [0.001, [2995, 4742, 6294, 7752]],
    [0.0001, [29_956, 47_437, 62_956, 77_535]],
  ])('lengths that prove a share of %f with 0 to 3 bad probes', (share, lengths) => {
    expect([0, 1, 2, 3].map((count) => probesProving(count, share))).toEqual(lengths);
    expect(toleratedCount(lengths[2] ?? 0, share)).toBe(2);
    expect(toleratedCount((lengths[0] ?? 0) - 1, share)).toBe(-1);
  });
});
