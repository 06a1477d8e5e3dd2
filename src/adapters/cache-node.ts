import { Redis } from 'ioredis';
import { codeOf, failureOf } from './failure.ts';

/** A connection to one node of a cache, for somebody who times and counts every command. */
export interface CacheNode {
  /** `host:port` it was opened to. */
  readonly address: string;
  /** Whether it takes no more commands. */
  readonly broken: boolean;
  /** One command. Rejects with what `cacheCode` understands. */
  command(name: string, ...values: readonly string[]): Promise<unknown>;
  /** Commands as one transaction (MULTI … EXEC), sent at once. Replies in order; rejects if one of them is an error. */
  transaction(commands: readonly (readonly string[])[]): Promise<readonly unknown[]>;
  /** Cuts it, whatever is under way. */
  destroy(): void;
}

/** Connects once; nothing is queued, sent again, or connected to behind its back. Rejects when the signal aborts. */
export const connectCacheNode = async (address: string, timeoutMs: number, signal: AbortSignal): Promise<CacheNode> => {
  signal.throwIfAborted();
  const at = address.lastIndexOf(':');
  const client = new Redis({
    host: address.slice(0, at),
    port: Number(address.slice(at + 1)),
    lazyConnect: true,
    connectTimeout: timeoutMs,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    enableReadyCheck: false,
  });
  let lastError: Error | undefined;
  // What it dies of is told by the command in flight; without a listener the process would die of it too.
  client.on('error', (error: Error) => {
    lastError = error;
  });
  const cut = (): void => client.disconnect();
  signal.addEventListener('abort', cut, { once: true });
  try {
    await client.connect();
  } catch (error) {
    client.disconnect();
    // The library says "Connection is closed"; why it is closed was told to the listener.
    throw lastError ?? error;
  } finally {
    signal.removeEventListener('abort', cut);
  }
  return {
    address,
    get broken() {
      return client.status !== 'ready';
    },
    command: (name, ...values) => client.call(name, ...values),
    async transaction(commands) {
      const multi = client.multi();
      for (const [name = '', ...values] of commands) multi.call(name, ...values);
      const replies = await multi.exec();
      return (replies ?? []).map(([error, reply]) => {
        // The others were carried out: that one of them failed does not take them back.
        if (error !== null) throw new Error(`part of a transaction failed: ${error.message}`, { cause: error });
        return reply;
      });
    },
    destroy: cut,
  };
};

/** The word an error begins with, such as `READONLY`: https://redis.io/docs/latest/develop/reference/protocol-spec/ */
const wordOf = (error: Error): string => /^[A-Z]{2,}/.exec(error.message)?.[0] ?? 'ERR';

const isReply = (error: unknown): error is Error => error instanceof Error && error.name === 'ReplyError';

/**
 * What a command came to: the node's own word for an error that it answered, else what befell the connection.
 * `discarded`: the node says that nothing of the transaction was carried out (EXECABORT).
 */
export const cacheCode = (error: unknown): { readonly code: string; readonly discarded: boolean } => {
  if (isReply(error)) {
    // A transaction is refused because one of its commands was: that one says why.
    const causes = 'previousErrors' in error && Array.isArray(error.previousErrors) ? error.previousErrors : [];
    return { code: wordOf(causes.find(isReply) ?? error), discarded: wordOf(error) === 'EXECABORT' };
  }
  const code = codeOf(error);
  if (code !== 'unknown') return { code: failureOf(code, false), discarded: false };
  const text = error instanceof Error ? error.message : String(error);
  return { code: /closed/i.test(text) ? 'reset' : /timed? ?out/i.test(text) ? 'timeout' : 'unknown', discarded: false };
};
