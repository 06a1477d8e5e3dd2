import net from 'node:net';
import type { PoolClient, QueryResult } from 'pg';
import pg from 'pg';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { LabLayout, Place } from '../layout.ts';
import { alarm } from './http.ts';
import { createLocator } from './service-name.ts';

export interface Statement {
  /** Prepared once per connection under this name. */
  readonly name: string;
  readonly text: string;
  readonly values: readonly string[];
}

export interface DatabaseClient {
  /** Rejects when there is no answer within `limitMs`, connecting included; a write may then have happened or not. */
  query(statement: Statement): Promise<QueryResult<Record<string, unknown>>>;
  /** Opens connections ahead of need. */
  warm(count: number): void;
  close(): void;
}

/** Connections to one address. It is given up as a whole when one of them fails: the others lead to the same place. */
interface Generation {
  readonly port: number;
  readonly pool: pg.Pool;
  readonly sockets: Set<net.Socket>;
}

/** SQLSTATE classes that say the server is wrong, not the statement: connection, operator intervention, read-only. */
const isServerFault = (error: unknown): boolean => {
  const code = (error as { readonly code?: unknown }).code;
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code)) return true;
  return code.startsWith('08') || code.startsWith('57') || code.startsWith('53') || code === '25006';
};

/**
 * The pool hears of connections that break while they are idle; of one in use nobody hears but its statement, which
 * fails by it. Unheard, the event would end the process.
 */
const heard = (): void => undefined;

const giveBack = (client: PoolClient): void => {
  client.off('error', heard);
  client.release();
};

const openGeneration = (
  layout: LabLayout,
  port: number,
  options: { readonly connectionsMax: number; readonly connectMs: number; readonly name: string },
  log: (line: string) => void,
): Generation => {
  const sockets = new Set<net.Socket>();
  const pool = new pg.Pool({
    host: '127.0.0.1',
    port,
    user: layout.databaseUser,
    password: layout.databasePassword,
    database: layout.environment.service.databaseName,
    application_name: options.name,
    max: options.connectionsMax,
    // Idle connections stay: the next request should not pay for a connection across regions.
    idleTimeoutMillis: 0,
    connectionTimeoutMillis: options.connectMs,
    keepAlive: true,
    stream: () => {
      const socket = new net.Socket();
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return socket;
    },
  });
  // A connection that breaks while idle leaves the pool by itself; unheard, the event would end the process.
  pool.on('error', (error) => log(`idle database connection on port ${port}: ${messageOf(error)}`));
  return { port, pool, sockets };
};

/** Statements under way may still end within `graceMs`; ending politely beyond that needs the other side's answer. */
const retire = ({ pool, sockets }: Generation, graceMs: number, log: (line: string) => void): void => {
  pool.end().catch((error: unknown) => log(`closing database connections: ${messageOf(error)}`));
  alarm(graceMs, () => {
    for (const socket of sockets) socket.destroy();
  });
};

/**
 * Queries whatever server a DNS name leads to now. The name is looked up again when its TTL is over and after every
 * failure; every wait is bounded, so a dead server is an error soon and never a connection that hangs on.
 */
export const createDatabaseClient = (
  context: { readonly layout: LabLayout; readonly log: (line: string) => void },
  options: {
    /** From where: whose resolver is asked, and whose links lead there. */
    readonly place: Place;
    /** SRV name of the server. */
    readonly host: string;
    readonly name: string;
    readonly connectionsMax: number;
    readonly connectMs: number;
    readonly limitMs: number;
  },
): DatabaseClient => {
  const { layout, log } = context;
  const locator = createLocator(layout, options.place, `_postgresql._tcp.${options.host}`);
  let current: Generation | undefined;
  let closed = false;

  const generation = async (): Promise<Generation> => {
    const { port } = await locator.locate();
    if (closed) throw new Error('the database client is closed');
    if (current?.port !== port) {
      if (current !== undefined) {
        log(`${options.host} moved: port ${current.port} to ${port}`);
        retire(current, options.limitMs, log);
      }
      current = openGeneration(layout, port, options, log);
    }
    return current;
  };
  const abandon = (failed: Generation | undefined): void => {
    locator.forget();
    if (failed === undefined || failed !== current) return;
    current = undefined;
    retire(failed, options.limitMs, log);
  };

  const attempt = async (statement: Statement, limitMs: number): Promise<QueryResult<Record<string, unknown>>> => {
    let used: Generation | undefined;
    let client: PoolClient | undefined;
    let over = false;
    const work = async (): Promise<QueryResult<Record<string, unknown>>> => {
      used = await generation();
      const connected = await used.pool.connect();
      connected.on('error', heard);
      if (over) {
        // Too late for this statement, in good time for the next one.
        giveBack(connected);
        throw new Error('connected too late');
      }
      client = connected;
      const result = await connected.query<Record<string, unknown>>({ ...statement, values: [...statement.values] });
      client = undefined;
      giveBack(connected);
      return result;
    };
    const late = Promise.withResolvers<never>();
    const timer = alarm(limitMs, () => late.reject(new Error(`no answer within ${Math.round(limitMs)} ms`)));
    try {
      return await Promise.race([work(), late.promise]);
    } catch (error) {
      over = true;
      const fault = isServerFault(error);
      client?.release(fault);
      // A connection that failed in use speaks for the others of its kind; one that could not be made does not.
      if (fault) abandon(client === undefined ? undefined : used);
      throw error;
    } finally {
      timer.clear();
    }
  };

  return {
    async query(statement) {
      const startedMs = systemClock.monotonicMs();
      try {
        return await attempt(statement, options.limitMs);
      } catch (error) {
        // Statements here are safe to repeat. A server that went away since its last use refuses at once: ask anew
        // where it is, in what is left of the time.
        const leftMs = options.limitMs - (systemClock.monotonicMs() - startedMs);
        if (!isServerFault(error) || leftMs < options.limitMs / 2) throw error;
        return await attempt(statement, leftMs);
      }
    },
    warm(count) {
      const open = async (): Promise<void> => {
        const { pool } = await generation();
        const clients = await Promise.all(Array.from({ length: count }, () => pool.connect()));
        for (const client of clients) client.release();
      };
      open().catch((error: unknown) => log(`${options.host}: ${messageOf(error)}`));
    },
    close() {
      closed = true;
      if (current !== undefined) retire(current, 0, log);
    },
  };
};
