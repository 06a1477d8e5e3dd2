import { describe, expect, test } from 'vitest';
import { keyOf, parseListing, parseVersions, prefixOf, putOutcome, seqOf, startAfter } from './objects.ts';

const prefix = prefixOf('run-1', 'objects-ledger/us-west/fresh');

describe('keys of the object ledger', () => {
  test('are in the order of their numbers, and give them back', () => {
    const numbers = [0, 1, 9, 10, 99, 100, 12_345, 9_999_999_999];
    const keys = numbers.map((seq) => keyOf(prefix, seq));
    expect(keys.toSorted()).toEqual(keys);
    expect(keys.map((key) => seqOf(prefix, key))).toEqual(numbers);
  });

  test('begin where the numbers that are asked for begin', () => {
    expect(startAfter(prefix, 0)).toBe('');
    for (const since of [1, 10, 1000]) {
      expect(keyOf(prefix, since) > startAfter(prefix, since)).toBe(true);
      expect(keyOf(prefix, since - 1) > startAfter(prefix, since)).toBe(false);
    }
  });

  test('of others are no number', () => {
    for (const rest of ['', '1', '00000000001', '000000000a', '0000000001/x']) {
      expect(seqOf(prefix, `${prefix}${rest}`)).toBeUndefined();
    }
    expect(seqOf(prefix, keyOf(prefixOf('run-2', 'x'), 1))).toBeUndefined();
  });
});

describe('what becomes of a PUT', () => {
  const base = { failure: null, status: null, endedMs: 1, ours: false, sent: true };

  test.each([
    ['acknowledged', { status: 200 }, 'ok', 'ok'],
    ['refused by the store', { status: 403 }, 'fail', '403'],
    ['no bucket', { status: 404 }, 'fail', '404'],
    ['the store had no request in time', { status: 408 }, 'info', '408'],
    ['a failure inside the store', { status: 500 }, 'info', '500'],
    ['slow down', { status: 503 }, 'info', '503'],
    ['a redirect stores nothing that is known', { status: 307 }, 'info', '307'],
    ['nobody listens', { failure: 'refused', sent: false }, 'fail', 'refused'],
    ['no connection in time', { failure: 'timeout', sent: false }, 'fail', 'timeout'],
    ['no answer in time', { failure: 'timeout' }, 'info', 'timeout'],
    ['reset under way', { failure: 'reset' }, 'info', 'reset'],
    ['an answer cut short', { failure: 'truncated', status: 200 }, 'info', 'truncated'],
  ])('%s', (_what, change, out, code) => {
    expect(putOutcome({ ...base, ...change })).toEqual({ out, code, endedMs: 1 });
  });

  test('that this machine could not send counts as not sent', () => {
    const outcome = putOutcome({ ...base, failure: 'emfile', ours: true, sent: false });
    expect(outcome).toEqual({ out: 'fail', code: 'emfile', endedMs: 1, unsent: true });
  });
});

describe('pages of S3', () => {
  test('give keys as they were before they were encoded, and where the next page is', () => {
    const entry = (key: string): string => `<Contents><Key>${key}</Key><Owner><ID>x</ID></Owner></Contents>`;
    const page = (rest: string): string => `<ListBucketResult><Prefix>p</Prefix>${rest}</ListBucketResult>`;
    expect(parseListing(page(`${entry('a%2Fb%26c')}${entry('d+e')}<IsTruncated>false</IsTruncated>`))).toEqual({
      keys: ['a/b&c', 'd e'],
      next: undefined,
    });
    const more = '<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>';
    expect(parseListing(page(entry('k') + more)).next).toBe('a&b');
  });

  test('show versions and delete markers alike', () => {
    const one = (name: string, key: string, id: string): string =>
      `<${name}><Key>${key}</Key><VersionId>${id}</VersionId><IsLatest>true</IsLatest></${name}>`;
    const entries = one('Version', 'a%2Fb', '1') + one('DeleteMarker', 'c', '2');
    expect(parseVersions(`<ListVersionsResult>${entries}</ListVersionsResult>`)).toEqual([
      { key: 'a/b', versionId: '1' },
      { key: 'c', versionId: '2' },
    ]);
  });
});
