import dgram from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import packet, { type Answer, type Question } from 'dns-packet';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { poll, systemClock } from '../../core/clock.ts';
import type { Environment } from '../../core/environment.ts';
import { callControl } from '../control.ts';
import { forwardPort, type LabLayout, type Place } from '../layout.ts';
import { labEnvironment, testLayout } from '../testing.ts';
import { component } from './dns.ts';
import { afterOutcome, newTargetHealth } from './dns-health.ts';
import { type Reply, replyTo } from './dns-wire.ts';
import { preferencesOf, type RoutingState, routeOf } from './geo-routing.ts';

const environment = labEnvironment();
const regions = environment.regions.map((region) => region.name);

const stateOf = (healthy: readonly string[], weights: Record<string, number> = {}): RoutingState => ({
  isRegionHealthy: (region) => healthy.includes(region),
  isZoneHealthy: (zone) => healthy.some((region) => zone.startsWith(region)),
  weightOf: (region) => weights[region] ?? 100,
});

describe('routing', () => {
  test('every location gets the first healthy region of its list, for every combination of healthy regions', () => {
    for (const client of environment.clients) {
      for (let bits = 0; bits < 2 ** regions.length; bits += 1) {
        const healthy = regions.filter((_, index) => (bits & (1 << index)) !== 0);
        const route = routeOf(environment, `client/${client.name}`, stateOf(healthy), Math.random);
        const listed = client.prefers.filter((region) => regions.includes(region));
        const wanted = listed.find((region) => healthy.includes(region)) ?? healthy[0] ?? (listed[0] as string);
        expect([client.name, healthy, route?.region]).toEqual([client.name, healthy, wanted]);
      }
    }
  });

  test('a region that is in no region list is skipped, never answered', () => {
    expect(preferencesOf(environment, 'client/asia')).toEqual(['us-west-2', 'us-east-1', 'eu-central-1']);
  });

  test('with no healthy region every region counts as healthy', () => {
    const route = routeOf(environment, 'client/us-west', stateOf([]), Math.random);
    expect(route).toEqual({ region: 'us-west-2', zones: ['us-west-2a', 'us-west-2b'] });
  });

  test('a share of traffic goes to the preferred region, the rest to the next healthy one', () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 1000; index += 1) {
      const state = stateOf(regions, { 'us-west-2': 25 });
      const region = routeOf(environment, 'client/us-west', state, () => (index + 0.5) / 1000)?.region ?? '';
      counts.set(region, (counts.get(region) ?? 0) + 1);
    }
    expect(Object.fromEntries(counts)).toEqual({ 'us-west-2': 250, 'us-east-1': 750 });
    const alone = stateOf(['us-west-2'], { 'us-west-2': 25 });
    expect(routeOf(environment, 'client/us-west', alone, () => 0.99)?.region).toBe('us-west-2');
  });
});

describe('health thresholds', () => {
  const settings = { failures: 3, successes: 2 };

  test('only that many outcomes in a row change the verdict, whatever came before', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean()), (outcomes) => {
        let health = newTargetHealth(0);
        for (const [index, ok] of outcomes.entries()) {
          const before = health;
          health = afterOutcome(before, { ok, reason: '' }, settings, index);
          const run = outcomes.slice(0, index + 1);
          const lastThree = run.slice(-3);
          const lastTwo = run.slice(-2);
          const falls = before.healthy && lastThree.length === 3 && lastThree.every((one) => !one);
          const rises = !before.healthy && lastTwo.length === 2 && lastTwo.every(Boolean);
          expect(health.healthy).toBe(before.healthy ? !falls : rises);
        }
      }),
    );
  });
});

const nothing: Reply = { rcode: 'NXDOMAIN', answers: [], authorities: [], additionals: [] };
const questionOf = (name: string, type: Question['type'] = 'A', extra: object = {}): Buffer =>
  packet.encode({ type: 'query', id: 7, flags: packet.RECURSION_DESIRED, questions: [{ name, type }], ...extra });

