import dgram from 'node:dgram';
import packet from 'dns-packet';
import { systemClock } from '../../core/clock.ts';
import type { LabLayout, Place } from '../layout.ts';
import { alarm } from './http.ts';

/** Where a named service is now: the loopback port of the link that leads there. */
export interface Located {
  readonly port: number;
  /** The name behind the service's name, such as the RDS instance. */
  readonly target: string;
}

export interface Locator {
  /** From the cache while the answer lives, else from the resolver. Throws when nobody answers with an address. */
  locate(): Promise<Located>;
  /** The answer is of no use: the next `locate` asks again. */
  forget(): void;
}

const tryMs = 300;
const tries = 2;
/** DNS counts whole seconds, and a scaled TTL may round to 0: that must not become a query for every chat. */
const keepMsMin = 150;

interface SrvAnswer extends Located {
  readonly ttlMs: number;
}

const ask = (port: number, name: string): Promise<packet.DecodedPacket> =>
  new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4');
    const id = Math.floor(Math.random() * 0xffff);
    const query = packet.encode({ type: 'query', id, flags: 0x100, questions: [{ type: 'SRV', name }] });
    const settle = (act: () => void): void => {
      late.clear();
      socket.close();
      act();
    };
    const late = alarm(tryMs, () => settle(() => reject(new Error(`no answer to SRV ${name} within ${tryMs} ms`))));
    socket.on('error', (error) => settle(() => reject(error)));
    socket.on('message', (message) => {
      let answer: packet.DecodedPacket;
      try {
        answer = packet.decode(message);
      } catch {
        // Not a DNS message: wait for one, until the time is up.
        return;
      }
      if (answer.id === id) settle(() => resolve(answer));
    });
    // Connected, so that a resolver that is gone refuses at once and strangers' datagrams never arrive.
    socket.connect(port, '127.0.0.1', () => socket.send(query));
  });

const srvOf = (answer: packet.DecodedPacket, name: string): SrvAnswer => {
  const answers = answer.answers ?? [];
  const found = answers.flatMap((one) => (one.type === 'SRV' ? [one] : []));
  const [best] = found.toSorted((one, other) => (one.data.priority ?? 0) - (other.data.priority ?? 0));
  if (best === undefined) throw new Error(`${name} has no SRV record`);
  const ttls = answers.flatMap((one) => ('ttl' in one && typeof one.ttl === 'number' ? [one.ttl] : []));
  return { port: best.data.port, target: best.data.target, ttlMs: Math.min(...ttls) * 1000 };
};

/** Resolves `SRV <name>` at the resolver of `place`, for as long as its TTL allows. */
export const createLocator = (layout: LabLayout, place: Place, name: string): Locator => {
  const resolver = layout.resolvers[place];
  if (resolver === undefined) throw new Error(`${place} has no resolver`);
  let known: { readonly located: Located; readonly untilMs: number } | undefined;
  let asking: Promise<Located> | undefined;
  const lookup = async (): Promise<Located> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const found = srvOf(await ask(resolver, name), name);
        known = { located: found, untilMs: systemClock.monotonicMs() + Math.max(keepMsMin, found.ttlMs) };
        return found;
      } catch (error) {
        if (attempt >= tries) throw error;
      }
    }
  };
  return {
    async locate() {
      if (known !== undefined && systemClock.monotonicMs() < known.untilMs) return known.located;
      asking ??= lookup().finally(() => {
        asking = undefined;
      });
      return await asking;
    },
    forget() {
      known = undefined;
    },
  };
};
