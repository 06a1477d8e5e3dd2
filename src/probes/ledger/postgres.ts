import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { PostgresAddress, PostgresConnection } from '../../adapters/postgres.ts';
import { BlackstartError, messageOf } from '../../core/errors.ts';
import type { Destination } from '../names.ts';
import type { ProbeContext, ProbedService } from '../probe.ts';
import { isLook, locate, serviceOf } from '../service.ts';
import { type LedgerSession, type LedgerStore, UnreadableError, type Written } from './store.ts';

/** The platform may have the table already. A ledger's rows are told apart by the stream, which begins with the run. */
const createTable = `CREATE TABLE IF NOT EXISTS blackstart_ledger (
  stream text NOT NULL, index bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (stream, index))`;

/**
 * Who acknowledges: the timeline is that of the WAL being written, because pg_control shows the old one for seconds
 * after a promotion; the start time tells a restarted server from the one before.
 */
const epoch = `(SELECT system_identifier FROM pg_control_system())::text || ':' ||
    substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ':' || coalesce(inet_server_port()::text, 'local') || ':' ||
    to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')`;

const insert = `INSERT INTO blackstart_ledger (stream, index) VALUES ($1, $2)
  RETURNING ${epoch} AS epoch, pg_current_wal_insert_lsn()::text AS position`;

/** A server in recovery has no WAL of its own to name an epoch by. */
const select = `SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE ${epoch} END AS epoch,
    (SELECT coalesce(json_agg(index), '[]') FROM blackstart_ledger WHERE stream = $1 AND index >= $2) AS seqs`;

const tableKnownText = "SELECT to_regclass('blackstart_ledger') IS NOT NULL AS known";
const removeRows = 'DELETE FROM blackstart_ledger WHERE stream = $1';

/** https://www.postgresql.org/docs/current/errcodes-appendix.html: refused as a whole, so nothing of it stays. */
const refusals = new Set(['25006', '40001', '40P01', '53300', '57P03', '42501', '42P01']);

const notReplicated = /canceling wait for synchronous replication/;

/** One database of the platform. */
interface Server {
  /** DNS name that writes go to; an SRV record `_postgresql._tcp.<host>` says where. */
  host(service: ProbedService): string;
  /** DNS names of the copies that can be read themselves, by what files call them. */
  copies(service: ProbedService): Readonly<Record<string, string>>;
  database(service: ProbedService): string;
}

const selectedSchema = z.array(z.object({ epoch: z.string().nullable(), seqs: z.array(z.number()) }));

type Driver = typeof import('../../adapters/postgres.ts');

/** Connections to one place at a time; one per statement in flight, because a driver's own queue sends late. */
const createPool = (login: Login, connect: Driver['connectPostgres'], timeoutMs: number, kept: boolean) => {
  const idle: PostgresConnection[] = [];
  let idleAt = '';
  return {
    async take(found: Destination, signal: AbortSignal): Promise<PostgresConnection> {
      const address = `${found.address}:${found.port}`;
      if (address !== idleAt) {
        // The name leads elsewhere now: connections to the old place are of no use.
        for (const old of idle.splice(0)) old.destroy();
        idleAt = address;
      }
      for (let one = idle.pop(); one !== undefined; one = idle.pop()) if (!one.broken) return one;
      return connect({ ...login, address: found.address, port: found.port }, timeoutMs, signal);
    },
    give(connection: PostgresConnection, found: Destination): void {
      const reusable = kept && `${found.address}:${found.port}` === idleAt && !connection.broken;
      if (reusable) idle.push(connection);
      else connection.destroy();
    },
    close(): void {
      for (const one of idle.splice(0)) one.destroy();
    },
  };
};

/** Runs a body on a connection that is cut when the signal aborts. */
const whileOpen = async <T>(
  connection: PostgresConnection,
  signal: AbortSignal,
  body: () => Promise<T>,
): Promise<T> => {
  const cut = (): void => connection.destroy();
  signal.addEventListener('abort', cut, { once: true });
  if (signal.aborted) cut();
  try {
    return await body();
  } finally {
    signal.removeEventListener('abort', cut);
  }
};

