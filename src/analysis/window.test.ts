import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { upperShare } from './binomial.ts';
import { confirms, defaultLimits, hasFailed, probesNeeded, singleLook, type Window, windowFor } from './window.ts';

const windowOf = (bad: number, late = 0, limits = defaultLimits): Window => {
  const window = windowFor({ bad, late }, limits);
  if (window === undefined) throw new Error('no window');
  return window;
};

/** Monte-Carlo: how often a service with these shares is confirmed within one window. */
const confirmedShare = (window: Window, bad: number, late: number, runs: number): number => {
  let state = 1;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  let confirmed = 0;
  for (let run = 0; run < runs; run += 1) {
    const counts = { probes: 0, bad: 0, late: 0 };
    while (!hasFailed(window, counts)) {
      counts.probes += 1;
      const drawn = random();
      if (drawn < bad) counts.bad += 1;
      else if (drawn < bad + late) counts.late += 1;
      if (!confirms(window, counts)) continue;
      confirmed += 1;
      break;
    }
  }
  return confirmed / runs;
};

describe('the confirmation window', () => {
  it('confirms a service without a stray early and one with strays later', () => {
    expect(windowOf(0.001).looks.map(({ probes, toleratedBad }) => [probes, toleratedBad])).toEqual([
      [365, 0],
      [553, 1],
      [717, 2],
    ]);
    expect(windowOf(0.005).looks[0].probes).toBeGreaterThan(365);
  });

  it('grows in its last look with the noise of the baseline', () => {
    const lasts = [0.001, 0.002, 0.003, 0.004, 0.005].map((bad) => windowOf(bad).looks.at(-1)?.probes ?? 0);
    expect(lasts).toEqual(lasts.toSorted((a, b) => a - b));
    expect(lasts[0]).toBe(717);
  });

  it.each([0.001, 0.003, 0.005])('has power for a baseline of %f errors, and little for one at its limit', (rate) => {
    const window = windowOf(rate);
    expect(confirmedShare(window, rate, rate, 4000)).toBeGreaterThanOrEqual(0.95);
    // 4,000 draws of 5 % are at most 5.7 % in all but one of a hundred.
    expect(confirmedShare(window, 0.01, 0, 4000)).toBeLessThanOrEqual(0.058);
    expect(confirmedShare(window, 0, 0.05, 4000)).toBeLessThanOrEqual(0.058);
    expect(confirmedShare(window, 0.02, 0, 4000)).toBeLessThanOrEqual(0.005);
  });

  it('does not exist for a service that is at its limit', () => {
    expect(windowFor({ bad: 0.01, late: 0 }, defaultLimits)).toBeUndefined();
    expect(windowFor({ bad: 0, late: 0.05 }, defaultLimits)).toBeUndefined();
  });

  it('is shorter where more errors are allowed', () => {
    const loose = windowOf(0.001, 0, { errorsMax: 0.05, lateMax: 0.05 });
    expect(loose.looks[0].probes).toBeLessThan(100);
  });

  it('proves its limit at each look more strictly than one look alone would have to', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 0.004, noNaN: true }), (bad) => {
        for (const look of windowOf(bad).looks) {
          expect(upperShare(look.toleratedBad, look.probes)).toBeLessThanOrEqual(0.01);
          expect(upperShare(look.toleratedLate, look.probes)).toBeLessThanOrEqual(0.05);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('says how many probes it takes with the strays so far', () => {
    const window = windowOf(0.001);
    expect(probesNeeded(window, { bad: 0, late: 0 })).toBe(365);
    expect(probesNeeded(window, { bad: 2, late: 0 })).toBe(717);
    expect(probesNeeded(window, { bad: 3, late: 0 })).toBeUndefined();
    expect(hasFailed(window, { bad: 3, late: 0 })).toBe(true);
    expect(hasFailed(singleLook({ probes: 20, toleratedBad: 0, toleratedLate: 1 }), { bad: 0, late: 2 })).toBe(true);
  });
});
