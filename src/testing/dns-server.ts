import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
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

/** DNS has the same port on UDP and TCP; what is free on one may be taken on the other. */
const bindBoth = async (): Promise<{ udp: UdpSocket; tcp: Server; port: number }> => {
  for (;;) {
    const tcp = createServer();
    tcp.listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const address = tcp.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const udp = createSocket('udp4');
    const bound = once(udp, 'listening').then(
      () => true,
      () => false,
    );
    udp.bind(port, '127.0.0.1');
    if (await bound) return { udp, tcp, port };
    tcp.close();
  }
};

export const startDnsServer = async (): Promise<TestDnsServer> => {
  const { udp, tcp, port } = await bindBoth();
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

  tcp.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => {
      const reply = answer(data.subarray(2), true);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([length, reply]));
    });
  });
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
