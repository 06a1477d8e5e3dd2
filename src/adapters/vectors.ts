import { Pool } from 'undici';
import { z } from 'zod';
import type { Clock } from '../core/clock.ts';
import { BlackstartError, messageOf } from '../core/errors.ts';
import type { VectorPort, VectorStatus } from './ports.ts';

const ageMs = z.number();
const kindSchema = z.enum(['delta', 'full']);

const statusSchema = z.object({
  role: z.enum(['source', 'replica', 'alone']),
  state: z.enum(['serving', 'lost', 'rebuilding']),
  count: z.number(),
  digest: z.string().nullable(),
  lost: z.object({ owner: z.string() }).nullable(),
  sync: z
    .object({
      periodMs: z.number().positive(),
      durationMs: z.number().positive(),
      fullPeriodMs: z.number().positive(),
      running: z.object({ kind: kindSchema, startedAgoMs: ageMs }).nullable(),
      last: z.object({ kind: kindSchema, error: z.string().nullable() }).nullable(),
      nextDueInMs: ageMs,
      nextFullDueInMs: ageMs,
      paused: z.object({ owner: z.string() }).nullable(),
      shown: z.object({ takenAgoMs: ageMs, digest: z.string() }),
    })
    .nullable(),
  snapshot: z.object({ last: z.object({ takenAgoMs: ageMs }).nullable() }),
  rebuild: z
    .object({
      from: z.enum(['snapshot', 'source']),
      finishedAgoMs: ageMs.nullable(),
      takenAgoMs: ageMs.nullable(),
      error: z.string().nullable(),
    })
    .nullable(),
});

const pageSchema = z.object({ ids: z.array(z.string()), next: z.string().optional() });
const itemSchema = z.object({ id: z.string(), vector: z.array(z.number()), text: z.string() });
const matchesSchema = z.object({ matches: z.array(z.object({ id: z.string() })) });

/** Ages as instants: the store answered at `atMs` of our own clock. Pure. */
export const statusAt = (answer: z.output<typeof statusSchema>, atMs: number): VectorStatus => {
  const { role, state, count, digest, lost, sync, snapshot, rebuild } = answer;
  return {
    role,
    state,
    count,
    digest,
    lostBy: lost?.owner ?? null,
    sync:
      sync === null
        ? null
        : {
            periodMs: sync.periodMs,
            durationMs: sync.durationMs,
            fullPeriodMs: sync.fullPeriodMs,
            runningSinceMs: sync.running === null ? null : atMs - sync.running.startedAgoMs,
            nextDueMs: atMs + sync.nextDueInMs,
            nextFullDueMs: atMs + sync.nextFullDueInMs,
            pausedBy: sync.paused?.owner ?? null,
            last: sync.last === null ? null : { kind: sync.last.kind, failed: sync.last.error !== null },
            shown: { takenMs: atMs - sync.shown.takenAgoMs, digest: sync.shown.digest },
          },
    snapshotTakenMs: snapshot.last === null ? null : atMs - snapshot.last.takenAgoMs,
    rebuild:
      rebuild === null
        ? null
        : {
            from: rebuild.from,
            takenMs: rebuild.takenAgoMs === null ? null : atMs - rebuild.takenAgoMs,
            finished: rebuild.finishedAgoMs !== null,
            error: rebuild.error,
          },
  };
};

/** Beyond every deadline of a caller, so that nothing waits for ever without one. */
const timeoutMs = 60_000;

/** A vector store by the HTTP API that it has in the lab. */
export const createVectorPort = (options: {
  readonly region: string;
  readonly address: string;
  readonly clock: Clock;
}): VectorPort => {
  const { region, address, clock } = options;
  const pool = new Pool(`http://${address}`, {
    connections: 4,
    connect: { timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
  });

  const unreachable = (what: string, cause?: unknown): BlackstartError =>
    new BlackstartError(
      'UNREACHABLE',
      `the vector store of ${region} ${what}`,
      `See whether ${address} answers GET /status.`,
      { cause },
    );

  const send = async (
    method: 'GET' | 'POST',
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<{ readonly status: number; readonly value: unknown }> => {
    try {
      const request = { method, path, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
      const { statusCode, body: answer } = await pool.request(request);
      const text = await answer.text();
      return { status: statusCode, value: text === '' ? null : JSON.parse(text) };
    } catch (error) {
      throw unreachable(`does not answer ${method} ${path}: ${messageOf(error)}`, error);
    }
  };

  const ask = async <Answer>(
    schema: z.ZodType<Answer>,
    method: 'GET' | 'POST',
    path: string,
    signal: AbortSignal,
    body?: unknown,
  ): Promise<Answer> => {
    const { status, value } = await send(method, path, body, signal);
    if (status < 200 || status > 299) throw unreachable(`answered ${status} to ${method} ${path}`);
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw unreachable(`answered ${method} ${path} in other words: ${parsed.error.message}`, parsed.error);
  };

  return {
    async status(signal) {
      const askedMs = clock.monotonicMs();
      const answer = await ask(statusSchema, 'GET', '/status', signal);
      return statusAt(answer, (askedMs + clock.monotonicMs()) / 2);
    },
    list: (prefix, after, limit, signal) =>
      ask(pageSchema, 'GET', `/list?${new URLSearchParams({ prefix, after, limit: String(limit) })}`, signal),
    async get(id, signal) {
      const path = `/vectors/${encodeURIComponent(id)}`;
      const { status, value } = await send('GET', path, undefined, signal);
      if (status === 404) return undefined;
      if (status !== 200) throw unreachable(`answered ${status} to GET ${path}`);
      return itemSchema.parse(value);
    },
    async query(vector, limit, signal) {
      const { matches } = await ask(matchesSchema, 'POST', '/query', signal, { vector, k: limit });
      return matches.map(({ id }) => id);
    },
    async overwrite(items, signal) {
      await ask(z.unknown(), 'POST', '/upsert?force=true', signal, { items });
    },
    async remove(ids, signal) {
      await ask(z.unknown(), 'POST', '/delete?force=true', signal, { ids });
    },
    async lose(owner, expiresMs, signal) {
      await ask(z.unknown(), 'POST', '/lose', signal, { owner, expiresMs });
    },
    async rebuild(from, signal) {
      await ask(z.unknown(), 'POST', '/rebuild', signal, { from });
    },
    async pauseSync(owner, forMs, signal) {
      await ask(z.unknown(), 'POST', '/sync/pause', signal, { owner, forMs });
    },
    async resumeSync(signal) {
      await ask(z.unknown(), 'POST', '/sync/resume', signal);
    },
  };
};
