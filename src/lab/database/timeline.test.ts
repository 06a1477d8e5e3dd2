import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isBeyond, parseHistory } from './timeline.ts';

const history = '1\t0/3000158\tno recovery target specified\n\n2\t1/A0\tno recovery target specified\n';

describe('timeline history', () => {
  test('says where each timeline ended', () => {
    expect(parseHistory(history)).toEqual([
      { timeline: 1, endBytes: 0x3000158 },
      { timeline: 2, endBytes: 2 ** 32 + 0xa0 },
    ]);
  });

  test('a replica that has more of an old timeline than the primary kept can only be rebuilt', () => {
    const ends = parseHistory(history);
    expect(isBeyond(ends, 1, 0x3000158)).toBe(false);
    expect(isBeyond(ends, 1, 0x3000159)).toBe(true);
    expect(isBeyond(ends, 2, 0x3000159)).toBe(false);
    expect(isBeyond(ends, 3, 2 ** 40)).toBe(false);
  });

  test('any text is read without a fault', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const { endBytes } of parseHistory(text)) expect(endBytes).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});