describe('messages', () => {
  test('no bytes bring it down: they are answered as DNS or not at all', () => {
    const respond = (): Reply => nothing;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const reply = replyTo(Buffer.from(bytes), 'udp', respond);
        if (reply !== undefined) expect(packet.decode(reply).id).toBe(Buffer.from(bytes).readUInt16BE(0));
      }),
      { numRuns: 2000 },
    );
  });

  test('nor does a question with some of its bytes changed', () => {
    const question = questionOf('_http._tcp.api.platform.lab', 'SRV');
    const change = fc.tuple(fc.nat(question.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const message = Buffer.from(question);
        for (const [at, value] of changes) message[at] = value;
        const reply = replyTo(message, 'udp', () => nothing);
        if (reply !== undefined) expect(packet.decode(reply).type).toBe('response');
      }),
      { numRuns: 3000 },
    );
  });

  test('an answer is not answered, another operation is not implemented, two questions are malformed', () => {
    const code = (message: Buffer): number | undefined => {
      const reply = replyTo(message, 'udp', () => nothing);
      return reply === undefined ? undefined : (packet.decode(reply).flags ?? 0) & 0x0f;
    };
    expect(code(packet.encode({ type: 'response', id: 1, questions: [{ name: 'a', type: 'A' }] }))).toBeUndefined();
    expect(code(questionOf('a.b', 'A', { flags: 2 << 11 }))).toBe(4);
    const two: Question[] = [
      { name: 'a', type: 'A' },
      { name: 'b', type: 'A' },
    ];
    expect(code(questionOf('a', 'A', { questions: two }))).toBe(1);
    expect(code(questionOf('a'))).toBe(3);
  });

  test('an answer too long for a datagram says so, and is whole over TCP', () => {
    const answers = Array.from({ length: 100 }, () => ({
      type: 'A' as const,
      name: 'a.lab',
      ttl: 1,
      data: '127.0.0.1',
    }));
    const respond = (): Reply => ({ ...nothing, rcode: 'NOERROR', answers });
    const short = packet.decode(replyTo(questionOf('a.lab'), 'udp', respond) ?? Buffer.alloc(0));
    expect([short.flag_tc, short.answers?.length]).toEqual([true, 0]);
    const whole = packet.decode(replyTo(questionOf('a.lab'), 'tcp', respond) ?? Buffer.alloc(0));
    expect([whole.flag_tc, whole.answers?.length]).toEqual([false, 100]);
  });
});

interface Stub {
  /** What /health answers from now on; null holds the connection open and says nothing. */
  status: number | null;
  asked: number;
  close(): Promise<void>;
}

const startStub = async (layout: LabLayout, zone: string): Promise<Stub> => {
  const server = http.createServer((_request, response) => {
    stub.asked += 1;
    if (stub.status === null) return;
    response.writeHead(stub.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ status: 'x', checks: { database: stub.status === 200, llm: true } }));
  });
  const stub: Stub = {
    status: 200,
    asked: 0,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  server.listen(forwardPort(layout, 'edge', `balancer/${zone}`), '127.0.0.1');
  await once(server, 'listening');
  return stub;
};

interface Started {
  readonly layout: LabLayout;
  readonly stubs: ReadonlyMap<string, Stub>;
  readonly events: string[];
  stop(): Promise<void>;
}

let started: Started | undefined;
afterEach(async () => {
  await started?.stop();
  started = undefined;
});

const start = async (timeScale: number, target: Environment = environment): Promise<Started> => {
  const { layout, remove } = await testLayout(target, { timeScale });
  const controller = new AbortController();
  const events: string[] = [];
  const zones = target.regions.flatMap((region) => region.zones.map((zone) => zone.name));
  const stubs = new Map(await Promise.all(zones.map(async (zone) => [zone, await startStub(layout, zone)] as const)));
  await component.start({
    layout,
    options: {},
    signal: controller.signal,
    log: () => undefined,
    truth: (event, subject) => events.push(`${event} ${subject}`),
  });
  started = {
    layout,
    stubs,
    events,
    stop: async () => {
      controller.abort();
      await Promise.all([...stubs.values()].map((stub) => stub.close()));
      remove();
    },
  };
  return started;
};

interface Asked {
  readonly type: string;
  readonly value: string;
  readonly ttl: number;
  readonly port: number;
  readonly priority: number;
}

const asked = (answer: Answer): Asked[] => {
  const none = { port: 0, priority: 0 };
  if (answer.type === 'SRV') {
    const { target: value, port, priority = 0 } = answer.data;
    return [{ type: 'SRV', ttl: answer.ttl ?? 0, value, port, priority }];
  }
  if (answer.type === 'TXT') return [{ type: 'TXT', ttl: answer.ttl ?? 0, value: String(answer.data), ...none }];
  if (answer.type === 'A' || answer.type === 'CNAME') {
    return [{ type: answer.type, ttl: answer.ttl ?? 0, value: answer.data, ...none }];
  }
  return [];
};

