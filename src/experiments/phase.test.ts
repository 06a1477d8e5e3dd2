import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ageAt, type Cycle, nextAt, positionAt, positionOf } from './phase.ts';

const hourMs = 3_600_000;
const hourly: Cycle = { periodMs: hourMs, durationMs: hourMs / 12, beginsMs: 1000 };
const once = { index: 0, of: 1 };

const cycles = fc
  .record({
    periodMs: fc.double({ min: 10, max: 1e7, noNaN: true }),
    part: fc.double({ min: 0.001, max: 0.9, noNaN: true }),
    beginsMs: fc.double({ min: -1e8, max: 1e8, noNaN: true }),
  })
  .map(({ periodMs, part, beginsMs }): Cycle => ({ periodMs, durationMs: periodMs * part, beginsMs }));
const instants = fc.double({ min: -1e8, max: 1e8, noNaN: true });
const shares = fc.double({ min: 0, max: 0.999_999, noNaN: true });

/** On the circle of a period, because just before its end and its beginning are the same place. */
const apartMs = ({ periodMs }: Cycle, one: number, other: number): number => {
  const apart = Math.abs(one - other) % periodMs;
  return Math.min(apart, periodMs - apart);
};

describe('where in its cycle a mechanism is', () => {
  it('is as far as its pass has come', () => {
    expect(positionAt(hourly, 1000)).toBe(0);
    expect(positionAt(hourly, 1000 + hourMs / 4)).toBe(hourMs / 4);
    expect(positionAt(hourly, 999)).toBe(hourMs - 1);
    expect(positionAt(hourly, 1000 + 5 * hourMs + 7)).toBe(7);
  });

  it('comes around: the next time is within a period, and there', () => {
    fc.assert(
      fc.property(cycles, shares, instants, (cycle, share, nowMs) => {
        const positionMs = share * cycle.periodMs;
        const atMs = nextAt(cycle, positionMs, nowMs);
        expect(atMs).toBeGreaterThanOrEqual(nowMs);
        expect(atMs - nowMs).toBeLessThanOrEqual(cycle.periodMs);
        expect(apartMs(cycle, positionAt(cycle, atMs), positionMs)).toBeLessThan(1e-3);
      }),
    );
  });
});

describe('what a copy shows', () => {
  it('is between the duration of a sync and period plus duration old', () => {
    fc.assert(
      fc.property(cycles, instants, (cycle, atMs) => {
        const ageMs = ageAt(cycle, positionAt(cycle, atMs));
        expect(ageMs).toBeGreaterThanOrEqual(cycle.durationMs);
        expect(ageMs).toBeLessThan(cycle.periodMs + cycle.durationMs);
      }),
    );
  });

  it('is older at the worst moment than nearly anywhere else, and the sync is not over yet', () => {
    fc.assert(
      fc.property(cycles, shares, (cycle, share) => {
        const worstMs = positionOf('worst', cycle, 0, once);
        const leadMs = cycle.durationMs - worstMs;
        expect(leadMs).toBeGreaterThan(0);
        expect(leadMs).toBeLessThanOrEqual(2000);
        const other = ageAt(cycle, share * cycle.periodMs);
        expect(other).toBeLessThanOrEqual(ageAt(cycle, worstMs) + leadMs);
      }),
    );
  });

  it('misses an hourly promise at the worst moment, and keeps it at most others', () => {
    expect(ageAt(hourly, positionOf('worst', hourly, 0, once))).toBe(hourMs + hourMs / 12 - 2000);
    const kept = Array.from({ length: 1000 }, (_, index) => ageAt(hourly, ((index + 0.5) / 1000) * hourMs) <= hourMs);
    expect(kept.filter((one) => one).length / kept.length).toBeCloseTo(11 / 12, 2);
  });
});

describe('moments', () => {
  it('that are swept lie evenly over the period', () => {
    const positions = Array.from({ length: 4 }, (_, index) => positionOf('sweep', hourly, 0, { index, of: 4 }));
    expect(positions.map((position) => position / hourMs)).toEqual([0.125, 0.375, 0.625, 0.875]);
  });

  it('that are drawn are anywhere in it', () => {
    expect(positionOf('random', hourly, 0.25, once)).toBe(hourMs / 4);
  });
});
