import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { HttpClient, HttpOutcome, HttpRequest } from '../../adapters/http.ts';
import type { ObjectRequest, ObjectSigner } from '../../adapters/s3.ts';
import { BlackstartError, messageOf } from '../../core/errors.ts';
import type { Destination } from '../names.ts';
import type { ProbeContext } from '../probe.ts';
import { isLook, locate, serviceOf } from '../service.ts';
import { type Found, type LedgerSession, type LedgerStore, UnreadableError, type Written } from './store.ts';

/** Numbers are padded, so that a listing in the order of keys is one in the order of numbers. */
const digits = 10;
const listMax = 1000;
/** A listing that goes on for longer is no listing of this ledger. */
const pagesMax = 10_000;

/** Everything of a ledger lies under this, and nothing else does. */
export const prefixOf = (runId: string, stream: string): string => `blackstart/${runId}/${stream}/`;
export const keyOf = (prefix: string, seq: number): string => `${prefix}${String(seq).padStart(digits, '0')}`;

/** What a record says of itself: a key may be copied, its content then tells. */
const bodyOf = (runId: string, stream: string, seq: number): string => JSON.stringify({ run: runId, stream, seq });

/** The number of a key; undefined for what no write of this ledger can have made. */
export const seqOf = (prefix: string, key: string): number | undefined => {
  const rest = key.startsWith(prefix) ? key.slice(prefix.length) : '';
  return new RegExp(`^\\d{${digits}}$`).test(rest) ? Number(rest) : undefined;
};

/** Where a listing of numbers ≥ `since` begins: start-after is exclusive. */
export const startAfter = (prefix: string, since: number): string => (since === 0 ? '' : keyOf(prefix, since - 1));

/**
 * What became of a PUT. An answer below 500 other than 408 refuses it for good; one from 500 on leaves it open, and so
 * does none, once there was a connection to send it on: S3 may have stored what it did not get to acknowledge.
 */
export const putOutcome = (
  outcome: Pick<HttpOutcome, 'failure' | 'status' | 'endedMs' | 'ours' | 'sent'>,
): Pick<Written, 'out' | 'code' | 'endedMs' | 'unsent'> => {
  const { failure, status, endedMs, ours, sent } = outcome;
  if (failure !== null)
    return { out: sent ? 'info' : 'fail', code: failure, endedMs, ...(ours ? { unsent: true } : {}) };
  if (status === 200) return { out: 'ok', code: 'ok', endedMs };
  const isRefusal = status !== null && status >= 400 && status < 500 && status !== 408;
  return { out: isRefusal ? 'fail' : 'info', code: String(status), endedMs };
};

const unescapeXml = (text: string): string =>
  text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&');

const textsIn = (xml: string, name: string): readonly string[] =>
  [...xml.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))].map(([, text = '']) => text);

/** A page of ListObjectsV2, its keys URL-encoded as asked for. */
export const parseListing = (xml: string): { readonly keys: readonly string[]; readonly next: string | undefined } => {
  const contents = [...xml.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)].map(([, inner = '']) => inner);
  const keys = contents.flatMap((one) => textsIn(one, 'Key').slice(0, 1)).map(decodeKey);
  const isTruncated = textsIn(xml, 'IsTruncated')[0] === 'true';
  return { keys, next: isTruncated ? unescapeXml(textsIn(xml, 'NextContinuationToken')[0] ?? '') : undefined };
};

const decodeKey = (key: string): string => decodeURIComponent(unescapeXml(key).replaceAll('+', ' '));

interface VersionMark {
  readonly key: string;
  readonly versionId: string;
}

/** A page of ListObjectVersions: versions and delete markers alike. */
export const parseVersions = (xml: string): readonly VersionMark[] =>
  [...xml.matchAll(/<(Version|DeleteMarker)>([\s\S]*?)<\/\1>/g)].map(([, , inner = '']) => ({
    key: decodeKey(textsIn(inner, 'Key')[0] ?? ''),
    versionId: unescapeXml(textsIn(inner, 'VersionId')[0] ?? ''),
  }));

/** The region in a DNS name such as `us-east-1.objects.example`, for stores whose answers do not name theirs. */
const regionIn = (name: string): string | undefined => /\b[a-z]{2}(?:-[a-z]+)+-\d\b/.exec(name)?.[0];

interface Answer {
  readonly outcome: HttpOutcome;
  readonly text: string;
  readonly found: Destination;
}

const regionOf = ({ outcome, found }: Pick<Answer, 'outcome' | 'found'>): string | undefined => {
  const said = outcome.headers['x-amz-bucket-region'];
  return typeof said === 'string' ? said : regionIn(found.name);
};