const ask = async (
  layout: LabLayout,
  place: Place,
  name: string,
  type: 'A' | 'SRV' | 'TXT' | 'CNAME',
): Promise<readonly Asked[]> => {
  const socket = dgram.createSocket('udp4');
  try {
    socket.send(questionOf(name, type), layout.resolvers[place], '127.0.0.1');
    const [message] = await once(socket, 'message', { signal: AbortSignal.timeout(2000) });
    const reply = packet.decode(message);
    if (((reply.flags ?? 0) & 0x0f) === 3) throw new Error('NXDOMAIN');
    return (reply.answers ?? []).flatMap(asked);
  } finally {
    socket.close();
  }
};

const regionFor = async (layout: LabLayout, place: Place): Promise<string> =>
  (await ask(layout, place, 'api.platform.lab', 'TXT'))[0]?.value ?? '';

describe('a running GeoDNS', () => {
  test('gives each place the link ports of its own, zones in order, and the database behind its name', async () => {
    const { layout } = await start(30);
    const srv = await ask(layout, 'client/europe', '_http._tcp.API.Platform.lab', 'SRV');
    expect(srv.map(({ value, port, priority }) => ({ value, port, priority }))).toEqual([
      {
        value: 'eu-central-1a.eu-central-1.api.platform.lab',
        port: forwardPort(layout, 'client/europe', 'balancer/eu-central-1a'),
        priority: 10,
      },
      {
        value: 'eu-central-1b.eu-central-1.api.platform.lab',
        port: forwardPort(layout, 'client/europe', 'balancer/eu-central-1b'),
        priority: 20,
      },
    ]);
    expect(srv[0]?.ttl).toBe(2);
    const database = await ask(layout, 'zone/us-east-1b', '_postgresql._tcp.db.platform.lab', 'SRV');
    expect(database.map(({ type, value, port }) => [type, value, port])).toEqual([
      ['CNAME', '_postgresql._tcp.conversations-us-west-2.rds.platform.lab', 0],
      [
        'SRV',
        'conversations-us-west-2.rds.platform.lab',
        forwardPort(layout, 'zone/us-east-1b', 'postgres/us-west-2a'),
      ],
    ]);
    expect((await ask(layout, 'operator', 'db.platform.lab', 'CNAME'))[0]?.value).toBe(
      'conversations-us-west-2.rds.platform.lab',
    );
    await expect(ask(layout, 'operator', 'nothing.platform.lab', 'A')).rejects.toThrow('NXDOMAIN');
    expect(await ask(layout, 'operator', 'api.platform.lab', 'CNAME')).toEqual([]);
  });

  test('two failures in a row leave a region in; the third takes it out; one success brings it back', async () => {
    const { layout, stubs } = await start(30);
    const west = ['us-west-2a', 'us-west-2b'].flatMap((zone) => stubs.get(zone) ?? []);
    const untilAsked = async (times: number): Promise<void> => {
      const wanted = new Map(west.map((stub) => [stub, stub.asked + times]));
      await poll(systemClock, 2, AbortSignal.timeout(10_000), async () =>
        west.every((stub) => stub.asked >= (wanted.get(stub) ?? 0)) ? true : undefined,
      );
      await systemClock.sleep(20);
    };
    await untilAsked(1);
    // Each zone is set by itself, right after one of its checks, so that exactly two of them fail.
    for (const stub of west) {
      const before = stub.asked;
      await poll(systemClock, 1, AbortSignal.timeout(5000), async () => (stub.asked > before ? true : undefined));
      stub.status = 503;
      await poll(systemClock, 1, AbortSignal.timeout(5000), async () => (stub.asked > before + 2 ? true : undefined));
      await systemClock.sleep(20);
      stub.status = 200;
    }
    expect(await regionFor(layout, 'client/us-west')).toBe('us-west-2');
    expect(started?.events.filter((event) => event.startsWith('health.changed'))).toEqual([]);
    for (const stub of west) stub.status = 503;
    await untilAsked(4);
    expect(await regionFor(layout, 'client/us-west')).toBe('us-east-1');
    expect(started?.events).toContain('health.changed us-west-2');
    expect(started?.events).toContain('dns.answer-changed client/us-west');
    const health = (await callControl(layout, 'dns', 'GET', '/health')) as {
      regions: { region: string; healthy: boolean; lastReason: string }[];
    };
    expect(health.regions.find(({ region }) => region === 'us-west-2')).toMatchObject({
      healthy: false,
      lastReason: 'HTTP 503: database',
    });
    for (const stub of west) stub.status = 200;
    await untilAsked(2);
    expect(await regionFor(layout, 'client/us-west')).toBe('us-west-2');
  });

  test('a zone that holds its connections open is left out while the other serves', async () => {
    const { layout, stubs } = await start(100);
    const dark = stubs.get('us-west-2a');
    if (dark !== undefined) dark.status = null;
    const left = await poll(systemClock, 10, AbortSignal.timeout(10_000), async () => {
      const srv = await ask(layout, 'client/us-west', '_http._tcp.us-west-2.api.platform.lab', 'SRV');
      return srv.length === 1 ? srv : undefined;
    });
    expect(left[0]?.value).toBe('us-west-2b.us-west-2.api.platform.lab');
    expect(await regionFor(layout, 'client/us-west')).toBe('us-west-2');
  });

  test('a changed record reaches a place after its TTL, a moved endpoint at once', async () => {
    const { layout } = await start(60);
    const value = async (): Promise<string> =>
      (await ask(layout, 'operator', 'db.platform.lab', 'CNAME'))[0]?.value ?? '';
    expect(await value()).toMatch(/^conversations-us-west-2/);
    const body = { type: 'CNAME', value: 'conversations-us-east-1.rds.platform.lab', ttlSeconds: 1 };
    await callControl(layout, 'dns', 'PUT', '/records/db.platform.lab', { body });
    expect(await callControl(layout, 'dns', 'GET', '/records')).toEqual({
      records: [
        { ...body, name: 'db.platform.lab' },
        { ...body, name: 'billing-db.platform.lab', value: 'billing.rds.platform.lab' },
      ],
    });
    expect(await value()).toMatch(/^conversations-us-west-2/);
    await systemClock.sleep(1050);
    expect(await value()).toMatch(/^conversations-us-east-1/);

    const port = async (): Promise<number | undefined> =>
      (await ask(layout, 'operator', '_postgresql._tcp.conversations-us-west-2.rds.platform.lab', 'SRV'))[0]?.port;
    expect(await port()).toBe(forwardPort(layout, 'operator', 'postgres/us-west-2a'));
    const move = { body: { zone: 'us-west-2b' } };
    await callControl(layout, 'dns', 'PUT', '/endpoints/conversations-us-west-2', move);
    expect(await port()).toBe(forwardPort(layout, 'operator', 'postgres/us-west-2b'));
  });

  test('documents are read where the service is: in the region that is healthy and near', async () => {
    const { layout } = await start(30);
    const store = async (): Promise<readonly [string | undefined, number | undefined]> => {
      const [found] = await ask(layout, 'client/us-west', '_http._tcp.objects.platform.lab', 'SRV');
      return [found?.value, found?.port];
    };
    const port = (region: string): number => forwardPort(layout, 'client/us-west', `objects/${region}`);
    expect(await store()).toEqual(['us-west-2.objects.platform.lab', port('us-west-2')]);
    await callControl(layout, 'dns', 'PUT', '/health-overrides/us-west-2', { body: { healthy: false } });
    expect(await store()).toEqual(['us-east-1.objects.platform.lab', port('us-east-1')]);
    expect((await ask(layout, 'client/us-west', 'us-east-1.objects.platform.lab', 'A'))[0]?.value).toBe('127.0.0.1');
    // A region's own store has a name too, wherever the common one leads.
    const [own] = await ask(layout, 'client/us-west', '_http._tcp.eu-central-1.objects.platform.lab', 'SRV');
    expect(own?.port).toBe(port('eu-central-1'));
  });

  test('weights and overrides steer it, and nonsense is refused', async () => {
    const { layout } = await start(30);
    await callControl(layout, 'dns', 'PUT', '/weights/us-west-2', { body: { weight: 0 } });
    expect(await callControl(layout, 'dns', 'GET', '/weights/us-west-2')).toEqual({ weight: 0 });
    expect(await regionFor(layout, 'client/us-west')).toBe('us-east-1');
    await callControl(layout, 'dns', 'PUT', '/weights/us-west-2', { body: { weight: 100 } });
    await callControl(layout, 'dns', 'PUT', '/health-overrides/us-west-2', { body: { healthy: false } });
    expect(await regionFor(layout, 'client/us-west')).toBe('us-east-1');
    await callControl(layout, 'dns', 'PUT', '/health-overrides/us-west-2', { body: { healthy: null } });
    expect(await regionFor(layout, 'client/us-west')).toBe('us-west-2');
    for (const [path, body, status] of [
      ['/weights/nowhere', { weight: 1 }, 404],
      ['/weights/us-west-2', { weight: 101 }, 400],
      ['/records/x.platform.lab', { type: 'A', value: 'x', ttlSeconds: 1 }, 400],
      ['/endpoints/conversations-us-west-2', { zone: 'us-east-1b' }, 400],
      ['/endpoints/nothing', { zone: 'us-west-2a' }, 404],
    ] as const) {
      await expect(callControl(layout, 'dns', 'PUT', path, { body })).rejects.toMatchObject({ status });
    }
  });
});