const openSession = async (server: Server, host: string, context: ProbeContext): Promise<LedgerSession> => {
  const driver = await import('../../adapters/postgres.ts');
  const service = serviceOf(context);
  const login = await loginOf(context, server.database(service));
  const { stream, names, clock } = context;
  const name = `${context.runId}/${stream.stream}`;
  const pool = createPool(login, driver.connectPostgres, stream.timeoutMs, stream.connection === 'kept');
  let tableKnown = false;

  const find = (of: string, signal: AbortSignal): Promise<Destination> =>
    names.service(`_postgresql._tcp.${of}`, signal);

  const insertRow = async (connection: PostgresConnection, index: number): Promise<Written> => {
    if (!tableKnown) await ensureTable(connection, driver);
    tableKnown = true;
    const rows = await connection.query('blackstart_insert', insert, [name, index]);
    const endedMs = clock.monotonicMs();
    const { epoch: acknowledgedBy, position } = rows[0] ?? {};
    if (typeof acknowledgedBy !== 'string') return { out: 'info', code: 'wrong-content', endedMs };
    const weak = connection.takeNotices().some((notice) => notReplicated.test(notice));
    return {
      out: 'ok',
      code: 'ok',
      endedMs,
      epoch: acknowledgedBy,
      ...(typeof position === 'string' ? { position } : {}),
      ...(weak ? { weak } : {}),
    };
  };

  const unreadable = (error: unknown, signal: AbortSignal): UnreadableError => {
    const code = signal.aborted ? 'timeout' : driver.postgresCode(error);
    return new UnreadableError(code, `ledger ${stream.stream} cannot be read: ${messageOf(error)}`, { cause: error });
  };

  const hostToRead = (copy: string | null): string => {
    // Also of a ledger that writes past the name: what counts is what the authority has, not what its own server has.
    if (copy === null) return server.host(service);
    const copies = server.copies(service);
    const found = copies[copy];
    if (found !== undefined) return found;
    throw noCopy(context, copy, Object.keys(copies));
  };

  /** Reads have connections of their own, one kept for each place: nothing a write waits for, and cheap to repeat. */
  const readers = new Map<string, ReturnType<typeof createPool>>();
  const readerOf = (of: string): ReturnType<typeof createPool> => {
    const reader = readers.get(of) ?? createPool(login, driver.connectPostgres, stream.timeoutMs, true);
    readers.set(of, reader);
    return reader;
  };

  const onReader = async <T>(
    of: string,
    signal: AbortSignal,
    body: (connection: PostgresConnection, found: Destination) => Promise<T>,
  ): Promise<T> => {
    const found = await find(of, signal);
    const reader = readerOf(of);
    const connection = await reader.take(found, signal);
    try {
      return await whileOpen(connection, signal, () => body(connection, found));
    } finally {
      reader.give(connection, found);
    }
  };

  return {
    async write(attempt) {
      const found = await locate(attempt, () => find(host, attempt.signal));
      if (isLook(found)) return { out: 'fail', code: found.code };
      const by = `${found.address}:${found.port}`;
      // Until the statement is handed to the driver nothing of it can be stored: what goes wrong before is definite.
      let sent = false;
      try {
        const connection = await pool.take(found, attempt.signal);
        try {
          return await whileOpen(connection, attempt.signal, async () => {
            if (attempt.signal.aborted) return { out: 'fail', code: 'timeout', by };
            sent = true;
            return { ...(await insertRow(connection, attempt.index)), by };
          });
        } finally {
          pool.give(connection, found);
        }
      } catch (error) {
        const endedMs = clock.monotonicMs();
        const code = attempt.signal.aborted ? 'timeout' : driver.postgresCode(error);
        return { out: sent && !refusals.has(code) ? 'info' : 'fail', code, endedMs, by };
      }
    },
    async read(copy, since, signal) {
      const of = hostToRead(copy);
      try {
        return await onReader(of, signal, async (connection, found) => {
          const [row] = selectedSchema.parse(await connection.query('blackstart_select', select, [name, since]));
          const answered = row?.epoch ?? undefined;
          return {
            node: `${found.address}:${found.port}`,
            ...(answered === undefined ? {} : { epoch: answered }),
            seqs: row?.seqs ?? [],
          };
        });
      } catch (error) {
        throw unreadable(error, signal);
      }
    },
    async remove(signal) {
      await onReader(server.host(service), signal, async (connection) => {
        const [row] = await connection.query('blackstart_known', tableKnownText, []);
        if (row?.['known'] === true) await connection.query('blackstart_remove', removeRows, [name]);
      });
    },
    async close() {
      for (const one of [pool, ...readers.values()]) one.close();
    },
  };
};

