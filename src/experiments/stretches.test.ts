import { describe, expect, it } from 'vitest';
import { labEnvironment } from '../lab/testing.ts';
import { stretchesOf } from './stretches.ts';

describe('what a time scale adds to time-outs', () => {
  it('is nothing in real time, nor where there is no lab', () => {
    expect(stretchesOf(labEnvironment(), 1)).toEqual({});
    expect(stretchesOf({ name: 'production' }, 20)).toEqual({});
  });

  it('is the floor less the scaled time-out, for each that may be waited for', () => {
    const { stretches } = stretchesOf(labEnvironment(), 20);
    // 5 s of checks are 250 ms at scale 20, and the floor is 600 ms; three checks and the one under way.
    expect(stretches?.['database-checks']).toEqual({ maxMs: 1400, scale: 8.3 });
    expect(stretches?.liveness).toEqual({ maxMs: 4 * 550, scale: 1.6 });
    expect(stretchesOf(labEnvironment(), 2).stretches?.['database-checks']?.maxMs).toBe(0);
  });
});
