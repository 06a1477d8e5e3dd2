import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { deadline, systemClock } from '../core/clock.ts';
import { createNames } from '../probes/names.ts';
import { startDnsServer, type TestDnsServer } from '../testing/dns-server.ts';
import { createSimClock } from '../testing/sim-clock.ts';
import { createDnsClient, createSystemDnsClient, type DnsClient } from './dns.ts';

let server: TestDnsServer;
let client: DnsClient;
const name = '_http._tcp.api.example';
const signal = (ms = 2000): AbortSignal => deadline(systemClock, ms, new Error('time is up')).signal;

beforeEach(async () => {
  server = await startDnsServer();
  client = createDnsClient(server.address, systemClock);
  server.records.set(`SRV ${name}`, [
    { type: 'SRV', name, ttl: 2, data: { target: 'b.west.api.example', port: 8002, priority: 20 } },
    { type: 'SRV', name, ttl: 2, data: { target: 'a.west.api.example', port: 8001, priority: 10 } },
  ]);
  server.records.set('A a.west.api.example', [{ type: 'A', name: 'a.west.api.example', ttl: 60, data: '127.0.0.9' }]);
  server.records.set('AAAA six.example', [{ type: 'AAAA', name: 'six.example', ttl: 60, data: '::1' }]);
});

afterEach(async () => {
  client.close();
  await server.close();
});

describe('a client of one DNS server', () => {
  test('tells the records and their TTL', async () => {
    const { answers } = await client.query(name, 'SRV', signal());
    expect(answers[0]).toMatchObject({ value: 'b.west.api.example', port: 8002, priority: 20, ttlMs: 2000 });
  });

  test('names what went wrong', async () => {
    await expect(client.query('nobody.example', 'A', signal())).rejects.toMatchObject({ code: 'nxdomain' });
    server.behave = 'servfail';
    await expect(client.query(name, 'SRV', signal())).rejects.toMatchObject({ code: 'servfail' });
  });

  test('repeats a lost question and ends with the deadline', async () => {
    server.behave = 'drop';
    const startedMs = systemClock.monotonicMs();
    await expect(client.query(name, 'SRV', signal(700))).rejects.toThrow('time is up');
    expect(systemClock.monotonicMs() - startedMs).toBeLessThan(1500);
    expect(server.queries).toBe(2);
  });

  test('asks over TCP when the answer does not fit', async () => {
    server.behave = 'truncate';
    expect((await client.query(name, 'SRV', signal())).answers.length).toBe(2);
  });

  test('is refused at once when nobody listens there', async () => {
    const gone = createDnsClient('127.0.0.1:9', systemClock);
    await expect(gone.query(name, 'SRV', signal())).rejects.toMatchObject({ code: 'refused' });
    gone.close();
  });
});

describe('names', () => {
  test('the service is its record of lowest priority', async () => {
    const names = createNames(client, 'fresh', systemClock);
    expect(await names.service(name, signal())).toEqual({
      address: '127.0.0.9',
      port: 8001,
      name: 'a.west.api.example',
    });
  });

  test('an address that came along is not asked for', async () => {
    server.additionals.push({ type: 'A', name: 'a.west.api.example', ttl: 60, data: '127.0.0.8' });
    const names = createNames(client, 'fresh', systemClock);
    expect((await names.service(name, signal())).address).toBe('127.0.0.8');
    expect(server.queries).toBe(1);
  });

  test('a fresh stream asks every time, a kept one only after the TTL', async () => {
    const clock = createSimClock();
    const fresh = createNames(client, 'fresh', clock);
    for (let index = 0; index < 3; index += 1) await fresh.services(name, signal());
    expect(server.queries).toBe(3);
    const kept = createNames(client, 'kept', clock);
    for (let index = 0; index < 3; index += 1) await kept.services(name, signal());
    expect(server.queries).toBe(4);
    await clock.runUntil(1999);
    await kept.services(name, signal());
    expect(server.queries).toBe(4);
    await clock.runUntil(2000);
    await kept.services(name, signal());
    expect(server.queries).toBe(5);
  });

  test('addresses are taken as they are, and IPv6 is found when there is no IPv4', async () => {
    const names = createNames(client, 'fresh', systemClock);
    expect((await names.host('192.0.2.1', 80, signal())).address).toBe('192.0.2.1');
    expect((await names.host('[::1]', 80, signal())).address).toBe('::1');
    expect((await names.host('six.example', 80, signal())).address).toBe('::1');
    expect(server.queries).toBe(2);
  });

  test('a name without such a record is an empty answer', async () => {
    const names = createNames(client, 'fresh', systemClock);
    await expect(names.text('six.example', signal())).rejects.toMatchObject({ code: 'empty' });
  });
});

test('the system resolver never asks a server for localhost', async () => {
  const names = createNames(createSystemDnsClient(500), 'fresh', systemClock);
  expect((await names.host('localhost', 80, signal())).address).toBe('127.0.0.1');
});
