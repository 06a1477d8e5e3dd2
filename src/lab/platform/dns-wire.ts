import dgram from 'node:dgram';
import net from 'node:net';
import packet, { type Answer, type DecodedPacket, type OptAnswer, type Question } from 'dns-packet';

/** What is answered to one well-formed question. */
export interface Reply {
  readonly rcode: 'NOERROR' | 'NXDOMAIN' | 'REFUSED';
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
  readonly additionals: readonly Answer[];
}

export type Respond = (question: Question) => Reply;

const rcodes = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;
const opcodeMask = 0x7800;
const headerBytes = 12;
const plainPayloadMax = 512;
const ednsPayloadMax = 1232;

const decode = (message: Buffer): DecodedPacket | undefined => {
  try {
    return packet.decode(message);
  } catch {
    // Not a DNS message. Nobody who speaks DNS waits for an answer to it.
    return undefined;
  }
};

const optOf = (query: DecodedPacket): OptAnswer | undefined =>
  query.additionals?.find((record): record is OptAnswer => record.type === 'OPT');

const encodeReply = (query: DecodedPacket, rcode: number, reply: Reply | undefined): Buffer => {
  const asked = optOf(query);
  const opt: Answer[] =
    asked === undefined
      ? []
      : [
          {
            ...asked,
            name: '.',
            udpPayloadSize: ednsPayloadMax,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            options: [],
          },
        ];
  const recursion = (query.flags ?? 0) & packet.RECURSION_DESIRED;
  return packet.encode({
    type: 'response',
    id: query.id ?? 0,
    flags: packet.AUTHORITATIVE_ANSWER | packet.RECURSION_AVAILABLE | recursion | rcode,
    questions: query.questions ?? [],
    answers: [...(reply?.answers ?? [])],
    authorities: [...(reply?.authorities ?? [])],
    additionals: [...(reply?.additionals ?? []), ...opt],
  });
};

const truncated = (query: DecodedPacket): Buffer => {
  const empty = encodeReply(query, rcodes.NOERROR, undefined);
  empty.writeUInt16BE(empty.readUInt16BE(2) | packet.TRUNCATED_RESPONSE, 2);
  return empty;
};

/** The answer to one message, or `undefined` for what deserves none: garbage, and answers. */
export const replyTo = (message: Buffer, transport: 'udp' | 'tcp', respond: Respond): Buffer | undefined => {
  const query = message.length < headerBytes ? undefined : decode(message);
  if (query === undefined || query.type !== 'query') return undefined;
  if (((query.flags ?? 0) & opcodeMask) !== 0) return encodeReply(query, rcodes.NOTIMP, undefined);
  const [question, ...others] = query.questions ?? [];
  if (question === undefined || others.length > 0) return encodeReply(query, rcodes.FORMERR, undefined);
  if (question.class !== 'IN' && question.class !== 'ANY') return encodeReply(query, rcodes.REFUSED, undefined);
  const reply = respond(question);
  const encoded = encodeReply(query, rcodes[reply.rcode], reply);
  const room = Math.min(Math.max(optOf(query)?.udpPayloadSize ?? plainPayloadMax, plainPayloadMax), ednsPayloadMax);
  return transport === 'udp' && encoded.length > room ? truncated(query) : encoded;
};

const listenUdp = (port: number, respond: Respond, signal: AbortSignal, fault: (error: Error) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4');
    socket.once('error', reject);
    socket.on('message', (message, peer) => {
      const reply = replyTo(message, 'udp', respond);
      if (reply !== undefined) socket.send(reply, peer.port, peer.address);
    });
    socket.bind(port, '127.0.0.1', () => {
      socket.off('error', reject);
      socket.on('error', fault);
      signal.addEventListener('abort', () => socket.close(), { once: true });
      resolve();
    });
  });

const idleMs = 10_000;
const pendingBytesMax = 64 * 1024;

const serveStream = (socket: net.Socket, respond: Respond): void => {
  let buffered = Buffer.alloc(0);
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
      const length = buffered.readUInt16BE(0);
      const reply = replyTo(buffered.subarray(2, 2 + length), 'tcp', respond);
      buffered = buffered.subarray(2 + length);
      if (reply === undefined) {
        socket.destroy();
        return;
      }
      const prefix = Buffer.alloc(2);
      prefix.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([prefix, reply]));
    }
    if (buffered.length > pendingBytesMax + 2) socket.destroy();
  });
};

const listenTcp = (port: number, respond: Respond, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      serveStream(socket, respond);
    });
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      signal.addEventListener(
        'abort',
        () => {
          server.close();
          for (const socket of sockets) socket.destroy();
        },
        { once: true },
      );
      resolve();
    });
  });

/** Serves DNS over UDP and TCP on one loopback port until the signal aborts. */
export const serveDns = async (
  port: number,
  respond: Respond,
  signal: AbortSignal,
  fault: (error: Error) => void,
): Promise<void> => {
  await Promise.all([listenUdp(port, respond, signal, fault), listenTcp(port, respond, signal)]);
};
