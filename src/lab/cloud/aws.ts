import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Clock, systemClock } from '../../core/clock.ts';
import type { Component, ComponentContext } from '../component.ts';
import { type LabLayout, scaled } from '../layout.ts';
import { http } from '../node-http.ts';
import { markUsed } from '../used.ts';
import { AwsError } from './aws-error.ts';
import { createCloudWatch } from './cloudwatch.ts';
import { createDataPlane } from './data-plane.ts';
import { createEc2 } from './ec2.ts';
import { createFis } from './fis.ts';
import { hostResources, subnetResources } from './fis-targets.ts';
import type { AwsResponse, Service } from './protocol.ts';
import { refuseQuery } from './protocol.ts';
import { createRds, databaseResources, forceFailover } from './rds.ts';
import { createRoute53 } from './route53.ts';
import { bucketResources, createS3, pauseReplication } from './s3.ts';
import { type SignatureProblem, scopeOf, verifySignature } from './signature.ts';
import { sendCommand } from './ssm-commands.ts';
import { createSts } from './sts.ts';
import { createWorld } from './world.ts';

const bodyBytesMax = 1024 * 1024;
/** Real: a store whose FIS is gone goes on by itself this long after the action would have ended. */
const pauseMarginMs = 1000;

/** By signing name. */
type Services = Readonly<Record<string, Service>>;

interface Refusal {
  readonly status: number;
  readonly code: string;
}

/** What each protocol calls a signature it does not accept. */
const refusals: Readonly<Record<'ec2' | 'json' | 'query' | 's3', Readonly<Record<SignatureProblem, Refusal>>>> = {
  ec2: {
    missing: { status: 401, code: 'AuthFailure' },
    'unknown-key': { status: 401, code: 'AuthFailure' },
    expired: { status: 400, code: 'RequestExpired' },
    mismatch: { status: 403, code: 'SignatureDoesNotMatch' },
  },
  json: {
    missing: { status: 403, code: 'MissingAuthenticationTokenException' },
    'unknown-key': { status: 403, code: 'UnrecognizedClientException' },
    expired: { status: 403, code: 'InvalidSignatureException' },
    mismatch: { status: 403, code: 'InvalidSignatureException' },
  },
  query: {
    missing: { status: 403, code: 'MissingAuthenticationToken' },
    'unknown-key': { status: 403, code: 'InvalidClientTokenId' },
    expired: { status: 403, code: 'SignatureDoesNotMatch' },
    mismatch: { status: 403, code: 'SignatureDoesNotMatch' },
  },
  s3: {
    missing: { status: 403, code: 'AccessDenied' },
    'unknown-key': { status: 403, code: 'InvalidAccessKeyId' },
    expired: { status: 403, code: 'RequestTimeTooSkewed' },
    mismatch: { status: 403, code: 'SignatureDoesNotMatch' },
  },
};

const messages: Readonly<Record<SignatureProblem, string>> = {
  missing: 'Request is missing Authentication Token',
  'unknown-key': 'The security token included in the request is invalid.',
  expired: 'Signature expired: the date of the request differs from the current time by more than 5 minutes.',
  mismatch:
    'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key.',
};

/** Services whose refusals are not worded as those of the query protocol. */
const protocols: Readonly<Record<string, keyof typeof refusals>> = {
  ec2: 'ec2',
  s3: 's3',
  fis: 'json',
  monitoring: 'json',
};

const signatureError = (service: string, problem: SignatureProblem): AwsError => {
  const { status, code } = refusals[protocols[service] ?? 'query'][problem];
  return new AwsError(status, code, messages[problem]);
};

