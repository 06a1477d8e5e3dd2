import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { AwsError } from './aws-error.ts';

/** What of an HTTP request is signed. */
export interface SignedParts {
  readonly method: string;
  /** Path and query string as they were sent. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface CredentialScope {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

const skewMaxMs = 5 * 60_000;
const algorithm = 'AWS4-HMAC-SHA256';

/** The credential scope a request claims, before anything is verified: it says which service is meant. */
export const scopeOf = (headers: IncomingHttpHeaders): CredentialScope | undefined => {
  const found = /^AWS4-HMAC-SHA256 +Credential=([^/,\s]+)\/(\d{8})\/([a-z0-9-]+)\/([a-z0-9-]+)\/aws4_request\b/.exec(
    headers.authorization ?? '',
  );
  const [, accessKeyId, date, region, service] = found ?? [];
  if (accessKeyId === undefined || date === undefined || region === undefined || service === undefined)
    return undefined;
  return { accessKeyId, date, region, service };
};

const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest();

/** RFC 3986: everything but unreserved characters. */
const encode = (text: string): string =>
  encodeURIComponent(text).replaceAll(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new AwsError(400, 'InvalidURI', 'The URI is not valid percent-encoding.');
  }
};

/** The path is encoded once more than it was sent; S3 alone takes it as it is. */
const canonicalPath = (path: string, isS3: boolean): string => (isS3 ? path : path.split('/').map(encode).join('/'));

/** S3 lets callers leave the payload out of the signature, or sign it piece by piece, and say so. */
const payloadHash = ({ headers, body }: SignedParts, isS3: boolean): string => {
  const said = headers['x-amz-content-sha256'];
  const isWord = typeof said === 'string' && /^(UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+)$/.test(said);
  return isS3 && isWord ? said : sha256(body);
};

const canonicalQuery = (query: string): string =>
  query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair): [string, string] => {
      const at = pair.indexOf('=');
      const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
      return [encode(decode(name)), encode(decode(value))];
    })
    .sort(([nameA, valueA], [nameB, valueB]) => {
      if (nameA !== nameB) return nameA < nameB ? -1 : 1;
      return valueA < valueB ? -1 : Number(valueA > valueB);
    })
    .map(([name, value]) => `${name}=${value}`)
    .join('&');

const canonicalRequest = (parts: SignedParts, signedHeaders: readonly string[], isS3: boolean): string => {
  const [path = '/', query = ''] = parts.target.split(/\?(.*)/s);
  const headers = signedHeaders.map((name) => {
    const value = parts.headers[name];
    const text = Array.isArray(value) ? value.join(',') : (value ?? '');
    return `${name}:${text.trim().replaceAll(/ +/g, ' ')}\n`;
  });
  return [
    parts.method,
    canonicalPath(path, isS3),
    canonicalQuery(query),
    headers.join(''),
    signedHeaders.join(';'),
    payloadHash(parts, isS3),
  ].join('\n');
};

const instantOf = (text: string): number => {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
};

/** What refusals are called differs between protocols; the reasons are the same. */
export type SignatureProblem = 'missing' | 'unknown-key' | 'expired' | 'mismatch';

/**
 * Verifies AWS Signature Version 4 in the `Authorization` header (AWS General Reference, "Create a signed request"):
 * canonical request, string to sign, derived key. Returns what is wrong, or `undefined`. The payload hash is computed
 * from the body, whatever the caller says of it, save where S3 allows for none.
 */
export const verifySignature = (
  parts: SignedParts,
  keys: { readonly accessKeyId: string; readonly secret: string },
  nowMs: number,
): SignatureProblem | undefined => {
  const scope = scopeOf(parts.headers);
  const authorization = parts.headers.authorization ?? '';
  const signed = /SignedHeaders=([a-z0-9;-]+)/.exec(authorization)?.[1];
  const given = /Signature=([0-9a-f]{64})/.exec(authorization)?.[1];
  const stamp = parts.headers['x-amz-date'];
  if (scope === undefined || signed === undefined || given === undefined || typeof stamp !== 'string') return 'missing';
  if (scope.accessKeyId !== keys.accessKeyId || parts.headers['x-amz-security-token'] !== undefined) {
    return 'unknown-key';
  }
  const signedHeaders = signed.split(';');
  if (!signedHeaders.includes('host')) return 'mismatch';
  const instantMs = instantOf(stamp);
  if (!(Math.abs(instantMs - nowMs) <= skewMaxMs) || !stamp.startsWith(scope.date)) return 'expired';
  const scopeText = `${scope.date}/${scope.region}/${scope.service}/aws4_request`;
  const canonical = canonicalRequest(parts, signedHeaders, scope.service === 's3');
  const toSign = [algorithm, stamp, scopeText, sha256(canonical)].join('\n');
  const key = [scope.date, scope.region, scope.service, 'aws4_request'].reduce<string | Buffer>(
    hmac,
    `AWS4${keys.secret}`,
  );
  const wanted = hmac(key, toSign);
  return timingSafeEqual(wanted, Buffer.from(given, 'hex')) ? undefined : 'mismatch';
};
