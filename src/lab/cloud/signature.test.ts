import { describe, expect, it } from 'vitest';
import { type SignedParts, scopeOf, verifySignature } from './signature.ts';

/** The worked example of the AWS General Reference: its key, request and signature. */
const keys = { accessKeyId: 'AKIDEXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
const nowMs = Date.UTC(2015, 7, 30, 12, 36, 0);
const example: SignedParts = {
  method: 'GET',
  target: '/?Action=ListUsers&Version=2010-05-08',
  headers: {
    host: 'iam.amazonaws.com',
    'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
    'x-amz-date': '20150830T123600Z',
    authorization:
      'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, ' +
      'SignedHeaders=content-type;host;x-amz-date, ' +
      'Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
  },
  body: Buffer.alloc(0),
};

const withHeader = (name: string, value: string): SignedParts => ({
  ...example,
  headers: { ...example.headers, [name]: value },
});

describe('Signature Version 4', () => {
  it('accepts the worked example, whatever the order of the query', () => {
    expect(verifySignature(example, keys, nowMs)).toBeUndefined();
    const turned = { ...example, target: '/?Version=2010-05-08&Action=ListUsers' };
    expect(verifySignature(turned, keys, nowMs + 299_000)).toBeUndefined();
    expect(scopeOf(example.headers)).toEqual({
      accessKeyId: 'AKIDEXAMPLE',
      date: '20150830',
      region: 'us-east-1',
      service: 'iam',
    });
  });

  it.each([
    ['another method', { ...example, method: 'POST' }, 'mismatch'],
    ['another action', { ...example, target: '/?Action=ListRoles&Version=2010-05-08' }, 'mismatch'],
    ['another path', { ...example, target: '/x?Action=ListUsers&Version=2010-05-08' }, 'mismatch'],
    ['a body that was not signed', { ...example, body: Buffer.from('x') }, 'mismatch'],
    ['another host', withHeader('host', 'ec2.amazonaws.com'), 'mismatch'],
    ['another date', withHeader('x-amz-date', '20150830T123601Z'), 'mismatch'],
    ['a session token', withHeader('x-amz-security-token', 'x'), 'unknown-key'],
    ['no signature', withHeader('authorization', 'Bearer x'), 'missing'],
    ['a day that is not the scope’s', withHeader('x-amz-date', '20150831T123600Z'), 'expired'],
    ['a date that is none', withHeader('x-amz-date', 'yesterday'), 'expired'],
  ])('refuses %s', (_what, parts, problem) => {
    expect(verifySignature(parts, keys, nowMs)).toBe(problem);
  });

  it('refuses another key or secret, and a clock that is off by more than five minutes', () => {
    expect(verifySignature(example, { ...keys, accessKeyId: 'OTHER' }, nowMs)).toBe('unknown-key');
    expect(verifySignature(example, { ...keys, secret: 'other' }, nowMs)).toBe('mismatch');
    expect(verifySignature(example, keys, nowMs + 301_000)).toBe('expired');
    expect(verifySignature(example, keys, nowMs - 301_000)).toBe('expired');
  });
});
