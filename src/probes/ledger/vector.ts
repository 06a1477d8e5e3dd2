import { z } from 'zod';
import type { HttpClient, HttpOutcome, HttpRequest } from '../../adapters/http.ts';
import { BlackstartError } from '../../core/errors.ts';
import type { Destination } from '../names.ts';
import type { ProbeContext } from '../probe.ts';
import { isLook, locate, serviceOf } from '../service.ts';
import { type LedgerSession, type LedgerStore, UnreadableError, type Written } from './store.ts';

/** Everything of ours begins so, for whoever finds it in the store. */
const ownPrefix = 'blackstart/';
/** Ids sort as their numbers do, so that "from this number on" is a place in the list. */
const digits = 9;
const numbered = /^\d{9}$/;
const pageMax = 1000;

const acknowledgedSchema = z.object({ upserted: z.literal(1), epoch: z.string(), sequence: z.number() });
const statusSchema = z.object({ dimensions: z.int().positive() });
const pageSchema = z.object({ ids: z.array(z.string()), next: z.string().optional(), epoch: z.string() });

/** A direction of its own for every number: the same wherever it is made, and near to no other. */
export const vectorOf = (id: string, dimensions: number): readonly number[] => {
  let state = 0x811c9dc5;
  for (const letter of id) state = Math.imul(state ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  if (state === 0) state = 1;
  return Array.from({ length: dimensions }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.round((state / 2 ** 31) * 1e4) / 1e4;
  });
};

/** Nothing was sent, or the store said no as a whole: nothing of it can be there. */
const isDefinite = ({ failure, status }: Pick<HttpOutcome, 'failure' | 'status'>): boolean =>
  failure === null
    ? status !== null && status >= 400 && status < 500 && status !== 408
    : ['refused', 'unreachable', 'tls'].includes(failure);

/** What became of a write, by how its request ended. Pure. */
export const writtenOf = (
  outcome: Pick<HttpOutcome, 'failure' | 'ours' | 'status' | 'endedMs'>,
  text: string,
): Written => {
  const { failure, ours, status, endedMs } = outcome;
  if (ours) return { out: 'fail', code: failure ?? 'unsent', endedMs, unsent: true };
  if (failure !== null || status !== 200) {
    const code = failure ?? String(status);
    return { out: isDefinite(outcome) ? 'fail' : 'info', code, endedMs };
  }
  const found = acknowledgedSchema.safeParse(jsonOf(text));
  if (!found.success) return { out: 'info', code: 'wrong-content', endedMs };
  const { epoch, sequence } = found.data;
  return { out: 'ok', code: 'ok', endedMs, epoch, position: String(sequence) };
};

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    // What is not JSON fits no schema either.
    return undefined;
  }
};

type Asked = Pick<HttpRequest, 'method' | 'path' | 'body'>;

/** One request to a store that was found, with its whole text. */
const send = async (
  client: HttpClient,
  host: string,
  found: Destination,
  asked: Asked,
  signal: AbortSignal,
): Promise<{ readonly outcome: HttpOutcome; readonly text: string }> => {
  const pieces: Buffer[] = [];
  const outcome = await client.send({
    secure: false,
    address: found.address,
    port: found.port,
    host,
    headers: asked.body === null ? {} : { 'content-type': 'application/json' },
    ...asked,
    signal,
    onData: (piece) => void pieces.push(piece),
  });
  return { outcome, text: Buffer.concat(pieces).toString('utf8') };
};

