import { DnsError } from '../adapters/failure.ts';
import type { HttpClient, HttpHeaders, HttpOutcome, HttpRequest } from '../adapters/http.ts';
import { BlackstartError } from '../core/errors.ts';
import { type Destination, EmptyAnswer } from './names.ts';
import type { Attempt, Look, ProbeContext, ProbedService } from './probe.ts';

/** The platform's service, for probes that cannot do without one. */
export const serviceOf = (context: ProbeContext): ProbedService => {
  if (context.service !== null) return context.service;
  throw new BlackstartError(
    'USAGE',
    `probe ${context.stream.probe} of stream ${context.stream.stream} needs a platform, and only URLs are observed`,
    'Use the probes http and tcp, or run it against an environment.',
  );
};

/** Resolves, noting what is known for the case of a time-out. A name that does not resolve is the target's failure. */
export const locate = async (attempt: Attempt, find: () => Promise<Destination>): Promise<Destination | Look> => {
  attempt.seen.timeoutCode = 'dns-timeout';
  try {
    const found = await find();
    attempt.seen.address = `${found.address}:${found.port}`;
    delete attempt.seen.timeoutCode;
    return found;
  } catch (error) {
    if (error instanceof DnsError || error instanceof EmptyAnswer) return { code: 'dns' };
    if (attempt.signal.aborted) return { code: 'dns-timeout' };
    throw error;
  }
};

export const isLook = (value: Destination | Look): value is Look => 'code' in value;

/** Where the service's answer came from, by the headers of the platform. */
export const noteServed = (attempt: Attempt, headers: HttpHeaders): void => {
  const text = (name: string): string | undefined => {
    const value = headers[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const served = {
    region: text('x-served-region'),
    zone: text('x-served-zone'),
    pod: text('x-served-pod'),
    epoch: text('x-database-epoch'),
  };
  if (served.region !== undefined) attempt.seen.region = served.region;
  if (served.zone !== undefined) attempt.seen.zone = served.zone;
  if (served.pod !== undefined) attempt.seen.pod = served.pod;
  if (served.epoch !== undefined) attempt.seen.epoch = served.epoch;
};

type ServiceRequest = Pick<HttpRequest, 'method' | 'path' | 'headers' | 'body'> & Partial<Pick<HttpRequest, 'onData'>>;

/** One request to the service, found through SRV `_http._tcp.<host>` at this location's resolver. */
export const askService = async (
  attempt: Attempt,
  context: ProbeContext,
  client: HttpClient,
  request: ServiceRequest,
): Promise<HttpOutcome | Look> => {
  const { host } = serviceOf(context);
  const found = await locate(attempt, () => context.names.service(`_http._tcp.${host}`, attempt.signal));
  if (isLook(found)) return found;
  return client.send({
    ...request,
    secure: false,
    address: found.address,
    port: found.port,
    host,
    signal: attempt.signal,
    onHead: (_status, headers) => noteServed(attempt, headers),
  });
};

/** The look of a response that failed or was refused by its status; `undefined` when the content decides. */
export const failedLook = (outcome: HttpOutcome): Look | undefined => {
  const { failure, ours, status, endedMs } = outcome;
  if (failure !== null) return { code: failure, endedMs, ...(ours ? { unsent: true } : {}) };
  if (status === null || status < 200 || status > 299) return { code: String(status), endedMs };
  return undefined;
};
