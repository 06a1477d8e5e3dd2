import { describe, expect, it } from 'vitest';
import { exitCodes } from '../core/errors.ts';
import type { Stream } from '../probes/sample.ts';
import type { Report } from '../report/model.ts';
import { carriedFrom, demoExitCode } from './execute.ts';
import type { Made } from './reporting.ts';

const stream = { stream: 'chat/west/fresh', probe: 'chat', timeoutMs: 1000, slowAfterMs: 1000 } as Stream;
const counts = { stream: stream.stream, probes: 400, bad: 1, late: 0 };

const madeOf = (over: Partial<Record<'verdict' | 'baseline' | 'undo' | 'streams', unknown>> = {}): Made => ({
  files: {},
  report: {
    verdict: 'PASS',
    baseline: { holds: true, reason: '', streams: [{ ...counts, window: [] }] },
    undo: { armed: 1, reverted: 1, outstanding: [] },
    streams: [stream],
    ...over,
  } as unknown as Report,
});

describe('what a run takes over from those before it', () => {
  it('is what held of the same streams', () => {
    expect(carriedFrom([madeOf(), madeOf({ verdict: 'FAIL' })], [stream])).toEqual([counts, counts]);
  });

  it.each([
    ['a void run', { verdict: 'VOID' }],
    ['a baseline that did not hold', { baseline: { holds: false, reason: '', streams: [counts] } }],
    ['a platform that is not whole again', { undo: { armed: 1, reverted: 0, outstanding: [{}] } }],
    ['another time-out', { streams: [{ ...stream, timeoutMs: 2000 }] }],
    ['another stream', { streams: [] }],
  ])('is nothing of %s', (_what, over) => {
    expect(carriedFrom([madeOf(over)], [stream])).toEqual([]);
  });
});

describe('the exit code of a demonstration', () => {
  const one = (exitCode: number, verdict: string) => ({ exitCode, report: madeOf({ verdict }).report });

  it('is success when every scenario was measured, whatever was found', () => {
    const found = [
      one(exitCodes.pass, 'PASS'),
      one(exitCodes.fail, 'FAIL'),
      one(exitCodes.inconclusive, 'INCONCLUSIVE'),
    ];
    expect(demoExitCode(found)).toBe(exitCodes.pass);
  });

  it('is not when one measured nothing, or left something behind', () => {
    expect(demoExitCode([one(exitCodes.fail, 'FAIL'), one(exitCodes.inconclusive, 'VOID')])).toBe(
      exitCodes.inconclusive,
    );
    expect(demoExitCode([one(exitCodes.rollbackIncomplete, 'VOID')])).toBe(exitCodes.rollbackIncomplete);
  });
});
