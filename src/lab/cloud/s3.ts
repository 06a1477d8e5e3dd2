import { z } from 'zod';
import { messageOf } from '../../core/errors.ts';
import { forwardPort, type LabLayout, regionOfBucket } from '../layout.ts';
import { call, fetchText, linkAgent, readAll } from '../platform/http.ts';
import { AwsError } from './aws-error.ts';
import type { Resource } from './fis-targets.ts';
import { type Service, xmlResponse } from './protocol.ts';

/** The real regional store answers within this, or the call fails as one to a region that is gone does. */
const answerMs = 10_000;

const bucketsSchema = z.array(
  z.object({
    name: z.string(),
    tags: z.record(z.string(), z.string()),
    rules: z.array(z.object({ id: z.string(), isEnabled: z.boolean(), prefix: z.string(), destination: z.string() })),
  }),
);

export interface LabBucket extends z.output<typeof bucketsSchema.element> {
  readonly arn: string;
}

const arnOf = (bucket: string): string => `arn:aws:s3:::${bucket}`;

const agent = linkAgent();

/** Calls one of the lab's own routes of a region's store, over the operator's link to that region. */
const callStore = async (
  layout: LabLayout,
  region: string,
  method: 'GET' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<unknown> => {
  const { status, text } = await fetchText({
    agent,
    host: '127.0.0.1',
    port: forwardPort(layout, 'operator', `objects/${region}`),
    method,
    path: `/_lab/${path}`,
    headers: { authorization: `Bearer ${layout.token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headMs: answerMs,
  });
  if (status !== 200) throw new Error(`the object store of ${region} answered ${status}: ${text}`);
  return JSON.parse(text);
};

const listBuckets = async (layout: LabLayout, region: string): Promise<readonly LabBucket[]> =>
  bucketsSchema
    .parse(await callStore(layout, region, 'GET', 'buckets'))
    .map((one) => ({ ...one, arn: arnOf(one.name) }));

/** Buckets as targets of FIS. */
export const bucketResources = async (layout: LabLayout, region: string): Promise<readonly Resource[]> =>
  (await listBuckets(layout, region)).map(({ arn, tags }) => ({ arn, tags, attributes: {}, parameters: {} }));

export interface PauseRequest {
  readonly id: string;
  readonly arn: string;
  /** Region of the destination buckets. */
  readonly region: string;
  readonly destinationBuckets: readonly string[] | undefined;
  readonly prefixes: readonly string[] | undefined;
  /** Real milliseconds after which the store goes on by itself, whatever became of who paused it. */
  readonly forMs: number;
}

/** Pauses a bucket's replication; the result resumes it. Rejects when no rule of the bucket is meant. */
export const pauseReplication = async (
  layout: LabLayout,
  region: string,
  request: PauseRequest,
): Promise<() => Promise<void>> => {
  const bucket = (await listBuckets(layout, region)).find(({ arn }) => arn === request.arn);
  const meant = (bucket?.rules ?? []).filter(
    ({ destination, prefix }) =>
      regionOfBucket(layout.environment, destination) === request.region &&
      (request.destinationBuckets?.includes(destination) ?? true) &&
      (request.prefixes?.includes(prefix) ?? true),
  );
  if (bucket === undefined || meant.length === 0) {
    throw new Error(`${request.arn} has no replication rule with that destination in ${request.region}.`);
  }
  const path = `pauses/${encodeURIComponent(request.id)}`;
  const destinations = [...new Set(meant.map(({ destination }) => destination))];
  const { prefixes, forMs } = request;
  const body = { bucket: bucket.name, destinations, forMs, ...(prefixes === undefined ? {} : { prefixes }) };
  await callStore(layout, region, 'PUT', path, body);
  return async () => void (await callStore(layout, region, 'DELETE', path));
};

/** Headers that belong to one connection, not to what is carried. */
const ofTheConnection: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'transfer-encoding', 'host']);

/** S3 of one region: its store answers, over the operator's link; only the signature was checked on the way. */
export const createS3 = (layout: LabLayout): Service => ({
  refuse: (error, { requestId }) =>
    xmlResponse('Error', { Code: error.code, Message: error.message, RequestId: requestId }, { status: error.status }),
  async answer({ method, target, headers, body, region }) {
    if (!layout.environment.regions.some(({ name }) => name === region)) {
      throw new AwsError(400, 'AuthorizationHeaderMalformed', `The region "${region}" is wrong.`);
    }
    const passed = Object.fromEntries(Object.entries(headers).filter(([name]) => !ofTheConnection.has(name)));
    const response = await call({
      agent,
      host: '127.0.0.1',
      port: forwardPort(layout, 'operator', `objects/${region}`),
      method,
      path: target,
      headers: passed,
      ...(body.length === 0 ? {} : { body }),
      headMs: answerMs,
    }).catch((error: unknown) => {
      throw new AwsError(503, 'ServiceUnavailable', `S3 in ${region} does not answer: ${messageOf(error)}`);
    });
    // Also where there is none, as of a HEAD: a body that nobody reads keeps its connection.
    const bytes = await readAll(response, answerMs);
    const answered = Object.entries(response.headers).flatMap(([name, value]): [string, string][] =>
      typeof value === 'string' && !ofTheConnection.has(name) ? [[name, value]] : [],
    );
    return { status: response.statusCode ?? 502, headers: Object.fromEntries(answered), body: bytes };
  },
});
