import { describe, expect, it } from 'vitest';
import { createEjection } from './ejection.ts';
import { leastOutstanding, preferZone } from './orchestrator.ts';

const targets = [
  { key: 'a', zone: 'one' },
  { key: 'b', zone: 'one' },
  { key: 'c', zone: 'two' },
];
const keys = (some: readonly { readonly key: string }[]): string => some.map(({ key }) => key).join('');

describe('leaving out what failed', () => {
  it('leaves a failed target out for a while, longer each time it fails again, and forgives success', () => {
    let nowMs = 0;
    const ejection = createEjection(() => nowMs, 100, 1000);
    ejection.failed('a');
    expect(keys(ejection.offer(targets))).toBe('bc');
    nowMs = 100;
    expect(keys(ejection.offer(targets))).toBe('abc');
    ejection.failed('a');
    nowMs = 250;
    expect(keys(ejection.offer(targets))).toBe('bc');
    ejection.succeeded('a');
    expect(keys(ejection.offer(targets))).toBe('abc');
  });

  it('never leaves one out for longer than its bound', () => {
    let nowMs = 0;
    const ejection = createEjection(() => nowMs, 100, 1000);
    for (let failure = 0; failure < 50; failure += 1) ejection.failed('a');
    nowMs = 1000;
    expect(keys(ejection.offer(targets))).toBe('abc');
  });

  it('offers all when all failed', () => {
    const ejection = createEjection(() => 0, 100, 1000);
    for (const { key } of targets) ejection.failed(key);
    expect(keys(ejection.offer(targets))).toBe('abc');
  });
});

describe('choosing a pod', () => {
  it('takes the one with the least work, by turns among equals', () => {
    const work = new Map([['a', 2]]);
    expect([0, 1, 2, 3].map((turn) => leastOutstanding(targets, work, new Set(), turn)?.key).join('')).toBe('bcbc');
  });

  it('takes one that was not tried, and one that was when there is no other', () => {
    expect(leastOutstanding(targets, new Map(), new Set(['a', 'b']), 0)?.key).toBe('c');
    expect(leastOutstanding(targets, new Map(), new Set(['a', 'b', 'c']), 1)?.key).toBe('b');
    expect(leastOutstanding([], new Map(), new Set(), 0)).toBeUndefined();
  });

  it('stays in its zone while somebody is there', () => {
    expect(keys(preferZone(targets, 'two'))).toBe('c');
    expect(keys(preferZone(targets, 'three'))).toBe('abc');
  });
});
