import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { PostgresAddress, PostgresConnection } from '../adapters/postgres.ts';
import { BlackstartError, messageOf } from '../core/errors.ts';
import type { Destination } from './names.ts';
import { type Attempt, defineProbe, type Look, type ProbeContext } from './probe.ts';
import { isLook, locate, serviceOf } from './service.ts';

/** The platform may have the table already. A run's rows are told apart by the stream, which begins with its id. */
const createTable = `CREATE TABLE IF NOT EXISTS blackstart_probe (
  stream text NOT NULL, index bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (stream, index))`;

/**
 * One write, and who acknowledged it. The timeline is that of the WAL being written: pg_control still shows the old one
 * for seconds after a promotion.
 */
const insert = `INSERT INTO blackstart_probe (stream, index) VALUES ($1, $2)
  RETURNING (SELECT system_identifier FROM pg_control_system())::text || ':' ||
    substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ':' || coalesce(inet_server_port()::text, 'local') || ':' ||
    to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS epoch`;

const removeRows = 'DELETE FROM blackstart_probe WHERE stream = $1';

export const sqlWrite = defineProbe({
  name: 'sql-write',
  summary: 'One acknowledged INSERT at the database writer, with the identity of the server that acknowledged it.',
  params: z.strictObject({
    /** A region, or `primary` or `failover`, whose own instance is written to, wherever the database's name leads. */
    instance: z.string().min(1).optional(),
  }),
  required: false,
  defaults: { everyMs: 50, timeoutMs: 2000 },
  async open({ instance }, context) {
    const driver = await import('../adapters/postgres.ts');
    const { databaseName } = serviceOf(context);
    const databaseHost = hostOf(context, instance);
    const login = await loginOf(context, databaseName);
    const { stream, names } = context;
    const rowsOf = `${context.runId}/${stream.stream}`;
    // One connection per statement in flight: a driver's own queue would send late what it was given on time.
    const idle: PostgresConnection[] = [];
    let idleAt = '';
    let tableKnown = false;

    const take = async (found: Destination, signal: AbortSignal): Promise<PostgresConnection> => {
      const address = `${found.address}:${found.port}`;
      if (address !== idleAt) {
        // The name leads elsewhere now: connections to the old place are of no use.
        for (const old of idle.splice(0)) old.destroy();
        idleAt = address;
      }
      for (let one = idle.pop(); one !== undefined; one = idle.pop()) if (!one.broken) return one;
      return driver.connectPostgres({ ...login, address: found.address, port: found.port }, stream.timeoutMs, signal);
    };

    const give = (connection: PostgresConnection, address: string): void => {
      if (stream.connection === 'kept' && address === idleAt && !connection.broken) idle.push(connection);
      else connection.destroy();
    };

    const write = async (attempt: Attempt, found: Destination): Promise<Look> => {
      const connection = await take(found, attempt.signal);
      const cut = (): void => connection.destroy();
      attempt.signal.addEventListener('abort', cut, { once: true });
      try {
        if (!tableKnown) await ensureTable(connection, driver);
        tableKnown = true;
        const rows = await connection.query('blackstart_insert', insert, [rowsOf, attempt.index]);
        const endedMs = context.clock.monotonicMs();
        const epoch = rows[0]?.['epoch'];
        if (typeof epoch === 'string') attempt.seen.epoch = epoch;
        return { code: typeof epoch === 'string' ? 'ok' : 'wrong-content', endedMs };
      } finally {
        attempt.signal.removeEventListener('abort', cut);
        give(connection, `${found.address}:${found.port}`);
      }
    };

    const find = (signal: AbortSignal): Promise<Destination> =>
      names.service(`_postgresql._tcp.${databaseHost}`, signal);

    return {
      async look(attempt) {
        const found = await locate(attempt, () => find(attempt.signal));
        if (isLook(found)) return found;
        try {
          return await write(attempt, found);
        } catch (error) {
          const endedMs = context.clock.monotonicMs();
          return { code: attempt.signal.aborted ? 'timeout' : driver.postgresCode(error), endedMs };
        }
      },
      async close(signal) {
        if (!tableKnown) return;
        const last = await take(await find(signal), signal);
        const cut = (): void => last.destroy();
        signal.addEventListener('abort', cut, { once: true });
        try {
          await last.query('blackstart_remove', removeRows, [rowsOf]);
        } finally {
          signal.removeEventListener('abort', cut);
          for (const one of [last, ...idle.splice(0)]) one.destroy();
        }
      },
    };
  },
});

/** The database's own name, or that of one region's instance, which does not move when the database's name does. */
const hostOf = (context: ProbeContext, instance: string | undefined): string => {
  const { databaseHost, databaseInstances = {} } = serviceOf(context);
  if (instance === undefined) return databaseHost;
  const found = databaseInstances[instance];
  if (found !== undefined) return found;
  throw new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} writes to the database instance of "${instance}", which is no region`,
    `Use one of: ${Object.keys(databaseInstances).join(', ')}.`,
  );
};

type Login = Pick<PostgresAddress, 'user' | 'password' | 'database'>;

const loginOf = async (context: ProbeContext, database: string): Promise<Login> => {
  if (context.database === null) {
    throw new BlackstartError(
      'USAGE',
      `stream ${context.stream.stream} writes to the database, and the environment offers no database login`,
      'Name the user and the password file in the environment, or leave the sql-write probe out.',
    );
  }
  const { user, passwordFile } = context.database;
  try {
    return { user, password: (await readFile(passwordFile, 'utf8')).trim(), database };
  } catch (error) {
    throw new BlackstartError(
      'UNREACHABLE',
      `the database password cannot be read: ${messageOf(error)}`,
      'Check that the file exists and is readable by this user.',
      { cause: error },
    );
  }
};

type Driver = Pick<typeof import('../adapters/postgres.ts'), 'postgresCode'>;

/**
 * Several senders may create it at once; PostgreSQL then reports a duplicate to all but one (23505, 42P07). Who may not
 * create (42501) may still write, where the table is there: the write itself says so.
 */
const ensureTable = async (connection: PostgresConnection, { postgresCode }: Driver): Promise<void> => {
  try {
    await connection.query('blackstart_create', createTable, []);
  } catch (error) {
    const code = postgresCode(error);
    if (!['23505', '42P07', '42501'].includes(code)) throw error;
  }
};
