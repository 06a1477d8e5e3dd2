import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import net from 'node:net';

/**
 * Below the ranges that Linux (32768 up) and macOS (49152 up) give to outgoing connections, so that nobody's passing
 * connection takes a port between our look and our listen.
 */
const portMin = 10_240;
const portMax = 32_000;
const batch = 64;

const isFreeTcp = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });

const isFreeUdp = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    socket.once('error', () => {
      socket.close();
      resolve(false);
    });
    socket.bind({ port, address: '127.0.0.1', exclusive: true }, () => socket.close(() => resolve(true)));
  });

/** Loopback ports that nobody listens on, over TCP and UDP, from a random place so that labs seldom meet. */
export const findPorts = async (count: number): Promise<readonly number[]> => {
  const span = portMax - portMin;
  const start = randomInt(span);
  const found: number[] = [];
  for (let offset = 0; offset < span && found.length < count; offset += batch) {
    const candidates = Array.from({ length: Math.min(batch, span - offset) }, (_, index) => {
      return portMin + ((start + offset + index) % span);
    });
    const free = await Promise.all(candidates.map(async (port) => (await isFreeTcp(port)) && (await isFreeUdp(port))));
    found.push(...candidates.filter((_, index) => free[index]));
  }
  if (found.length < count) throw new Error(`only ${found.length} free loopback ports of ${count} needed`);
  return found.slice(0, count);
};