const readBody = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new AwsError(413, 'RequestEntityTooLarge', 'The request body is too large.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

interface Edge {
  readonly layout: LabLayout;
  readonly services: Services;
  readonly clock: Clock;
  log(line: string): void;
}

/** Authenticates a request, hands it to the service its credential scope names, and words what goes wrong. */
const handle = async (edge: Edge, request: IncomingMessage): Promise<AwsResponse> => {
  const { layout, services, clock } = edge;
  const { method = 'GET', url = '/', headers } = request;
  const requestId = randomUUID();
  const scope = scopeOf(headers);
  const service = scope !== undefined && Object.hasOwn(services, scope.service) ? services[scope.service] : undefined;
  try {
    const body = await readBody(request);
    const keys = { accessKeyId: layout.awsAccessKeyId, secret: layout.token };
    const problem = verifySignature({ method, target: url, headers, body }, keys, clock.nowMs());
    if (problem !== undefined || scope === undefined) throw signatureError(scope?.service ?? '', problem ?? 'missing');
    markUsed(layout.stateDir);
    if (service === undefined) {
      throw new AwsError(501, 'NotImplemented', `This lab has no AWS service "${scope.service}".`);
    }
    const [path = '/', query = ''] = url.split(/\?(.*)/s);
    return await service.answer({
      method,
      target: url,
      path,
      query: new URLSearchParams(query),
      headers,
      body,
      region: scope.region,
      requestId,
    });
  } catch (error) {
    const known = error instanceof AwsError ? error : new AwsError(500, 'InternalFailure', 'The lab failed inside.');
    if (known !== error) edge.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return (service?.refuse ?? refuseQuery)(known, { requestId, headers });
  }
};

const serve = (edge: Edge, signal: AbortSignal): Promise<void> => {
  const server = http.createServer({ requestTimeout: 30_000, keepAliveTimeout: 60_000 }, (request, response) => {
    handle(edge, request).then(
      ({ status, headers, body }) => {
        const data = Buffer.from(body);
        // What a HEAD answers has a length, and no body that would show it.
        const length = request.method === 'HEAD' ? (headers['content-length'] ?? data.length) : data.length;
        response.writeHead(status, { ...headers, 'x-amzn-requestid': randomUUID(), 'content-length': length });
        response.end(data);
      },
      () => response.destroy(),
    );
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(edge.layout.control.aws, '127.0.0.1', () => {
      signal.addEventListener(
        'abort',
        () => {
          server.close();
          server.closeAllConnections();
        },
        { once: true },
      );
      resolve();
    });
  });
};

const createServices = (
  context: ComponentContext,
): { services: Services; follow(signal: AbortSignal): Promise<void> } => {
  const { layout, log, truth } = context;
  const { environment } = layout;
  const clock = systemClock;
  const plane = createDataPlane(layout, log);
  const world = createWorld(environment, clock.nowMs(), plane.apply);
  plane.bind(world);
  const fis = createFis({
    world,
    clock,
    experimentRole: environment.aws.experimentRole,
    real: (documentedMs) => scaled(layout, documentedMs),
    resources: async (region, type) => {
      if (type === 'aws:ec2:subnet') return subnetResources(region);
      if (type === 'aws:ec2:instance') return hostResources(region);
      if (type === 'aws:s3:bucket') return await bucketResources(layout, region.name);
      return type === 'aws:rds:db' ? await databaseResources(layout, region.name) : [];
    },
    rebootDatabase: async (region, arn, isFailover) => {
      if (!isFailover) throw new Error('This lab reboots with forceFailover alone.');
      await forceFailover(layout, region.name, arn.split(':').at(-1) ?? '');
    },
    sendCommand: (document, parameters, hosts) =>
      sendCommand(document, parameters, hosts, { layout, world, real: (documentedMs) => scaled(layout, documentedMs) }),
    pauseReplication: (region, { durationMs, ...request }) =>
      pauseReplication(layout, region.name, { ...request, forMs: scaled(layout, durationMs) + pauseMarginMs }),
    onState: (experiment) => truth('fis.state', experiment.id, { status: experiment.state.status }),
  });
  const monitoring = createCloudWatch(world, clock, (region, alarm) => {
    if (alarm.state === 'ALARM') fis.alarmFired(region, alarm.arn);
  });
  const services = {
    fis,
    ec2: createEc2(world),
    rds: createRds(layout, world),
    route53: createRoute53(layout, clock),
    s3: createS3(layout),
    monitoring,
    sts: createSts(environment.aws.account),
  };
  return { services, follow: plane.reconcile };
};

/**
 * The AWS API of the lab: all services on one port, told apart by the credential scope of the signature, on one shared
 * world. What the network part of that world says, the links do.
 */
export const component: Component = {
  kind: 'aws',
  start: async (context) => {
    const { layout, signal, log } = context;
    const { services, follow } = createServices(context);
    await serve({ layout, services, clock: systemClock, log }, signal);
    void follow(signal);
    return { port: layout.control.aws };
  },
};
