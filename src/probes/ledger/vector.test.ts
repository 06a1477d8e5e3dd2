import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { vectorOf, writtenOf } from './vector.ts';

const ended = { ours: false, endedMs: 5 };

describe('what became of an upsert', () => {
  it.each([
    ['acknowledged', { failure: null, status: 200 }, '{"upserted":1,"epoch":"e","sequence":7}', 'ok', 'ok'],
    ['acknowledged in other words', { failure: null, status: 200 }, '{"upserted":0}', 'info', 'wrong-content'],
    ['acknowledged in no words', { failure: null, status: 200 }, '<html>', 'info', 'wrong-content'],
    ['refused by a copy', { failure: null, status: 409 }, '', 'fail', '409'],
    ['timed out at the store', { failure: null, status: 408 }, '', 'info', '408'],
    ['answered by a store without an index', { failure: null, status: 503 }, '', 'info', '503'],
    ['refused at the door', { failure: 'refused', status: null }, '', 'fail', 'refused'],
    ['cut off', { failure: 'reset', status: null }, '', 'info', 'reset'],
    ['cut off in the answer', { failure: 'truncated', status: 200 }, '', 'info', 'truncated'],
    ['not answered', { failure: 'timeout', status: null }, '', 'info', 'timeout'],
  ])('%s', (_what, how, text, out, code) => {
    expect(writtenOf({ ...ended, ...how }, text)).toMatchObject({ out, code });
  });

  it('is certain and not sent when this machine could not send it', () => {
    const written = writtenOf({ failure: 'emfile', ours: true, status: null, endedMs: 5 }, '');
    expect(written).toMatchObject({ out: 'fail', code: 'emfile', unsent: true });
  });
});

describe('the vector of a record', () => {
  it('is the same every time, and another one for another record', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 8, max: 64 }), (one, other, dimensions) => {
        expect(vectorOf(`${one}`, dimensions)).toEqual(vectorOf(`${one}`, dimensions));
        if (one !== other) expect(vectorOf(`${one}`, dimensions)).not.toEqual(vectorOf(`${other}`, dimensions));
        expect(vectorOf(`${one}`, dimensions).some((value) => value !== 0)).toBe(true);
      }),
    );
  });
});
