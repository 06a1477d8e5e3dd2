import { describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { createTurns } from './turns.ts';

const never = new AbortController().signal;

describe('turns', () => {
  it('lets in as many as there is room for, in the order they came', async () => {
    const take = createTurns(2, 60_000, systemClock);
    const begun: number[] = [];
    const ends = [0, 1, 2, 3].map(async (index) => {
      const end = await take(never);
      begun.push(index);
      return end;
    });
    await systemClock.sleep(5);
    expect(begun).toEqual([0, 1]);
    (await ends[0])?.();
    (await ends[0])?.();
    await systemClock.sleep(5);
    expect(begun).toEqual([0, 1, 2]);
    (await ends[1])?.();
    await ends[3];
    expect(begun).toEqual([0, 1, 2, 3]);
    for (const end of ends) (await end)();
  });

  it('ends a turn that is never given back, and forgets who does not want it any more', async () => {
    const take = createTurns(1, 30, systemClock);
    await take(never);
    const leaving = new AbortController();
    const left = take(leaving.signal);
    const waiting = take(never);
    leaving.abort(new Error('not any more'));
    await expect(left).rejects.toThrow('not any more');
    (await waiting)();
  });
});
