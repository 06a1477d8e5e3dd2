import { createSocket, type Socket } from 'node:dgram';
import { lookup, Resolver as SystemResolver } from 'node:dns/promises';
import net from 'node:net';
import dnsPacket, { type Answer, type DecodedPacket } from 'dns-packet';
import type { Clock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import { DnsError } from './failure.ts';

export type RecordType = 'A' | 'AAAA' | 'SRV' | 'TXT' | 'CNAME';

export interface DnsRecord {
  readonly name: string;
  readonly type: RecordType;
  readonly ttlMs: number;
  /** Address, name, text, or for SRV the target's name. */
  readonly value: string;
  readonly port: number;
  readonly priority: number;
}

/** The server's whole answer: the records asked for, the CNAMEs on the way, and what it added unasked. */
export interface DnsReply {
  readonly answers: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

export interface DnsClient {
  /** Asks once, without a cache. Rejects with `DnsError`, or with the signal's reason. */
  query(name: string, type: RecordType, signal: AbortSignal): Promise<DnsReply>;
  close(): void;
}

/** UDP loses packets without telling: the question is repeated at this pace until the caller's signal aborts. */
const resendMs = 500;

interface Pending {
  readonly name: string;
  readonly type: RecordType;
  resolve(packet: DecodedPacket): void;
  reject(error: Error): void;
}

/** A UDP socket; `waiting` holds what cannot be sent before it is connected. */
interface Line {
  readonly socket: Socket;
  waiting: Buffer[] | null;
}

/**
 * A client of one DNS server, `host:port`. Node's own resolver hides the TTL of SRV records and cannot be bounded below
 * its retry pace, which is why the questions are asked here.
 */
export const createDnsClient = (server: string, clock: Clock): DnsClient => {
  const at = server.lastIndexOf(':');
  const host = server.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  const port = Number(server.slice(at + 1));
  const pending = new Map<number, Pending>();
  let line: Line | undefined;
  let nextId = Math.floor(Math.random() * 65_536);

  const failAll = (failed: Socket, error: Error): void => {
    if (line?.socket !== failed) return;
    line = undefined;
    failed.close();
    const code = 'code' in error && error.code === 'ECONNREFUSED' ? 'refused' : 'unreachable';
    for (const one of [...pending.values()]) one.reject(new DnsError(code, messageOf(error), { cause: error }));
  };

  /** Connected, so that a server that is gone is refused at once instead of timing out. */
  const openLine = (): Line => {
    if (line !== undefined) return line;
    const socket = createSocket(net.isIPv6(host) ? 'udp6' : 'udp4');
    const opened: Line = { socket, waiting: [] };
    line = opened;
    socket.on('error', (error) => failAll(socket, error));
    socket.on('message', (message) => {
      const packet = decode(message);
      const one = packet === undefined ? undefined : pending.get(packet.id ?? -1);
      const question = packet?.questions?.[0];
      if (packet === undefined || one === undefined || question?.name.toLowerCase() !== one.name.toLowerCase()) return;
      one.resolve(packet);
    });
    socket.connect(port, host, () => {
      const waiting = opened.waiting ?? [];
      opened.waiting = null;
      for (const message of waiting) transmit(socket, message);
    });
    return opened;
  };

  const transmit = (socket: Socket, message: Buffer): void =>
    socket.send(message, (error) => {
      if (error !== null) failAll(socket, error);
    });

  const send = (message: Buffer): void => {
    const { socket, waiting } = openLine();
    if (waiting === null) transmit(socket, message);
    else waiting.push(message);
  };

  const askByUdp = (name: string, type: RecordType, signal: AbortSignal): Promise<DecodedPacket> => {
    nextId = (nextId + 1) % 65_536;
    const id = nextId;
    const message = encodeQuestion(id, name, type);
    const answered = new AbortController();
    return new Promise<DecodedPacket>((resolve, reject) => {
      const settle = (): void => {
        pending.delete(id);
        answered.abort();
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        settle();
        reject(signal.reason);
      };
      pending.set(id, {
        name,
        type,
        resolve: (packet) => {
          settle();
          resolve(packet);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      signal.addEventListener('abort', onAbort, { once: true });
      const repeat = (): void => {
        if (answered.signal.aborted) return;
        send(message);
        clock.sleep(resendMs, answered.signal).then(repeat, () => undefined);
      };
      repeat();
    });
  };

  return {
    async query(name, type, signal) {
      signal.throwIfAborted();
      const packet = await askByUdp(name, type, signal);
      return replyOf(packet.flag_tc ? await askByTcp(host, port, name, type, signal) : packet, name);
    },
    close() {
      line?.socket.close();
      line = undefined;
      for (const one of [...pending.values()]) one.reject(new DnsError('closed', 'the resolver was closed'));
    },
  };
};

const encodeQuestion = (id: number, name: string, type: RecordType): Buffer =>
  dnsPacket.encode({ type: 'query', id, flags: dnsPacket.RECURSION_DESIRED, questions: [{ type, name }] });

/** `undefined` for what is not DNS: on UDP a stray packet is ignored, not believed. */
const decode = (message: Buffer): DecodedPacket | undefined => {
  try {
    return dnsPacket.decode(message);
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
};

const askByTcp = (
  host: string,
  port: number,
  name: string,
  type: RecordType,
  signal: AbortSignal,
): Promise<DecodedPacket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host, port });
    const chunks: Buffer[] = [];
    const finish = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      settle();
    };
    const onAbort = (): void => finish(() => reject(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', (error) => finish(() => reject(new DnsError('refused', messageOf(error), { cause: error }))));
    socket.on('close', () => finish(() => reject(new DnsError('reset', 'the DNS server closed the connection'))));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      if (bytes.length < 2 || bytes.length < 2 + bytes.readUInt16BE(0)) return;
      const packet = decode(bytes.subarray(2, 2 + bytes.readUInt16BE(0)));
      finish(() =>
        packet === undefined ? reject(new DnsError('malformed', 'the answer is not DNS')) : resolve(packet),
      );
    });
    const question = encodeQuestion(1, name, type);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(question.length);
    socket.write(Buffer.concat([length, question]));
  });

/** RFC 1035 §4.1.1. `declined` is DNS's own REFUSED, apart from a refused connection. */
const rcodes: Readonly<Record<number, string>> = {
  1: 'formerr',
  2: 'servfail',
  3: 'nxdomain',
  4: 'notimp',
  5: 'declined',
};

const replyOf = (packet: DecodedPacket, name: string): DnsReply => {
  const rcode = (packet.flags ?? 0) & 0x0f;
  if (rcode !== 0) {
    const code = rcodes[rcode] ?? `rcode-${rcode}`;
    throw new DnsError(code, `DNS answered ${code} for ${name}`);
  }
  return { answers: recordsOf(packet.answers), additionals: recordsOf(packet.additionals) };
};

const recordsOf = (answers: readonly Answer[] | undefined): DnsRecord[] =>
  (answers ?? []).flatMap((answer): DnsRecord[] => {
    const base = { name: answer.name, port: 0, priority: 0 };
    switch (answer.type) {
      case 'A':
      case 'AAAA':
      case 'CNAME':
        return [{ ...base, type: answer.type, ttlMs: (answer.ttl ?? 0) * 1000, value: answer.data }];
      case 'SRV': {
        const { target: value, port, priority = 0 } = answer.data;
        return [{ ...base, type: 'SRV', ttlMs: (answer.ttl ?? 0) * 1000, value, port, priority }];
      }
      case 'TXT':
        return [{ ...base, type: 'TXT', ttlMs: (answer.ttl ?? 0) * 1000, value: textOf(answer.data) }];
      default:
        return [];
    }
  });

const textOf = (data: string | Buffer | (string | Buffer)[]): string =>
  (Array.isArray(data) ? data : [data]).map((part) => part.toString()).join('');

/**
 * The machine's own resolver, for observing plain URLs: addresses only, from its configured servers, without a cache.
 * A name that they do not know is looked for where the system looks (its hosts file).
 */
export const createSystemDnsClient = (timeoutMs: number): DnsClient => {
  const resolver = new SystemResolver({ timeout: Math.max(100, Math.floor(timeoutMs / 2)), tries: 2 });
  const resolve = async (name: string, type: RecordType): Promise<{ address: string; ttl: number }[]> => {
    try {
      return await (type === 'AAAA' ? resolver.resolve6(name, { ttl: true }) : resolver.resolve4(name, { ttl: true }));
    } catch (error) {
      if (systemCodeOf(error) !== 'nxdomain') throw error;
      const found = await lookup(name, { all: true, family: type === 'AAAA' ? 6 : 4 });
      return found.map(({ address }) => ({ address, ttl: 0 }));
    }
  };
  return {
    async query(name, type, signal) {
      signal.throwIfAborted();
      try {
        const answers = (await resolve(name, type)).map(
          ({ address, ttl }): DnsRecord => ({ name, type, port: 0, priority: 0, value: address, ttlMs: ttl * 1000 }),
        );
        return { answers, additionals: [] };
      } catch (error) {
        throw new DnsError(systemCodeOf(error), messageOf(error), { cause: error });
      }
    },
    close: () => resolver.cancel(),
  };
};

const systemCodeOf = (error: unknown): string => {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ENOTFOUND' || code === 'ENODATA') return 'nxdomain';
  if (code === 'ETIMEOUT') return 'timeout';
  if (code === 'ECONNREFUSED') return 'refused';
  return code === 'ESERVFAIL' ? 'servfail' : 'unreachable';
};
