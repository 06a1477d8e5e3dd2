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

/** The worked examples of the S3 API Reference, "Signature Calculations for the Authorization Header". */
describe('Signature Version 4 as S3 has it', () => {
  const keysOfS3 = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' };
  const thenMs = Date.UTC(2013, 4, 24);
  const text = Buffer.from('Welcome to Amazon S3.');
  const put: SignedParts = {
    method: 'PUT',
    target: '/test%24file.text',
    headers: {
      host: 'examplebucket.s3.amazonaws.com',
      date: 'Fri, 24 May 2013 00:00:00 GMT',
      'x-amz-content-sha256': '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
      'x-amz-date': '20130524T000000Z',
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
      authorization:
        'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,' +
        'SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,' +
        'Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
    },
    body: text,
  };

  it('takes the path as it was sent', () => {
    expect(verifySignature(put, keysOfS3, thenMs)).toBeUndefined();
    expect(verifySignature({ ...put, target: '/test$file.text' }, keysOfS3, thenMs)).toBe('mismatch');
  });

  it('looks at the bytes, unless the caller says that they are not signed', () => {
    expect(verifySignature({ ...put, body: Buffer.from('other') }, keysOfS3, thenMs)).toBe('mismatch');
    const said = { ...put, headers: { ...put.headers, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } };
    expect(verifySignature(said, keysOfS3, thenMs)).toBe('mismatch');
  });
});
