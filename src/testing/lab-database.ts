import { Client } from 'pg';
import { poll, systemClock } from '../core/clock.ts';
import { callControl } from '../lab/control.ts';
import type { Description } from '../lab/database/instance.ts';
import { databaseNodes, forwardPort, type Place } from '../lab/layout.ts';
import type { StartedComponents } from '../lab/testing.ts';

export const insertText = 'INSERT INTO blackstart_ledger (stream, index) VALUES ($1, $2)';
const selectText = 'SELECT index::int FROM blackstart_ledger WHERE stream = $1 ORDER BY index';

/** What tests do with the databases of a started lab: ask and drive their control, and speak SQL to each server. */
export const labDatabase = (lab: () => StartedComponents) => {
  const control = (
    service: 'database' | 'links',
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<unknown> => callControl(lab().layout, service, method, path, body === undefined ? {} : { body });

  const instances = async (): Promise<readonly Description[]> =>
    (await control('database', 'GET', '/instances')) as readonly Description[];

  const instance = async (id: string): Promise<Description> => {
    const found = (await instances()).find((one) => one.id === id);
    if (found === undefined) throw new Error(`no instance ${id}`);
    return found;
  };

  const until = async <T>(what: string, look: () => Promise<T | undefined>, limitMs = 20_000): Promise<T> => {
    const controller = new AbortController();
    const late = (): Error => new Error(`not within ${limitMs} ms: ${what}\n${lab().log('database')}`);
    const timer = setTimeout(() => controller.abort(late()), limitMs);
    try {
      return await poll(systemClock, 20, controller.signal, look);
    } finally {
      clearTimeout(timer);
    }
  };

  const connect = async (server: string, from: Place = 'operator'): Promise<Client> => {
    const { layout } = lab();
    const client = new Client({
      host: '127.0.0.1',
      port: forwardPort(layout, from, `postgres/${server}`),
      user: layout.databaseUser,
      password: layout.databasePassword,
      database: databaseNodes(layout.environment).find((node) => node.server === server)?.databaseName ?? '',
      connectionTimeoutMillis: 1000,
      query_timeout: 3000,
    });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };

  const sql = async (server: string, text: string, values: unknown[] = [], from: Place = 'operator') => {
    const client = await connect(server, from);
    try {
      return await client.query(text, values);
    } finally {
      client.end().catch(() => undefined);
    }
  };

  return {
    instances,
    instance,
    until,
    untilInstance: (id: string, what: string, holds: (one: Description) => boolean): Promise<Description> =>
      until(`${id} ${what}`, async () => {
        const now = await instance(id);
        return now.status === 'available' && holds(now) ? now : undefined;
      }),
    act: (id: string, action: string, body?: unknown): Promise<unknown> =>
      control('database', 'POST', `/instances/${id}/${action}`, body),
    /** `kill -9` of a server and all its processes. */
    kill: (server: string): Promise<unknown> => control('database', 'POST', `/servers/${server}/kill`),
    fencing: (fencing: boolean): Promise<unknown> => control('database', 'PUT', '/switches', { fencing }),
    connect,
    sql,
    /** Numbers of a ledger's rows on one server. */
    indexesIn: async (server: string, stream: string): Promise<readonly number[]> =>
      (await sql(server, selectText, [stream])).rows.map((row) => row.index),
    rule: (id: string, match: unknown, kind: 'blackhole' | 'cut' = 'blackhole'): Promise<unknown> =>
      control('links', 'PUT', `/rules/${id}`, { match, effect: { kind }, owner: 'test' }),
    isolate: (id: string, place: Place): Promise<unknown> =>
      control('links', 'PUT', `/rules/${id}`, {
        match: { isolate: [place] },
        effect: { kind: 'blackhole' },
        owner: 'test',
      }),
    heal: (id: string): Promise<unknown> => control('links', 'DELETE', `/rules/${id}`),
    walDelay: (zone: string, delayMs: number): Promise<unknown> =>
      control('links', 'PUT', `/wal-delays/${encodeURIComponent(`zone/${zone}`)}`, { delayMs }),
    truthAt: (event: string, subject: string): number => {
      const found = lab()
        .truth()
        .findLast((one) => one.event === event && one.subject === subject);
      if (found === undefined) throw new Error(`no ${event} of ${subject}`);
      return found.atMs;
    },
  };
};