interface Call {
  readonly method: ObjectRequest['method'];
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
}

/** Signed requests to the store that a name leads to. */
const createCaller = async (context: ProbeContext, signFor: string) => {
  const { createHttpClient } = await import('../../adapters/http.ts');
  const { createObjectSigner, queryText } = await import('../../adapters/s3.ts');
  const signers = new Map<string, ObjectSigner>();
  const signerFor = (region: string): ObjectSigner => {
    const credentialsFile = context.awsCredentialsFile ?? null;
    const signer = signers.get(region) ?? createObjectSigner({ region, credentialsFile });
    signers.set(region, signer);
    return signer;
  };
  // Keys that are missing fail the start; and the first write costs what the others do.
  await signerFor(signFor).sign({ method: 'GET', host: 'localhost', path: '/' });
  return {
    newClient: (connection: 'fresh' | 'kept'): HttpClient =>
      createHttpClient(connection, context.stream.timeoutMs, context.clock),
    async send(client: HttpClient, found: Destination, host: string, call: Call): Promise<Answer> {
      const { method, path, query = {}, headers = {}, body = null, signal } = call;
      const signed = await signerFor(regionIn(found.name) ?? signFor).sign({ method, host, path, query });
      const chunks: Buffer[] = [];
      const request: HttpRequest = {
        secure: false,
        address: found.address,
        port: found.port,
        host,
        method,
        path: path + queryText(query),
        headers: { ...signed, ...headers },
        body,
        signal,
        onData: (piece) => void chunks.push(piece),
      };
      const outcome = await client.send(request);
      return { outcome, text: Buffer.concat(chunks).toString('utf8'), found };
    },
  };
};

type Caller = Awaited<ReturnType<typeof createCaller>>;

/** Throws UnreadableError for an answer that is none. */
const succeeded = (what: string, answer: Answer): Answer => {
  const { failure, status } = answer.outcome;
  if (failure === null && status === 200) return answer;
  const code = failure ?? String(status);
  throw new UnreadableError(code, `${what}: ${code}`);
};

/** Every key of the ledger from a number on, page by page. */
const listKeys = async (
  list: (query: Readonly<Record<string, string>>) => Promise<Answer>,
  prefix: string,
  since: number,
): Promise<{ readonly keys: readonly string[]; readonly last: Answer }> => {
  const common = { 'list-type': '2', prefix, 'encoding-type': 'url', 'max-keys': String(listMax) };
  const after = startAfter(prefix, since);
  let position: Readonly<Record<string, string>> = after === '' ? {} : { 'start-after': after };
  const keys: string[] = [];
  for (let page = 0; page < pagesMax; page += 1) {
    const last = await list({ ...common, ...position });
    const { keys: found, next } = parseListing(last.text);
    keys.push(...found);
    if (next === undefined) return { keys, last };
    position = { 'continuation-token': next };
  }
  throw new UnreadableError('too-long', `the listing of ${prefix} does not end`);
};

const foundOf = (prefix: string, since: number, keys: readonly string[], answer: Answer): Found => {
  const epoch = regionOf(answer);
  const foreign = keys.filter((key) => seqOf(prefix, key) === undefined);
  return {
    node: `${answer.found.address}:${answer.found.port}`,
    ...(epoch === undefined ? {} : { epoch }),
    seqs: keys.flatMap((key) => seqOf(prefix, key) ?? []).filter((seq) => seq >= since),
    ...(foreign.length === 0 ? {} : { foreign }),
  };
};

const deletion = (versions: readonly VersionMark[]): { readonly body: string; readonly md5: string } => {
  const objects = versions.map(({ key, versionId }) => {
    const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
    return `<Object><Key>${escaped(key)}</Key><VersionId>${escaped(versionId)}</VersionId></Object>`;
  });
  const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
  const body = `<Delete ${namespace}><Quiet>true</Quiet>${objects.join('')}</Delete>`;
  return { body, md5: createHash('md5').update(body).digest('base64') };
};

/** Every version under the ledger's prefix is taken away for good, delete markers too, at one region's store. */
const removeAt = async (send: (call: Omit<Call, 'signal'>) => Promise<Answer>, prefix: string): Promise<void> => {
  for (let page = 0; page < pagesMax; page += 1) {
    const query = { versions: '', prefix, 'encoding-type': 'url', 'max-keys': String(listMax) };
    const listed = succeeded(`listing ${prefix}`, await send({ method: 'GET', path: '/', query }));
    // Always the first page: what it shows is gone by the next look.
    const versions = parseVersions(listed.text);
    if (versions.length === 0) return;
    const { body, md5 } = deletion(versions);
    const headers = { 'content-md5': md5, 'content-type': 'application/xml' };
    const answer = succeeded(
      `deleting ${prefix}`,
      await send({ method: 'POST', path: '/', query: { delete: '' }, headers, body }),
    );
    if (answer.text.includes('<Error>')) throw new UnreadableError('not-deleted', `S3 kept objects of ${prefix}`);
  }
  throw new UnreadableError('too-long', `the versions of ${prefix} do not end`);
};

