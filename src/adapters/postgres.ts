import net from 'node:net';
import pg from 'pg';
import { codeOf, failureOf } from './failure.ts';

export interface PostgresAddress {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

export interface PostgresConnection {
  /**
   * The rows of one statement, prepared under `name` once per connection. Rejects with what `postgresCode` understands;
   * the connection is of no use after that.
   */
  query(
    name: string,
    text: string,
    values: readonly (string | number)[],
  ): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** What the server warned of since this was last asked. */
  takeNotices(): readonly string[];
  /** Cuts it, whatever is under way. */
  destroy(): void;
  readonly broken: boolean;
}

/** Connects once. When the signal aborts, the socket is destroyed and the promise rejects. */
export const connectPostgres = async (
  to: PostgresAddress,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<PostgresConnection> => {
  signal.throwIfAborted();
  const socket = new net.Socket();
  socket.setNoDelay(true);
  const client = new pg.Client({
    host: to.address,
    port: to.port,
    user: to.user,
    password: to.password,
    database: to.database,
    application_name: 'blackstart-probe',
    // The caller's signal is the deadline; these lie beyond it so that nothing waits for ever without one.
    connectionTimeoutMillis: timeoutMs + 1000,
    query_timeout: timeoutMs + 1000,
    statement_timeout: Math.ceil(timeoutMs),
    stream: () => socket,
  });
  let broken = false;
  client.on('error', () => {
    broken = true;
  });
  client.on('end', () => {
    broken = true;
  });
  let notices: string[] = [];
  client.on('notice', ({ message }) => {
    if (message !== undefined) notices.push(message);
  });
  const destroy = (): void => {
    broken = true;
    socket.destroy();
  };
  signal.addEventListener('abort', destroy, { once: true });
  try {
    await client.connect();
  } catch (error) {
    destroy();
    throw error;
  } finally {
    signal.removeEventListener('abort', destroy);
  }
  return {
    get broken() {
      return broken || socket.destroyed;
    },
    takeNotices() {
      const taken = notices;
      notices = [];
      return taken;
    },
    destroy,
    async query(name, text, values) {
      try {
        return (await client.query({ name, text, values: [...values] })).rows;
      } catch (error) {
        broken = true;
        throw error;
      }
    },
  };
};

/** The SQLSTATE, or what the connection died of: `refused`, `reset`, `timeout`, `unreachable`. */
export const postgresCode = (error: unknown): string => {
  if (error instanceof pg.DatabaseError) return error.code ?? 'unknown';
  const code = codeOf(error);
  if (code !== 'unknown') return failureOf(code, false);
  const text = error instanceof Error ? error.message : String(error);
  return /terminated|closed|ended/i.test(text) ? 'reset' : /timeout/i.test(text) ? 'timeout' : 'unknown';
};
