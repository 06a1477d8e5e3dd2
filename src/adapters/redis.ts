import type { Redis } from 'ioredis';
import { lazily } from './aws-call.ts';
import type { CachePort } from './ports.ts';

/** Real: a cache that takes longer than this for one write is of no use to anybody. */
const writeWithinMs = 200;
const key = 'blackstart:watch';
const keptMs = 60_000;

/**
 * A cache of one shard: a primary that takes writes and replicas of it. Whether it serves is asked of its nodes, past
 * any name, as a cluster-aware client would: the one that took the last write first, then all the others.
 */
export const createCachePort = (nodes: readonly string[]): CachePort => {
  const load = lazily(async () => await import('ioredis'));
  const clients = new Map<string, Redis>();
  let last: string | undefined;

  const forget = (node: string, client: Redis): void => {
    client.disconnect();
    if (clients.get(node) === client) clients.delete(node);
  };

  const connect = async (node: string): Promise<Redis> => {
    const known = clients.get(node);
    if (known !== undefined) return known;
    const sdk = await load();
    const at = node.lastIndexOf(':');
    const client = new sdk.Redis({
      host: node.slice(0, at),
      port: Number(node.slice(at + 1)),
      lazyConnect: true,
      connectTimeout: writeWithinMs,
      commandTimeout: writeWithinMs,
      // A look says what is now: nothing is queued, sent again, or connected to behind its back.
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      enableReadyCheck: false,
    });
    // What it dies of is told by the command in flight; without a listener the process would die of it too.
    client.on('error', () => undefined);
    client.on('end', () => forget(node, client));
    clients.set(node, client);
    try {
      await client.connect();
    } catch (error) {
      forget(node, client);
      throw error;
    }
    return client;
  };

  const write = async (node: string): Promise<string> => {
    const client = await connect(node);
    try {
      await client.set(key, 'watched', 'PX', keptMs);
      return node;
    } catch (error) {
      forget(node, client);
      throw error;
    }
  };

  const attempt = async (some: readonly string[]): Promise<string | undefined> => {
    try {
      return await Promise.any(some.map(write));
    } catch (error) {
      // No node took it; what each of them said does not change that.
      if (error instanceof AggregateError) return undefined;
      throw error;
    }
  };

  return {
    async takesWrites(signal) {
      signal.throwIfAborted();
      const first = last === undefined ? undefined : await attempt([last]);
      // Once it is lost, all are asked at a time: whoever takes over is not kept waiting by one that is silent.
      last = first ?? (await attempt(nodes));
      return last;
    },
    close() {
      for (const [node, client] of clients) forget(node, client);
    },
  };
};