const openSession = async (host: string, signFor: string, context: ProbeContext): Promise<LedgerSession> => {
  const { stream, names, runId } = context;
  const { pathOfKey } = await import('../../adapters/s3.ts');
  const caller: Caller = await createCaller(context, signFor);
  const writer = caller.newClient(stream.connection);
  // Looks and clean-ups have connections of their own: nothing that a write waits for.
  const reader = caller.newClient('kept');
  const prefix = prefixOf(runId, stream.stream);
  const find = (of: string, signal: AbortSignal): Promise<Destination> => names.service(`_http._tcp.${of}`, signal);

  return {
    async write(attempt) {
      const found = await locate(attempt, () => find(host, attempt.signal));
      if (isLook(found)) return { out: 'fail', code: found.code };
      const by = `${found.address}:${found.port}`;
      const answer = await caller.send(writer, found, host, {
        method: 'PUT',
        path: pathOfKey(keyOf(prefix, attempt.index)),
        headers: { 'content-type': 'application/json' },
        body: bodyOf(runId, stream.stream, attempt.index),
        signal: attempt.signal,
      });
      const region = regionOf(answer);
      const written = putOutcome(answer.outcome);
      if (region !== undefined) attempt.seen.region = region;
      if (written.out !== 'ok') return { ...written, by };
      const position = answer.outcome.headers['x-amz-version-id'];
      return {
        ...written,
        by,
        ...(region === undefined ? {} : { epoch: region }),
        ...(typeof position === 'string' ? { position } : {}),
      };
    },
    async read(copy, since, signal) {
      const of = copy === null ? host : hostOfCopy(context, copy);
      try {
        const found = await find(of, signal);
        const list = async (query: Readonly<Record<string, string>>): Promise<Answer> =>
          succeeded(`listing ${of}`, await caller.send(reader, found, of, { method: 'GET', path: '/', query, signal }));
        const { keys, last } = await listKeys(list, prefix, since);
        return foundOf(prefix, since, keys, last);
      } catch (error) {
        if (error instanceof UnreadableError) throw error;
        const code = signal.aborted ? 'timeout' : 'dns';
        throw new UnreadableError(code, `ledger ${stream.stream} cannot be read: ${messageOf(error)}`, {
          cause: error,
        });
      }
    },
    async remove(signal) {
      // The authority first: a region deletes nothing because another one did, and would copy on what is left there.
      for (const of of new Set([host, ...Object.values(serviceOf(context).objectsHosts ?? {})])) {
        const found = await find(of, signal);
        await removeAt((call) => caller.send(reader, found, of, { ...call, signal }), prefix);
      }
    },
    async close() {
      await Promise.all([writer.close(), reader.close()]);
    },
  };
};

const hostOfCopy = (context: ProbeContext, copy: string): string => {
  const hosts = serviceOf(context).objectsHosts ?? {};
  const host = hosts[copy];
  if (host !== undefined) return host;
  throw new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} names the object store of "${copy}", and there is none`,
    `Use one of: ${Object.keys(hosts).join(', ')}.`,
  );
};

const hostOf = (context: ProbeContext): string => {
  const { objectsHost } = serviceOf(context);
  if (objectsHost !== undefined) return objectsHost;
  throw new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} writes objects, and the environment does not say where they are`,
    'Give it service.objectsHost, or leave the ledger out.',
  );
};

const params = z.strictObject({
  /** A region, or `primary` or `failover`, whose own store is written to, wherever the name of the store leads. */
  region: z.string().min(1).optional(),
  /** Region that requests are signed for where the name of a store does not say its region. */
  signFor: z.string().min(1).default('us-east-1'),
});

/** Documents: written to the name that leads each location to its region, or to one region's store. */
export const objectsLedger = {
  name: 'objects-ledger',
  summary: 'Numbered PUTs through the S3 API, each with the version and the region that acknowledged it.',
  params,
  defaults: { everyMs: 200, timeoutMs: 2000 },
  open: ({ region, signFor }, context) =>
    openSession(region === undefined ? hostOf(context) : hostOfCopy(context, region), signFor, context),
} satisfies LedgerStore<typeof params>;
