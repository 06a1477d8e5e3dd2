import type { IncomingHttpHeaders } from 'node:http';
import type { AwsError } from './aws-error.ts';
import { type XmlValue, xmlText } from './xml.ts';

/** A signed request, already authenticated. */
export interface AwsRequest {
  readonly method: string;
  /** Path and query string as they were sent. */
  readonly target: string;
  /** The path as it was sent, still percent-encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Region of the credential scope. */
  readonly region: string;
  readonly requestId: string;
}

export interface AwsResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
}

/** One AWS service: how it answers, and how its protocol words a refusal. */
export interface Service {
  answer(request: AwsRequest): Promise<AwsResponse>;
  refuse(error: AwsError, request: Pick<AwsRequest, 'requestId' | 'headers'>): AwsResponse;
}

const xmlHeaders = { 'content-type': 'text/xml' };

export const xmlResponse = (
  name: string,
  value: XmlValue,
  more: { readonly namespace?: string; readonly status?: number; readonly headers?: Record<string, string> } = {},
): AwsResponse => ({
  status: more.status ?? 200,
  headers: { ...xmlHeaders, ...more.headers },
  body: `<?xml version="1.0" encoding="UTF-8"?>\n${xmlText(name, value, more.namespace)}`,
});

/** Refusal of the query and restXml protocols (RDS, STS, Route 53). */
export const refuseQuery: Service['refuse'] = (error, { requestId }) =>
  xmlResponse(
    'ErrorResponse',
    {
      Error: { Type: error.status < 500 ? 'Sender' : 'Receiver', Code: error.code, Message: error.message },
      RequestId: requestId,
    },
    { status: error.status },
  );

/** Refusal of the EC2 protocol. */
export const refuseEc2: Service['refuse'] = (error, { requestId }) =>
  xmlResponse(
    'Response',
    { Errors: { Error: { Code: error.code, Message: error.message } }, RequestID: requestId },
    { status: error.status },
  );

export const jsonResponse = (value: unknown, status = 200, headers: Record<string, string> = {}): AwsResponse => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(value),
});

/** Refusal of the restJson1 protocol (FIS). */
export const refuseJson: Service['refuse'] = (error) =>
  jsonResponse({ message: error.message }, error.status, { 'x-amzn-errortype': error.code });

/** One page of a list and the token of the next one. Tokens are offsets: the lab's lists are short. */
export const pageOf = <T>(
  items: readonly T[],
  maxResults: number,
  token: string | undefined,
): { readonly items: readonly T[]; readonly next: string | undefined } | undefined => {
  const start = token === undefined || token === '' ? 0 : Number(Buffer.from(token, 'base64url').toString('utf8'));
  if (!Number.isInteger(start) || start < 0 || start > items.length) return undefined;
  const end = start + maxResults;
  return {
    items: items.slice(start, end),
    next: end < items.length ? Buffer.from(String(end)).toString('base64url') : undefined,
  };
};
