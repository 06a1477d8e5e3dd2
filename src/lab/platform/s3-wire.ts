import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { ObjectVersion } from './object-store.ts';
import { replicationStatusOf } from './object-store.ts';

/** How S3's REST API words things: errors, XML answers, headers of an object. */

export class S3Error extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: OutgoingHttpHeaders;

  constructor(status: number, code: string, message: string, headers: OutgoingHttpHeaders = {}) {
    super(message);
    this.name = 'S3Error';
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export const notImplemented = (message: string): S3Error => new S3Error(501, 'NotImplemented', message);
export const malformed = (): S3Error =>
  new S3Error(400, 'MalformedXML', 'The XML you provided was not well-formed or did not validate.');

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

export const tag = (name: string, content: string | number | boolean): string => `<${name}>${content}</${name}>`;
export const text = (name: string, content: string): string => tag(name, escapeXml(content));

const xmlHead = '<?xml version="1.0" encoding="UTF-8"?>\n';
export const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

export const sendXml = (
  response: ServerResponse,
  status: number,
  xml: string,
  headers: OutgoingHttpHeaders = {},
): void => {
  const body = Buffer.from(xmlHead + xml);
  response.writeHead(status, { ...headers, 'content-type': 'application/xml', 'content-length': body.length });
  response.end(body);
};

const unescapeXml = (value: string): string =>
  value
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&');

/**
 * The contents of every element of this name, at any depth but never nested in itself: the request bodies read here
 * have no such element. An empty element has an empty content.
 */
export const elements = (xml: string, name: string): readonly string[] =>
  [...xml.matchAll(new RegExp(`<${name}(?:\\s[^>]*)?(?:/>|>([\\s\\S]*?)</${name}>)`, 'g'))].map(
    ([, inner = '']) => inner,
  );

export const textsOf = (xml: string, name: string): readonly string[] =>
  elements(xml, name).map((inner) => unescapeXml(inner.trim()));

export const textIn = (xml: string, name: string): string | undefined => textsOf(xml, name)[0];

/**
 * Takes apart the framing of `aws-chunked`: `<hex size>[;chunk-signature=…]\r\n<bytes>\r\n`, closed by a chunk of size
 * 0 and trailers. Throws `S3Error` when it does not hold together.
 */
export const decodeAwsChunked = (body: Buffer): Buffer => {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = body.indexOf('\r\n', at);
    const size = lineEnd < 0 ? Number.NaN : Number.parseInt(body.toString('latin1', at, lineEnd), 16);
    if (!(size >= 0)) throw new S3Error(400, 'IncompleteBody', 'The request body terminated unexpectedly');
    if (size === 0) return Buffer.concat(parts);
    const start = lineEnd + 2;
    if (start + size + 2 > body.length) {
      throw new S3Error(400, 'IncompleteBody', 'The request body terminated unexpectedly');
    }
    parts.push(body.subarray(start, start + size));
    at = start + size + 2;
  }
};

/** The bytes that were meant, out of a body that may be framed. */
export const unframed = (request: IncomingMessage, raw: Buffer): Buffer => {
  const isFramed =
    (request.headers['content-encoding'] ?? '').includes('aws-chunked') ||
    String(request.headers['x-amz-content-sha256'] ?? '').startsWith('STREAMING-');
  return isFramed ? decodeAwsChunked(raw) : raw;
};

/** Headers of a version as GET and HEAD give them. */
export const versionHeaders = (version: ObjectVersion, isVersioned: boolean): OutgoingHttpHeaders => {
  const status = replicationStatusOf(version);
  const headers: OutgoingHttpHeaders = {
    'last-modified': new Date(version.modified).toUTCString(),
    ...(isVersioned ? { 'x-amz-version-id': version.versionId } : {}),
    ...(version.isDeleteMarker ? { 'x-amz-delete-marker': 'true' } : {}),
    ...(status === undefined ? {} : { 'x-amz-replication-status': status }),
  };
  if (version.isDeleteMarker) return headers;
  for (const [name, value] of Object.entries(version.metadata)) headers[`x-amz-meta-${name}`] = value;
  return { ...headers, etag: version.etag, 'content-type': version.contentType, 'accept-ranges': 'bytes' };
};
