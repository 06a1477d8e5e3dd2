import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Target } from './balancer.ts';
import { nextTarget, weightOf } from './balancer.ts';

const target = (name: string, healthy: boolean, rampFromMs?: number): Target => ({
  pod: { key: name, name, app: 'gateway', zone: 'a', port: 1 },
  healthy,
  streak: 0,
  rampFromMs,
  credit: 0,
  stop: new AbortController(),
});

const draw = (targets: readonly Target[], count: number, nowMs: number): Record<string, number> => {
  const drawn: Record<string, number> = {};
  for (let turn = 0; turn < count; turn += 1) {
    const name = nextTarget(targets, new Set(), nowMs, 1000)?.pod.name ?? 'none';
    drawn[name] = (drawn[name] ?? 0) + 1;
  }
  return drawn;
};

describe('the balancer', () => {
  it('gives every healthy gateway its turn and an unhealthy one none', () => {
    expect(draw([target('a', true), target('b', false), target('c', true)], 10, 0)).toEqual({ a: 5, c: 5 });
  });

  it('offers all when none is healthy: the checks may be what is wrong', () => {
    expect(draw([target('a', false), target('b', false)], 4, 0)).toEqual({ a: 2, b: 2 });
  });

  it('has nobody to offer only when nobody is registered, or everybody was tried', () => {
    expect(nextTarget([], new Set(), 0, 1000)).toBeUndefined();
    const one = target('a', true);
    expect(nextTarget([one], new Set([one]), 0, 1000)).toBeUndefined();
  });

  it('brings a returning gateway in slowly: a tenth at first, half way a third, at the end its share', () => {
    const returning = (): Target[] => [target('a', true), target('b', true, 0)];
    expect(draw(returning(), 110, 0)).toEqual({ a: 100, b: 10 });
    expect(draw(returning(), 300, 500)).toEqual({ a: 200, b: 100 });
    expect(draw(returning(), 100, 1000)).toEqual({ a: 50, b: 50 });
  });

  it('never gives more than a full share and never none', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e7, noNaN: true }),
        fc.integer({ min: 0, max: 10_000 }),
        (nowMs, slowMs) => {
          const weight = weightOf(target('a', true, 0), nowMs, slowMs);
          expect(weight).toBeGreaterThan(0);
          expect(weight).toBeLessThanOrEqual(1);
        },
      ),
    );
  });
});
