import { type Clock, deadline } from '../core/clock.ts';
import { BlackstartError } from '../core/errors.ts';
import { type AwsCaller, allPages, lazily, unless } from './aws-call.ts';
import type { FisExperiment, FisPort, FisStatus } from './ports.ts';

/**
 * FIS in raw JSON through the SDK's own client. The newest client that can be had knows neither `actionsMode` nor the
 * safety lever, and its serializer silently drops what it does not know: a preview would become the real thing. So
 * method, path and body are set here before the request is signed; endpoint, credentials, signing, retries and the
 * mapping of errors stay the SDK's.
 */
interface RawCall {
  readonly operation: string;
  readonly method: 'GET' | 'POST' | 'DELETE' | 'PATCH';
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

type Send = (call: RawCall, signal: AbortSignal) => Promise<Json>;
type Json = Readonly<Record<string, unknown>>;

interface RawRequest {
  method: string;
  path: string;
  query: Record<string, string>;
  headers: Record<string, string>;
  body: unknown;
}

const isRequest = (value: unknown): value is RawRequest =>
  typeof value === 'object' && value !== null && 'headers' in value && 'path' in value && 'method' in value;

interface RawResponse {
  statusCode: number;
  body: unknown;
}

const isResponse = (value: unknown): value is RawResponse =>
  typeof value === 'object' && value !== null && 'statusCode' in value && 'body' in value;

const isIterable = (value: unknown): value is AsyncIterable<Uint8Array> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value;

const bytesMax = 16 * 1024 * 1024;

const readAll = async (body: unknown): Promise<Buffer> => {
  if (!isIterable(body)) return Buffer.from(body instanceof Uint8Array ? body : '');
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Error('the answer of FIS is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

const recordOf = (value: unknown): Json =>
  typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {};
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

const textRecordOf = (value: unknown): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(recordOf(value)).map(([key, one]) => [key, textOf(one)]));

const parseAnswer = (data: Buffer): Json => {
  const text = data.toString('utf8');
  return recordOf(text === '' ? {} : JSON.parse(text));
};

const createSend = (caller: AwsCaller): Send => {
  const load = lazily(async () => {
    const sdk = await import('@aws-sdk/client-fis');
    return { sdk, client: new sdk.FisClient(caller.config) };
  });
  return async ({ operation, method, path, query, body }, signal) => {
    const { sdk, client } = await load();
    // Any command does for its middleware: what it would send is replaced as a whole.
    const command = new sdk.GetActionCommand({ id: '-' });
    let answer: Json = {};
    command.middlewareStack.add(
      (next) => (args) => {
        const { request } = args;
        if (!isRequest(request)) throw new Error('the FIS client does not speak HTTP');
        request.path = request.path.replace(/\/actions\/-$/, path);
        request.method = method;
        request.query = { ...query };
        request.body = body === undefined ? undefined : JSON.stringify(body);
        if (body !== undefined) request.headers['content-type'] = 'application/json';
        return next(args);
      },
      { step: 'build', priority: 'high', name: 'blackstartRawRequest' },
    );
    command.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        const { response } = result;
        if (!isResponse(response)) return result;
        const data = await readAll(response.body);
        // The SDK still reads the body: it words the errors.
        response.body = data;
        if (response.statusCode < 300) answer = parseAnswer(data);
        return result;
      },
      { step: 'deserialize', priority: 'low', name: 'blackstartRawResponse' },
    );
    await caller.call(operation, signal, (options) => client.send(command, options));
    return answer;
  };
};

const statuses: readonly string[] = [
  'pending',
  'initiating',
  'running',
  'completed',
  'stopping',
  'stopped',
  'failed',
  'cancelled',
] satisfies readonly FisStatus[];
const isStatus = (value: string): value is FisStatus => statuses.includes(value);

const experimentOf = (value: unknown): FisExperiment => {
  const experiment = recordOf(value);
  const state = recordOf(experiment['state']);
  const status = textOf(state['status']);
  if (!isStatus(status)) {
    throw new BlackstartError(
      'UNREACHABLE',
      `FIS says an experiment is "${status}", which this version does not know`,
      'Look at the experiment in the AWS console, and report it.',
    );
  }
  const mode = textOf(recordOf(experiment['experimentOptions'])['actionsMode']);
  const actions = Object.entries(recordOf(experiment['actions'])).map(([name, action]) => {
    const { status: actionStatus, reason } = recordOf(recordOf(action)['state']);
    return [name, { status: textOf(actionStatus), reason: textOf(reason) }] as const;
  });
  return {
    id: textOf(experiment['id']),
    templateId: textOf(experiment['experimentTemplateId']),
    status,
    reason: textOf(state['reason']),
    actionsMode: mode === '' ? null : mode,
    tags: textRecordOf(experiment['tags']),
    actions: Object.fromEntries(actions),
  };
};

const gone = ['ResourceNotFoundException'];
const previewWithinMs = 60_000;
const firstLookMs = 25;
const lookEveryMsMax = 2000;
const ended: readonly FisStatus[] = ['completed', 'stopped', 'failed', 'cancelled'];

