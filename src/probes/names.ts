import type { DnsClient, DnsRecord, DnsReply, RecordType } from '../adapters/dns.ts';
import type { Clock } from '../core/clock.ts';

/** Where one connection goes. */
export interface Destination {
  readonly address: string;
  readonly port: number;
  /** The DNS name that led there. */
  readonly name: string;
}

export interface ServiceRecord {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
}

/** Names as one client location and one connection class sees them. Rejects with `DnsError` or the signal's reason. */
export interface Names {
  /** SRV records, lowest priority first; equal ones in the server's order. */
  services(name: string, signal: AbortSignal): Promise<readonly ServiceRecord[]>;
  /** The first (preferred) record of an SRV name, resolved to an address. */
  service(name: string, signal: AbortSignal): Promise<Destination>;
  /** An explicit host and port: A, then AAAA. An address is taken as it is. */
  host(host: string, port: number, signal: AbortSignal): Promise<Destination>;
  text(name: string, signal: AbortSignal): Promise<string>;
}

/** The name exists, and has no record of the type that was asked for. */
export class EmptyAnswer extends Error {
  readonly code = 'empty';
  constructor(name: string, type: RecordType) {
    super(`${name} has no ${type} record`);
    this.name = 'EmptyAnswer';
  }
}

type Ask = (name: string, type: RecordType, signal: AbortSignal) => Promise<DnsReply>;

/** `fresh` asks every time; `kept` remembers each answer for as long as its shortest TTL, never longer. */
export const createNames = (client: DnsClient, connection: 'fresh' | 'kept', clock: Clock): Names => {
  const ask: Ask =
    connection === 'fresh' ? (name, type, signal) => client.query(name, type, signal) : remembering(client, clock);

  const services = async (
    name: string,
    signal: AbortSignal,
  ): Promise<{ records: ServiceRecord[]; reply: DnsReply }> => {
    const reply = await ask(name, 'SRV', signal);
    const found = reply.answers.filter((record) => record.type === 'SRV');
    if (found.length === 0) throw new EmptyAnswer(name, 'SRV');
    const records = found.map(({ value, port, priority }) => ({ name: value, port, priority }));
    return { records: records.sort((one, other) => one.priority - other.priority), reply };
  };

  const addressOf = async (host: string, signal: AbortSignal): Promise<string> => {
    const literal = literalOf(host);
    if (literal !== undefined) return literal;
    const found = (await ask(host, 'A', signal)).answers.find((record) => record.type === 'A');
    if (found !== undefined) return found.value;
    const wide = (await ask(host, 'AAAA', signal)).answers.find((record) => record.type === 'AAAA');
    if (wide === undefined) throw new EmptyAnswer(host, 'A');
    return wide.value;
  };

  return {
    services: async (name, signal) => (await services(name, signal)).records,
    async service(name, signal) {
      const { records, reply } = await services(name, signal);
      const [first] = records;
      if (first === undefined) throw new EmptyAnswer(name, 'SRV');
      const address = added(reply.additionals, first.name) ?? (await addressOf(first.name, signal));
      return { address, port: first.port, name: first.name };
    },
    host: async (host, port, signal) => ({ address: await addressOf(host, signal), port, name: host }),
    async text(name, signal) {
      const found = (await ask(name, 'TXT', signal)).answers.find((record) => record.type === 'TXT');
      if (found === undefined) throw new EmptyAnswer(name, 'TXT');
      return found.value;
    },
  };
};

const added = (additionals: readonly DnsRecord[], name: string): string | undefined =>
  additionals.find((record) => record.type === 'A' && record.name.toLowerCase() === name.toLowerCase())?.value;

/** RFC 6761: `localhost` is never asked of a server. */
const literalOf = (host: string): string | undefined => {
  const bare = host.replace(/^\[(.*)\]$/, '$1');
  if (/^\d+\.\d+\.\d+\.\d+$/.test(bare) || bare.includes(':')) return bare;
  return bare === 'localhost' || bare.endsWith('.localhost') ? '127.0.0.1' : undefined;
};

const remembering = (client: DnsClient, clock: Clock): Ask => {
  const remembered = new Map<string, { readonly reply: DnsReply; readonly untilMs: number }>();
  return async (name, type, signal) => {
    const key = `${type} ${name}`;
    const known = remembered.get(key);
    if (known !== undefined && clock.monotonicMs() < known.untilMs) return known.reply;
    remembered.delete(key);
    const reply = await client.query(name, type, signal);
    const ttlMs = Math.min(...reply.answers.map((record) => record.ttlMs), Number.MAX_SAFE_INTEGER);
    if (reply.answers.length > 0 && ttlMs > 0) remembered.set(key, { reply, untilMs: clock.monotonicMs() + ttlMs });
    return reply;
  };
};
