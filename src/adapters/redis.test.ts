import net, { type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { createCachePort } from './redis.ts';

/** A node that answers every command with one line, or with silence. */
interface Node {
  reply: string;
  readonly address: string;
  readonly writes: () => number;
  close(): Promise<void>;
}

const nodes: Node[] = [];
const startNode = async (reply: string): Promise<Node> => {
  const sockets = new Set<net.Socket>();
  let writes = 0;
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      for (const command of data.toString('latin1').match(/\*\d+\r\n\$\d+\r\n\w+/g) ?? []) {
        const isWrite = /set$/i.test(command);
        if (isWrite) writes += 1;
        if (node.reply !== '') socket.write(isWrite ? node.reply : '+OK\r\n');
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const node: Node = {
    reply,
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    writes: () => writes,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  nodes.push(node);
  return node;
};

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.close();
});

const signal = new AbortController().signal;
const ok = '+OK\r\n';
const readOnly = "-READONLY You can't write against a read only replica.\r\n";

describe('whether a cache takes writes', () => {
  it('is what its primary says, and whoever takes over from it', async () => {
    const [one, other] = [await startNode(ok), await startNode(readOnly)];
    const port = createCachePort([one.address, other.address]);
    expect(await port.takesWrites(signal)).toBe(one.address);
    expect(await port.takesWrites(signal)).toBe(one.address);
    // Replicas are left alone while the primary answers.
    expect(other.writes()).toBe(1);
    one.reply = readOnly;
    expect(await port.takesWrites(signal)).toBeUndefined();
    other.reply = ok;
    expect(await port.takesWrites(signal)).toBe(other.address);
    port.close();
  });

  it('does not wait long for a node that is silent, nor for one that is gone, and finds it again', async () => {
    const [one, other] = [await startNode(ok), await startNode(readOnly)];
    const port = createCachePort([one.address, other.address]);
    expect(await port.takesWrites(signal)).toBe(one.address);
    one.reply = '';
    const sinceMs = systemClock.monotonicMs();
    expect(await port.takesWrites(signal)).toBeUndefined();
    expect(systemClock.monotonicMs() - sinceMs).toBeLessThan(2000);
    other.reply = ok;
    expect(await port.takesWrites(signal)).toBe(other.address);
    await other.close();
    one.reply = ok;
    // A write that the silent node never answered is still waited for, for its own short time.
    await systemClock.sleep(300);
    expect(await port.takesWrites(signal)).toBe(one.address);
    port.close();
  });
});