const byId = (path: string, id: string, rest = ''): string => `${path}/${encodeURIComponent(id)}${rest}`;

export const createFisPort = (caller: AwsCaller, clock: Clock): FisPort => {
  const send = createSend(caller);

  const list = (operation: string, path: string, name: string, signal: AbortSignal): Promise<readonly Json[]> =>
    allPages(async (token) => {
      const query = { maxResults: '100', ...(token === undefined ? {} : { nextToken: token }) };
      const page = await send({ operation, method: 'GET', path, query }, signal);
      return { items: listOf(page[name]).map(recordOf), next: textOf(page['nextToken']) };
    });

  const get = async (id: string, signal: AbortSignal): Promise<FisExperiment | undefined> => {
    const call: RawCall = { operation: 'GetExperiment', method: 'GET', path: byId('/experiments', id) };
    const found = await unless(gone, send(call, signal));
    return found === undefined ? undefined : experimentOf(found['experiment']);
  };

  const stop = async (id: string, signal: AbortSignal): Promise<void> => {
    const call: RawCall = { operation: 'StopExperiment', method: 'DELETE', path: byId('/experiments', id) };
    try {
      await unless(gone, send(call, signal));
    } catch (error) {
      // What AWS answers for an experiment that has ended is not documented: it is an error only if it still runs.
      const now = await get(id, signal);
      if (now !== undefined && !ended.includes(now.status)) throw error;
    }
  };

  const start = async (
    templateId: string,
    clientToken: string,
    actionsMode: 'run-all' | 'skip-all',
    tags: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<FisExperiment> => {
    const body = { clientToken, experimentTemplateId: templateId, experimentOptions: { actionsMode }, tags };
    const started = await send({ operation: 'StartExperiment', method: 'POST', path: '/experiments', body }, signal);
    return experimentOf(started['experiment']);
  };

  return {
    async createTemplate(template, clientToken, signal) {
      const path = '/experimentTemplates';
      const body = { ...template, clientToken };
      const made = await send({ operation: 'CreateExperimentTemplate', method: 'POST', path, body }, signal);
      return textOf(recordOf(made['experimentTemplate'])['id']);
    },

    async deleteTemplate(id, signal) {
      const path = byId('/experimentTemplates', id);
      await unless(gone, send({ operation: 'DeleteExperimentTemplate', method: 'DELETE', path }, signal));
    },

    async listTemplates(tag, value, signal) {
      const found = await list('ListExperimentTemplates', '/experimentTemplates', 'experimentTemplates', signal);
      return found
        .map(({ id, tags }) => ({ id: textOf(id), tags: textRecordOf(tags) }))
        .filter(({ tags }) => tags[tag] === value);
    },

    async preview(templateId, clientToken, signal) {
      const started = await start(templateId, clientToken, 'skip-all', {}, signal);
      if (started.actionsMode !== 'skip-all') {
        await stop(started.id, AbortSignal.timeout(previewWithinMs));
        throw new BlackstartError(
          'INJECT_FAILED',
          `FIS in ${caller.region} ran the preview of ${templateId} in mode ${started.actionsMode ?? '(none)'}`,
          `It was stopped at once. Check experiment ${started.id}: its actions may have begun.`,
        );
      }
      const late = new BlackstartError(
        'UNREACHABLE',
        `the preview ${started.id} did not end within ${previewWithinMs / 1000} s`,
        'Look at the experiment in the AWS console.',
      );
      const limit = deadline(clock, previewWithinMs, late, signal);
      try {
        for (let waitMs = firstLookMs; ; waitMs = Math.min(waitMs * 2, lookEveryMsMax)) {
          const now = await get(started.id, limit.signal);
          if (now !== undefined && ended.includes(now.status)) return now;
          await clock.sleep(waitMs, limit.signal);
        }
      } finally {
        limit.dispose();
      }
    },

    start: (templateId, clientToken, tags, signal) => start(templateId, clientToken, 'run-all', tags, signal),
    get,
    stop,

    async resolvedTargets(id, signal) {
      const path = byId('/experiments', id, '/resolvedTargets');
      const found = await list('ListExperimentResolvedTargets', path, 'resolvedTargets', signal);
      return found.map(({ resourceType, targetInformation }) => ({
        type: textOf(resourceType),
        arn: textOf(recordOf(targetInformation)['arn']),
      }));
    },

    async listExperiments(tag, value, signal) {
      const found = await list('ListExperiments', '/experiments', 'experiments', signal);
      return found.map(experimentOf).filter(({ tags }) => tags[tag] === value);
    },

    async safetyLever(signal) {
      const call: RawCall = { operation: 'GetSafetyLever', method: 'GET', path: '/safetyLevers/default' };
      const found = await unless(gone, send(call, signal));
      const status = textOf(recordOf(recordOf(recordOf(found)['safetyLever'])['state'])['status']);
      return status === 'disengaged' || status === 'engaged' || status === 'engaging' ? status : 'unknown';
    },
  };
};
