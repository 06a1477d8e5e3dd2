import { once } from 'node:events';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { createHttpClient, type HttpRequest } from './http.ts';

const servers: net.Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A server of bare connections; its port. */
const listen = async (onConnection: (socket: net.Socket) => void): Promise<number> => {
  const server = net.createServer(onConnection);
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
};

const requestTo = (port: number, timeoutMs: number): HttpRequest => ({
  secure: false,
  address: '127.0.0.1',
  port,
  host: 'objects',
  method: 'PUT',
  path: '/key',
  headers: {},
  body: 'x',
  signal: AbortSignal.timeout(timeoutMs),
});

describe('whether a request can have arrived', () => {
  const client = createHttpClient('fresh', 2000, systemClock);

  it('it cannot where nobody listens', async () => {
    const port = await listen(() => undefined);
    for (const server of servers.splice(0)) server.close();
    expect(await client.send(requestTo(port, 2000))).toMatchObject({ failure: 'refused', sent: false });
  });

  it('it can once there is a connection, whatever becomes of the answer', async () => {
    const silent = await listen((socket) => void socket.resume().on('error', () => undefined));
    expect(await client.send(requestTo(silent, 200))).toMatchObject({ failure: 'timeout', sent: true });
    const rude = await listen((socket) => void socket.once('data', () => socket.destroy()));
    expect(await client.send(requestTo(rude, 2000))).toMatchObject({ failure: 'reset', sent: true });
  });

  it('it cannot when the time was up before it began', async () => {
    const port = await listen(() => undefined);
    const signal = AbortSignal.abort(new Error('late'));
    expect(await client.send({ ...requestTo(port, 2000), signal })).toMatchObject({ failure: 'timeout', sent: false });
  });
});
