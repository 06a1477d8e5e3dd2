import { z } from 'zod';
import type { CacheNode } from '../../adapters/cache-node.ts';
import { type Clock, deadline } from '../../core/clock.ts';
import { BlackstartError, messageOf } from '../../core/errors.ts';
import type { ProbeContext, ProbedService } from '../probe.ts';
import { serviceOf } from '../service.ts';
import { type LedgerSession, type LedgerStore, UnreadableError } from './store.ts';

type Driver = typeof import('../../adapters/cache-node.ts');

/** Longer than any drill: what is missing has not expired. What nobody takes away is gone by then. */
const keptS = 7 * 24 * 3600;
const scanCount = 1000;

/** Keys of a ledger begin so, and nothing else does. */
export const prefixOf = (runId: string, stream: string): string => `blackstart:${runId}/${stream}:`;
/** What the primary had evicted when this ledger began to write to it. */
const evictedKey = (runId: string, stream: string, server: string): string =>
  `blackstart-evicted:${runId}/${stream}:${server}`;

/** A pattern that matches keys with this very beginning. */
export const startingWith = (prefix: string): string => `${prefix.replaceAll(/[\\*?[\]]/g, '\\$&')}*`;

const field = (info: string, name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';

/** What INFO says of a server that takes writes. */
export interface CacheServer {
  readonly isPrimary: boolean;
  /** Of this process: another one after a restart. */
  readonly server: string;
  /** History of the data set: another one after a takeover, and after a start from nothing. */
  readonly history: string;
  readonly offset: string;
  readonly evicted: number;
}

/** Reads the sections `server`, `replication` and `stats`: https://redis.io/docs/latest/commands/info/ */
export const serverOf = (info: string): CacheServer => ({
  isPrimary: field(info, 'role') === 'master',
  server: field(info, 'run_id'),
  history: field(info, 'master_replid'),
  offset: field(info, 'master_repl_offset'),
  evicted: Number(field(info, 'evicted_keys') || 0),
});

const epochOf = ({ history, server }: CacheServer, address: string): string => `${history}:${address}:${server}`;

const textOf = (reply: unknown): string => (typeof reply === 'string' ? reply : '');

const infoOf = async (node: CacheNode): Promise<CacheServer> => {
  const sections = await Promise.all(['server', 'replication', 'stats'].map((one) => node.command('INFO', one)));
  return serverOf(sections.map(textOf).join('\r\n'));
};

const pageSchema = z.tuple([z.string(), z.array(z.string())]);

/** Every key that begins so; a key may be told twice, and is one. */
const scan = async (node: CacheNode, prefix: string): Promise<readonly string[]> => {
  const keys = new Set<string>();
  let cursor = '0';
  do {
    const page = await node.command('SCAN', cursor, 'MATCH', startingWith(prefix), 'COUNT', String(scanCount));
    const [next, found] = pageSchema.parse(page);
    for (const key of found) keys.add(key);
    cursor = next;
  } while (cursor !== '0');
  return [...keys];
};

/** What finding the primary takes. */
interface Search {
  readonly nodes: readonly string[];
  readonly driver: Driver;
  readonly clock: Clock;
  /** Of one node: one that is in the dark must not hold up the others. */
  readonly timeoutMs: number;
}

/** Connects, and stays so if the node says that it is a primary. Rejects otherwise. */
const connectPrimary = async (
  address: string,
  { driver, clock, timeoutMs }: Search,
  signal: AbortSignal,
): Promise<CacheNode> => {
  const limit = deadline(clock, timeoutMs, new Error(`${address} does not say what it is`), signal);
  try {
    const node = await driver.connectCacheNode(address, timeoutMs, limit.signal);
    try {
      const info = await whicheverFirst(node.command('INFO', 'replication'), limit.signal);
      if (!serverOf(textOf(info)).isPrimary) throw new Error(`${address} is a replica`);
      return node;
    } catch (error) {
      node.destroy();
      throw error;
    }
  } finally {
    limit.dispose();
  }
};

const noPrimary = (cause?: unknown): UnreadableError =>
  new UnreadableError('no-primary', 'no node of the cache says that it is the primary', { cause });

/** The first node that says it is the primary, as a client would take it. */
const anyPrimary = async (search: Search, signal: AbortSignal): Promise<CacheNode> => {
  const ended = new AbortController();
  const either = AbortSignal.any([signal, ended.signal]);
  let first: CacheNode | undefined;
  const asked = search.nodes.map(async (address) => {
    const node = await connectPrimary(address, search, either);
    if (first !== undefined) node.destroy();
    first ??= node;
    return node;
  });
  try {
    return await Promise.any(asked);
  } catch (cause) {
    throw noPrimary(cause);
  } finally {
    ended.abort();
  }
};

/** The one node that is the primary. Of two, nobody can say whose data will survive. */
const onlyPrimary = async (search: Search, signal: AbortSignal): Promise<CacheNode> => {
  const asked = await Promise.allSettled(search.nodes.map((node) => connectPrimary(node, search, signal)));
  const found = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const [only, ...others] = found;
  if (only === undefined) throw noPrimary();
  if (others.length === 0) return only;
  for (const node of found) node.destroy();
  const names = found.map(({ address }) => address).join(' and ');
  throw new UnreadableError('two-primaries', `${names} both say that they are the primary`);
};

const openSession = async (nodes: readonly string[], context: ProbeContext): Promise<LedgerSession> => {
  const driver = await import('../../adapters/cache-node.ts');
  const { runId, stream, clock } = context;
  const prefix = prefixOf(runId, stream.stream);
  const kept = stream.connection === 'kept';
  let primary: CacheNode | undefined;
  let searching: Promise<CacheNode> | undefined;
  /** Servers that this ledger began to write to. */
  const begun = new Set<string>();

  const drop = (node: CacheNode): void => {
    node.destroy();
    if (primary === node) primary = undefined;
  };

  const search = { nodes, driver, clock, timeoutMs: stream.timeoutMs };

  /** Where the last write went, or whoever says that it is the primary. Writes at one time share one search. */
  const find = async (signal: AbortSignal): Promise<CacheNode> => {
    if (!kept) return anyPrimary(search, signal);
    if (primary !== undefined && !primary.broken) return primary;
    searching ??= anyPrimary(search, new AbortController().signal)
      .then((found) => {
        primary = found;
        return found;
      })
      .finally(() => {
        searching = undefined;
      });
    return whicheverFirst(searching, signal);
  };

  /** Whether keys were evicted can only be told later if it is known how many had been before. */
  const begin = async (node: CacheNode): Promise<void> => {
    if (begun.has(node.address)) return;
    const { server, evicted } = await infoOf(node);
    const key = evictedKey(runId, stream.stream, server);
    await node.command('SET', key, String(evicted), 'EX', String(keptS), 'NX');
    begun.add(node.address);
  };

  const onPrimary = async <T>(signal: AbortSignal, body: (node: CacheNode) => Promise<T>): Promise<T> => {
    const node = await onlyPrimary(search, signal);
    const cut = (): void => node.destroy();
    signal.addEventListener('abort', cut, { once: true });
    try {
      return await body(node);
    } finally {
      signal.removeEventListener('abort', cut);
      node.destroy();
    }
  };

  return {
    async write(attempt) {
      let node: CacheNode | undefined;
      try {
        node = await find(attempt.signal);
        await whicheverFirst(begin(node), attempt.signal);
      } catch (error) {
        // Nothing of this write was sent.
        if (node !== undefined) drop(node);
        const code = attempt.signal.aborted ? 'timeout' : driver.cacheCode(error).code;
        return { out: 'fail', code: error instanceof UnreadableError ? error.code : code };
      }
      const by = node.address;
      attempt.seen.address = by;
      const record = JSON.stringify({ run: runId, stream: stream.stream, seq: attempt.index });
      try {
        const commands = [
          ['SET', `${prefix}${attempt.index}`, record, 'EX', String(keptS)],
          ['INFO', 'server'],
          ['INFO', 'replication'],
        ];
        const [, ...infos] = await whicheverFirst(node.transaction(commands), attempt.signal);
        const endedMs = clock.monotonicMs();
        const said = serverOf(infos.map(textOf).join('\r\n'));
        if (!kept) drop(node);
        return { out: 'ok', code: 'ok', endedMs, epoch: epochOf(said, by), by, position: said.offset };
      } catch (error) {
        const endedMs = clock.monotonicMs();
        drop(node);
        if (attempt.signal.aborted) return { out: 'info', code: 'timeout', by, endedMs };
        const { code, discarded } = driver.cacheCode(error);
        return { out: discarded ? 'fail' : 'info', code, by, endedMs };
      }
    },
    async read(copy, since, signal) {
      if (copy !== null) throw noCopy(context, copy);
      try {
        return await onPrimary(signal, async (node) => {
          const keys = await scan(node, prefix);
          const said = await infoOf(node);
          const key = evictedKey(runId, stream.stream, said.server);
          const before = Number((await node.command('GET', key)) ?? 0);
          if (said.evicted > before) {
            const count = said.evicted - before;
            throw new UnreadableError('evicted', `the cache evicted ${count} keys: what is missing may be among them`);
          }
          const rests = keys.map((one) => one.slice(prefix.length));
          return {
            node: node.address,
            epoch: epochOf(said, node.address),
            seqs: rests
              .filter(isNumber)
              .map(Number)
              .filter((seq) => seq >= since),
            foreign: rests.filter((rest) => !isNumber(rest)),
          };
        });
      } catch (error) {
        if (error instanceof UnreadableError) throw error;
        const code = signal.aborted ? 'timeout' : driver.cacheCode(error).code;
        throw new UnreadableError(code, `ledger ${stream.stream} cannot be read: ${messageOf(error)}`, {
          cause: error,
        });
      }
    },
    async remove(signal) {
      await onPrimary(signal, async (node) => {
        const keys = [...(await scan(node, prefix)), ...(await scan(node, evictedKey(runId, stream.stream, '')))];
        for (let at = 0; at < keys.length; at += scanCount) {
          await node.command('UNLINK', ...keys.slice(at, at + scanCount));
        }
      });
    },
    async close() {
      if (primary !== undefined) drop(primary);
    },
  };
};

const isNumber = (text: string): boolean => /^(0|[1-9]\d*)$/.test(text);

/** The promise, or the reason of the signal: what is under way on a connection is not cut for one of several. */
const whicheverFirst = <T>(promise: Promise<T>, signal: AbortSignal): Promise<T> =>
  new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });

