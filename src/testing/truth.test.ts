import { describe, expect, it } from 'vitest';
import { type OracleSample, trueOutages } from './truth.ts';

const timeoutMs = 100;

/** One letter a sample, 10 ms apart: `.` is good, `x` is not, `~` was good at the last moment. */
const samplesOf = (letters: string): readonly OracleSample[] =>
  [...letters].map((letter, index) => ({
    sentMs: index * 10,
    endedMs: index * 10 + (letter === '~' ? 95 : 5),
    ok: letter !== 'x',
    pod: null,
    epoch: null,
  }));
const good = (count: number): string => '.'.repeat(count);
const failed = (count: number): string => 'x'.repeat(count);

describe('the oracle', () => {
  it('knows an outage to its spacing', () => {
    const [outage, ...more] = trueOutages(samplesOf(`${good(20)}${failed(30)}${good(20)}`), timeoutMs);
    expect(more).toEqual([]);
    expect(outage).toEqual({
      down: { minMs: 190, maxMs: 200 },
      up: { minMs: 490, maxMs: 500 },
      lastsMs: { minMs: 290, maxMs: 310 },
    });
  });

  it('is unsure where answers flicker', () => {
    const [outage] = trueOutages(samplesOf(`${good(20)}${failed(30)}..x..x${good(20)}`), timeoutMs);
    expect(outage?.up).toEqual({ minMs: 490, maxMs: 560 });
    expect(outage?.down).toEqual({ minMs: 190, maxMs: 200 });
  });

  it('is unsure where answers come so late that a slower client would have had none', () => {
    const [outage] = trueOutages(samplesOf(`${good(20)}~${failed(30)}~~~${good(20)}`), timeoutMs);
    expect(outage?.down).toEqual({ minMs: 190, maxMs: 210 });
    expect(outage?.up).toEqual({ minMs: 500, maxMs: 540 });
    expect(trueOutages(samplesOf(`${good(20)}${'~'.repeat(30)}${good(20)}`), timeoutMs)).toEqual([]);
  });

  it('tells outages apart, and takes a few failures for strays', () => {
    expect(
      trueOutages(samplesOf(`${good(20)}${failed(15)}${good(150)}${failed(15)}${good(20)}`), timeoutMs),
    ).toHaveLength(2);
    expect(trueOutages(samplesOf(`${good(20)}xxx${good(150)}`), timeoutMs)).toEqual([]);
  });

  it('says nothing of an outage whose end it did not see', () => {
    expect(trueOutages(samplesOf(`${good(20)}${failed(30)}`), timeoutMs)).toEqual([]);
  });
});