const hostOf = (context: ProbeContext, copy: string): string => {
  const stores = serviceOf(context).vectorStores ?? {};
  const host = stores[copy];
  if (host !== undefined) return host;
  const known = Object.keys(stores);
  throw new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} uses the vector store of "${copy}", which the environment does not have`,
    known.length === 0 ? 'Give the environment a service.vectorDomain.' : `Use one of: ${known.join(', ')}.`,
  );
};

const openSession = async (region: string, context: ProbeContext): Promise<LedgerSession> => {
  const { createHttpClient } = await import('../../adapters/http.ts');
  const { stream, names, clock, runId } = context;
  const host = hostOf(context, region);
  const prefix = `${ownPrefix}${runId}/${stream.stream}/`;
  const idOf = (number: number): string => `${prefix}${String(number).padStart(digits, '0')}`;
  const writer = createHttpClient(stream.connection, stream.timeoutMs, clock);
  // Reads and clean-ups have connections of their own: nothing that a write waits for.
  const reader = createHttpClient('fresh', stream.timeoutMs, clock);
  let dimensions: number | undefined;

  const find = (of: string, signal: AbortSignal): Promise<Destination> => names.service(`_http._tcp.${of}`, signal);

  const read = async (of: string, asked: Asked, signal: AbortSignal): Promise<{ text: string; node: string }> => {
    const unreadable = (code: string, cause?: unknown): UnreadableError =>
      new UnreadableError(code, `ledger ${stream.stream} cannot be read at ${of}: ${code}`, { cause });
    let found: Destination;
    try {
      found = await find(of, signal);
    } catch (error) {
      throw unreadable(signal.aborted ? 'timeout' : 'dns', error);
    }
    const { outcome, text } = await send(reader, of, found, asked, signal);
    if (outcome.failure !== null || outcome.status !== 200) {
      throw unreadable(outcome.failure ?? String(outcome.status));
    }
    return { text, node: `${found.address}:${found.port}` };
  };

  /**
   * Lists, page by page, the ids from a number on. The store lists what its index holds, which is what it finds: a
   * count could be right although one is missing and another is there that should not be.
   */
  const listFrom = async (of: string, since: number, signal: AbortSignal) => {
    const ids: string[] = [];
    let after: string | undefined = since === 0 ? prefix : idOf(since - 1);
    let node = '';
    let epoch = '';
    while (after !== undefined) {
      const path = `/list?${new URLSearchParams({ prefix, after, limit: String(pageMax) })}`;
      const answer = await read(of, { method: 'GET', path, body: null }, signal);
      const page = pageSchema.safeParse(jsonOf(answer.text));
      if (!page.success) throw new UnreadableError('wrong-content', `${of} answered no list of ids`);
      ids.push(...page.data.ids);
      after = page.data.next;
      node = answer.node;
      epoch = page.data.epoch;
    }
    return { ids, node, epoch };
  };

  return {
    async write(attempt) {
      const found = await locate(attempt, () => find(host, attempt.signal));
      if (isLook(found)) return { out: 'fail', code: found.code };
      const by = `${found.address}:${found.port}`;
      if (dimensions === undefined) {
        const asked = { method: 'GET' as const, path: '/status', body: null };
        const { outcome, text } = await send(writer, host, found, asked, attempt.signal);
        const status = statusSchema.safeParse(jsonOf(text));
        // No write was tried: what went wrong is known.
        if (!status.success) return { out: 'fail', code: outcome.failure ?? String(outcome.status), by };
        dimensions = status.data.dimensions;
      }
      const id = idOf(attempt.index);
      const body = JSON.stringify({ items: [{ id, vector: vectorOf(id, dimensions), text: id }] });
      const asked = { method: 'POST' as const, path: '/upsert', body };
      const { outcome, text } = await send(writer, host, found, asked, attempt.signal);
      return { ...writtenOf(outcome, text), by };
    },
    async read(copy, since, signal) {
      const { ids, node, epoch } = await listFrom(copy === null ? host : hostOf(context, copy), since, signal);
      const rests = ids.map((id) => id.slice(prefix.length));
      return {
        node,
        epoch,
        seqs: rests.filter((rest) => numbered.test(rest)).map(Number),
        foreign: rests.filter((rest) => !numbered.test(rest)),
      };
    },
    async remove(signal) {
      const { ids } = await listFrom(host, 0, signal);
      for (let at = 0; at < ids.length; at += pageMax) {
        const body = JSON.stringify({ ids: ids.slice(at, at + pageMax) });
        await read(host, { method: 'POST', path: '/delete', body }, signal);
      }
    },
    async close() {
      await Promise.all([writer.close(), reader.close()]);
    },
  };
};

const params = z.strictObject({
  /** Whose store is written to: a region, or `primary` or `failover`. */
  region: z.string().min(1).default('primary'),
});

/** Vectors: upserted at the primary region's store, and looked for by their ids in any region's. */
export const vectorLedger = {
  name: 'vector-ledger',
  summary: 'Numbered upserts of tagged vectors at the primary vector store, looked for again in every copy.',
  params,
  defaults: { everyMs: 100, timeoutMs: 2000 },
  open: ({ region }, context) => openSession(region, context),
} satisfies LedgerStore<typeof params>;