const noCopy = (context: ProbeContext, copy: string): BlackstartError =>
  new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} looks at the copy in "${copy}", and a cache has none that a region could go on with`,
    'Leave "copies" out.',
  );

const nodesOf = (context: ProbeContext): readonly string[] => {
  const { cacheNodes = [] } = serviceOf(context);
  if (cacheNodes.length > 0) return cacheNodes;
  throw new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} writes to the cache, and the environment has none`,
    'Name its nodes in the environment under addresses.cache, or leave the ledger out.',
  );
};

const params = z.strictObject({});

/**
 * A cache of one shard: Redis acknowledges before its replicas have a write, so a takeover may lose what was
 * acknowledged. Of several shards every node refuses the keys of the others (MOVED), and the ledger shows it.
 */
export const cacheLedger = {
  name: 'cache-ledger',
  summary: 'Numbered SETs at the primary of the cache, with the data set and the server that acknowledged each.',
  params,
  defaults: { everyMs: 100, timeoutMs: 1000 },
  absent: ({ cacheNodes = [] }: Pick<ProbedService, 'cacheNodes'>) =>
    cacheNodes.length === 0 ? 'the environment has no cache' : undefined,
  open: (_params, context) => openSession(nodesOf(context), context),
} satisfies LedgerStore<typeof params>;
