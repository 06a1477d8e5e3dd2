import { createSocket } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import dnsPacket, { type Answer } from 'dns-packet';

/** A DNS server on loopback for tests. */
export interface TestDnsServer {
  readonly address: string;
  /** Records by `TYPE name`; a name that is in none is NXDOMAIN. */
  readonly records: Map<string, Answer[]>;
  /** Records added to every answer unasked. */
  readonly additionals: Answer[];
  behave: 'answer' | 'drop' | 'servfail' | 'truncate';
  queries: number;
  close(): Promise<void>;
}

export const startDnsServer = async (): Promise<TestDnsServer> => {
  const udp = createSocket('udp4');
  await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve));
  const { port } = udp.address();
  const sockets = new Set<Socket>();

  const answer = (message: Buffer, overTcp: boolean): Buffer => {
    const query = dnsPacket.decode(message);
    const question = query.questions?.[0];
    const key = `${question?.type} ${question?.name}`;
    const known = [...server.records.keys()].some((name) => name.endsWith(` ${question?.name}`));
    const truncate = server.behave === 'truncate' && !overTcp;
    const rcode = server.behave === 'servfail' ? 2 : known ? 0 : 3;
    return dnsPacket.encode({
      type: 'response',
      id: query.id ?? 0,
      flags: rcode | (truncate ? dnsPacket.TRUNCATED_RESPONSE : 0),
      questions: query.questions ?? [],
      answers: truncate || rcode !== 0 ? [] : (server.records.get(key) ?? []),
      additionals: truncate || rcode !== 0 ? [] : server.additionals,
    });
  };

  const tcp = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => {
      const reply = answer(data.subarray(2), true);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([length, reply]));
    });
  });
  await new Promise<void>((resolve) => tcp.listen(port, '127.0.0.1', resolve));

  const server: TestDnsServer = {
    address: `127.0.0.1:${port}`,
    records: new Map(),
    additionals: [],
    behave: 'answer',
    queries: 0,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => udp.close(resolve));
      await new Promise<void>((resolve) => tcp.close(() => resolve()));
    },
  };
  udp.on('message', (message, from) => {
    server.queries += 1;
    if (server.behave !== 'drop') udp.send(answer(message, false), from.port, from.address);
  });
  return server;
};