const noCopy = (context: ProbeContext, copy: string, known: readonly string[]): BlackstartError =>
  new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} looks at the copy in "${copy}", which has none`,
    known.length === 0
      ? 'This database has no copy that can be read: leave "copies" out.'
      : `Use one of: ${known.join(', ')}.`,
  );

type Login = Pick<PostgresAddress, 'user' | 'password' | 'database'>;

const loginOf = async (context: ProbeContext, database: string): Promise<Login> => {
  if (context.database === null) {
    throw new BlackstartError(
      'USAGE',
      `stream ${context.stream.stream} writes to the database, and the environment offers no database login`,
      'Name the user and the password file in the environment, or leave the ledger out.',
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

/**
 * Several ledgers may create it at once; PostgreSQL then reports a duplicate to all but one (23505, 42P07). Who may not
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

const conversations: Server = {
  host: ({ databaseHost }) => databaseHost,
  copies: ({ databaseInstances = {} }) => databaseInstances,
  database: ({ databaseName }) => databaseName,
};

/** Conversations: written to the database's own name, or to one region's instance wherever that name leads. */
export const postgresLedger = {
  name: 'postgres-ledger',
  summary: 'Numbered INSERTs at the database writer, with the identity of the server that acknowledged each.',
  params: z.strictObject({
    /** A region, or `primary` or `failover`, whose own instance is written to, wherever the database's name leads. */
    instance: z.string().min(1).optional(),
  }),
  defaults: { everyMs: 50, timeoutMs: 2000 },
  open({ instance }, context) {
    const service = serviceOf(context);
    const host = instance === undefined ? conversations.host(service) : conversations.copies(service)[instance];
    if (host === undefined) throw noInstance(context, instance ?? '');
    return openSession(conversations, host, context);
  },
} satisfies LedgerStore<z.ZodObject<{ instance: z.ZodOptional<z.ZodString> }>>;

const noInstance = (context: ProbeContext, instance: string): BlackstartError =>
  new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} writes to the database instance of "${instance}", which is no region`,
    `Use one of: ${Object.keys(serviceOf(context).databaseInstances ?? {}).join(', ')}.`,
  );

const billingOf = (service: ProbedService): NonNullable<ProbedService['billing']> => {
  if (service.billing !== undefined) return service.billing;
  throw new BlackstartError(
    'BAD_FILE',
    'a billing-ledger writes to the billing database, and the environment has none',
    'Give the environment file a "billing" section, or leave the ledger out.',
  );
};

/** Its standby answers nobody until it takes over: what is there is read where the name leads. */
const billing: Server = {
  host: (service) => billingOf(service).host,
  copies: () => ({}),
  database: (service) => billingOf(service).databaseName,
};

/** Billing: critical data, whose every commit is in two regions before it is acknowledged. */
export const billingLedger = {
  name: 'billing-ledger',
  summary: 'Numbered INSERTs at the billing database, with the identity of the server that acknowledged each.',
  params: z.strictObject({}),
  defaults: { everyMs: 50, timeoutMs: 2000 },
  open: (_params, context) => openSession(billing, billing.host(serviceOf(context)), context),
} satisfies LedgerStore<z.ZodObject>;
