import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dueBy, gridFrom, inFlightMax, scheduledMs } from './schedule.ts';

describe('dueBy', () => {
  const grid = gridFrom(1000, 100, 0.25);

  test('nothing is due before the first probe', () => {
    expect(dueBy(grid, 0, 1024)).toEqual([]);
  });

  test('a probe is sent when it is due', () => {
    expect(dueBy(grid, 0, 1025)).toEqual([{ index: 0, scheduledMs: 1025, send: true }]);
  });

  test('after a stall only the newest probe is sent, the others are dropped', () => {
    expect(dueBy(grid, 0, 1300)).toEqual([
      { index: 0, scheduledMs: 1025, send: false },
      { index: 1, scheduledMs: 1125, send: false },
      { index: 2, scheduledMs: 1225, send: true },
    ]);
  });

  const wakes = fc.array(fc.double({ min: 0.01, max: 700, noNaN: true }), { minLength: 1, maxLength: 200 });

  test('however the sender wakes: each probe once, in order, never early or a spacing late, never a burst', () => {
    const any = fc.record({
      everyMs: fc.double({ min: 1, max: 500, noNaN: true }),
      phase: fc.double({ min: 0, max: 0.999, noNaN: true }),
      wakes,
    });
    fc.assert(
      fc.property(any, ({ everyMs, phase, wakes: gaps }) => {
        const random = gridFrom(0, everyMs, phase);
        let nowMs = 0;
        let nextIndex = 0;
        for (const gapMs of gaps) {
          nowMs += gapMs;
          const due = dueBy(random, nextIndex, nowMs);
          for (const one of due) {
            expect(one.index).toBe(nextIndex);
            expect(one.scheduledMs).toBe(scheduledMs(random, one.index));
            expect(one.scheduledMs).toBeLessThanOrEqual(nowMs);
            if (one.send) expect(nowMs - one.scheduledMs).toBeLessThanOrEqual(everyMs * 1.000001);
            nextIndex += 1;
          }
          expect(due.filter((one) => one.send).length).toBe(due.length === 0 ? 0 : 1);
          expect(scheduledMs(random, nextIndex)).toBeGreaterThan(nowMs);
        }
      }),
    );
  });
});

test('the phase stays within one spacing', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 0.9999999, noNaN: true }), (random) => {
      const { firstMs } = gridFrom(5000, 200, random);
      expect(firstMs).toBeGreaterThanOrEqual(5000);
      expect(firstMs).toBeLessThan(5200);
    }),
  );
});

test('there is room for every probe that a time-out can keep in flight, and a margin', () => {
  expect(inFlightMax(100, 5000)).toBeGreaterThan(50 * 1.2);
  expect(inFlightMax(1000, 500)).toBeGreaterThan(1);
});
