import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDnsClient } from '../adapters/dns.ts';
import { systemClock as clock, deadline } from '../core/clock.ts';
import { startDnsServer, type TestDnsServer } from '../testing/dns-server.ts';
import { probes } from './index.ts';
import { createNames } from './names.ts';
import type { Attempt, Look, ProbeSession } from './probe.ts';
import type { Stream } from './sample.ts';

const host = 'api.example';
let dns: TestDnsServer;
let server: Server;
let connections: number;
let respond: RequestListener;
const sessions: ProbeSession[] = [];
const folder = mkdtempSync(path.join(tmpdir(), 'blackstart-probes-'));
const credentialsFile = path.join(folder, 'credentials');
writeFileSync(credentialsFile, '[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret\n');
afterAll(() => rmSync(folder, { recursive: true }));

const portOf = (listening: net.Server): number => (listening.address() as AddressInfo).port;

beforeEach(async () => {
  dns = await startDnsServer();
  connections = 0;
  server = createServer((request, response) => respond(request, response));
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const target = `a.west.${host}`;
  const name = `_http._tcp.${host}`;
  dns.records.set(`SRV ${name}`, [
    { type: 'SRV', name, ttl: 60, data: { target, port: portOf(server), priority: 10 } },
  ]);
  dns.records.set(`A ${target}`, [{ type: 'A', name: target, ttl: 60, data: '127.0.0.1' }]);
});

afterEach(async () => {
  const limit = deadline(clock, 1000, new Error('closing took too long'));
  for (const session of sessions.splice(0)) await session.close(limit.signal);
  limit.dispose();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await dns.close();
});

const open = async (probe: string, params: unknown = {}, over: Partial<Stream> = {}): Promise<ProbeSession> => {
  const definition = probes.find((one) => one.name === probe);
  if (definition === undefined) throw new Error(`no probe ${probe}`);
  const stream: Stream = {
    stream: `${probe}/here/fresh`,
    name: probe,
    probe,
    location: 'here',
    sender: 'here',
    connection: 'fresh',
    everyMs: 100,
    timeoutMs: 400,
    slowAfterMs: 400,
    required: true,
    ...over,
  };
  const names = createNames(createDnsClient(dns.address, clock), stream.connection, clock);
  const service = {
    host,
    databaseHost: 'db.example',
    databaseName: 'conversations',
    objectsHost: 'objects.example',
    model: 'lab-llm',
  };
  const context = { runId: 'r', stream, service, database: null, awsCredentialsFile: credentialsFile, names, clock };
  const session = await definition.open(params, context);
  sessions.push(session);
  return session;
};

const lookOnce = async (session: ProbeSession, timeoutMs = 400): Promise<Look & Attempt['seen']> => {
  const limit = deadline(clock, timeoutMs, new Error('timed out'));
  const attempt: Attempt = { index: 0, sentMs: clock.monotonicMs(), signal: limit.signal, seen: {} };
  const look = await session.look(attempt);
  limit.dispose();
  return { ...attempt.seen, ...look };
};

const token = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;

const streamAnswer = async (response: ServerResponse, pauseMs = 0): Promise<void> => {
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'x-served-region': 'west',
    'x-served-zone': 'west-a',
    'x-served-pod': 'llm-1',
    'x-database-epoch': '1:00000001:5432:x',
  });
  response.write(token('Hello'));
  await clock.sleep(pauseMs);
  response.write(token(' world'));
};

describe('chat', () => {
  test('a whole answer is ok and says who served it', async () => {
    respond = async (_request, response) => {
      await streamAnswer(response, 30);
      response.end('data: [DONE]\n\n');
    };
    const look = await lookOnce(await open('chat'));
    expect(look).toMatchObject({
      code: 'ok',
      region: 'west',
      zone: 'west-a',
      pod: 'llm-1',
      epoch: '1:00000001:5432:x',
    });
    expect(look.address).toBe(`127.0.0.1:${portOf(server)}`);
    expect((look.endedMs ?? 0) - (look.firstByteMs ?? 0)).toBeGreaterThan(20);
    expect(look.answeredMs).toBe(look.firstByteMs);
  });

  test('it asks for a stream of the named model', async () => {
    let body = '';
    respond = (request, response) => {
      request.on('data', (piece) => {
        body += piece;
      });
      request.on('end', () => response.end());
    };
    await lookOnce(await open('chat', { prompt: 'hi' }));
    expect(JSON.parse(body)).toMatchObject({
      model: 'lab-llm',
      stream: true,
      messages: [{ role: 'user', content: 'hi' }],
    });
  });

  test.each([
    [
      'truncated',
      'the connection is lost mid-way',
      async (response: ServerResponse) => {
        await streamAnswer(response, 20);
        response.destroy();
      },
    ],
    [
      'truncated',
      'it ends without its end mark',
      async (response: ServerResponse) => {
        await streamAnswer(response);
        response.end();
      },
    ],
    [
      'token-gap',
      'it pauses for too long',
      async (response: ServerResponse) => {
        await streamAnswer(response, 150);
        response.end('data: [DONE]\n\n');
      },
    ],
    [
      'wrong-content',
      'it has no token',
      async (response: ServerResponse) => {
        response.end('data: [DONE]\n\n');
      },
    ],
    [
      '503',
      'it is refused',
      async (response: ServerResponse) => {
        response.writeHead(503).end('busy');
      },
    ],
    [
      'timeout',
      'it never ends',
      async (response: ServerResponse) => {
        await streamAnswer(response);
      },
    ],
    [
      'reset',
      'the connection is lost before the head',
      async (response: ServerResponse) => {
        response.destroy();
      },
    ],
  ])('%s when %s', async (code, _when, answer) => {
    respond = (_request, response) => void answer(response);
    expect((await lookOnce(await open('chat', { tokenGap: '100ms' }))).code).toBe(code);
  });

  test('a client that retries gets its answer from the next attempt, and says how many it took', async () => {
    let asked = 0;
    respond = async (_request, response) => {
      asked += 1;
      if (asked === 1) response.writeHead(503).end();
      else if (asked > 2) {
        await streamAnswer(response);
        response.end('data: [DONE]\n\n');
      }
    };
    const session = await open('chat', { retries: 2, backoff: '10ms' });
    expect(await lookOnce(session)).toMatchObject({ code: 'ok', attempts: 3 });
  });

  test('and gives up in time', async () => {
    respond = () => undefined;
    const startedMs = clock.monotonicMs();
    const session = await open('chat', { retries: 2, backoff: '10ms' });
    expect((await lookOnce(session)).code).toMatch(/timeout/);
    expect(clock.monotonicMs() - startedMs).toBeLessThan(600);
  });
});

describe('connections', () => {
  const twice = async (connection: 'fresh' | 'kept'): Promise<void> => {
    respond = (_request, response) => void response.end('ok');
    const session = await open('http', { url: `http://127.0.0.1:${portOf(server)}/` }, { connection });
    expect((await lookOnce(session)).code).toBe('ok');
    await clock.sleep(20);
    expect((await lookOnce(session)).code).toBe('ok');
  };

  test('a fresh stream opens a new one each time', async () => {
    await twice('fresh');
    expect(connections).toBe(2);
  });

  test('a kept stream uses the same one again', async () => {
    await twice('kept');
    expect(connections).toBe(1);
  });

  test('a kept connection on which a probe timed out is not used again', async () => {
    respond = () => undefined;
    const session = await open('http', { url: `http://127.0.0.1:${portOf(server)}/` }, { connection: 'kept' });
    expect((await lookOnce(session, 100)).code).toBe('timeout');
    respond = (_request, response) => void response.end('ok');
    expect((await lookOnce(session)).code).toBe('ok');
    expect(connections).toBe(2);
  });
});

describe('http', () => {
  const status = async (code: number, params = {}): Promise<string> => {
    respond = (_request, response) => void response.writeHead(code).end();
    return (await lookOnce(await open('http', { url: `http://127.0.0.1:${portOf(server)}/x?y=1`, ...params }))).code;
  };

  test('a status below 400 is good, or exactly the one asked for', async () => {
    expect(await status(204)).toBe('ok');
    expect(await status(302)).toBe('ok');
    expect(await status(404)).toBe('404');
    expect(await status(503)).toBe('503');
    expect(await status(404, { status: 404 })).toBe('ok');
    expect(await status(200, { status: 404 })).toBe('200');
  });

  test('nobody listens: refused', async () => {
    expect((await lookOnce(await open('http', { url: 'http://127.0.0.1:9/' }))).code).toBe('refused');
  });

  test('a body that breaks off is truncated', async () => {
    respond = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('part');
      setImmediate(() => response.destroy());
    };
    expect((await lookOnce(await open('http', { url: `http://127.0.0.1:${portOf(server)}/` }))).code).toBe('truncated');
  });

  test('what is not HTTP is a protocol failure', async () => {
    const odd = net.createServer((socket) => void socket.end('220 smtp.example ESMTP\r\n'));
    await new Promise<void>((resolve) => odd.listen(0, '127.0.0.1', resolve));
    const look = await lookOnce(await open('http', { url: `http://127.0.0.1:${portOf(odd)}/` }));
    odd.close();
    expect(look.code).toBe('protocol');
  });
});

describe('health', () => {
  test('200 and healthy', async () => {
    respond = (request, response) =>
      void response.end(JSON.stringify({ status: request.url === '/health' ? 'healthy' : '?' }));
    expect((await lookOnce(await open('health'))).code).toBe('ok');
  });

  test('200 that does not say healthy is wrong content', async () => {
    respond = (_request, response) => void response.end('<html>');
    expect((await lookOnce(await open('health'))).code).toBe('wrong-content');
  });
});

describe('objects', () => {
  const key = 'handbook/first steps.txt';
  const objectsHost = 'objects.example';

  beforeEach(async () => {
    const name = `_http._tcp.${objectsHost}`;
    const target = `us-east-1.${objectsHost}`;
    dns.records.set(`SRV ${name}`, [
      { type: 'SRV', name, ttl: 60, data: { target, port: portOf(server), priority: 10 } },
    ]);
    dns.records.set(`A ${target}`, [{ type: 'A', name: target, ttl: 60, data: '127.0.0.1' }]);
  });

  test('a signed read is ok and says which region served it', async () => {
    let asked: IncomingMessage | undefined;
    respond = (request, response) => {
      asked = request;
      response.writeHead(200, { 'x-amz-bucket-region': 'eu-central-1' });
      response.end('Welcome.');
    };
    const look = await lookOnce(await open('objects', { key }));
    expect(look).toMatchObject({ code: 'ok', region: 'eu-central-1' });
    expect(look.firstByteMs).toBeDefined();
    expect(asked?.url).toBe('/handbook/first%20steps.txt');
    expect(asked?.headers.host).toBe(objectsHost);
    expect(asked?.headers.authorization).toMatch(
      /^AWS4-HMAC-SHA256 Credential=AKIATEST\/\d{8}\/us-east-1\/s3\/aws4_request, SignedHeaders=host;/,
    );
    expect(asked?.headers['x-amz-date']).toMatch(/^\d{8}T\d{6}Z$/);
  });

  test('a store that does not name its region is known by the name that led there', async () => {
    respond = (_request, response) => void response.end('Welcome.');
    expect(await lookOnce(await open('objects', { key }))).toMatchObject({ code: 'ok', region: 'us-east-1' });
  });

  test('what is not there, or empty, is bad', async () => {
    respond = (_request, response) => void response.writeHead(404).end('<Error/>');
    expect((await lookOnce(await open('objects', { key }))).code).toBe('404');
    respond = (_request, response) => void response.end();
    expect((await lookOnce(await open('objects', { key }))).code).toBe('wrong-content');
  });
});

describe('dns', () => {
  test('the answer is the region, and its zones in order', async () => {
    const name = `_http._tcp.${host}`;
    dns.records.set(`SRV ${name}`, [
      { type: 'SRV', name, ttl: 2, data: { target: `east-b.east.${host}`, port: 2, priority: 20 } },
      { type: 'SRV', name, ttl: 2, data: { target: `east-a.east.${host}`, port: 1, priority: 10 } },
    ]);
    const look = await lookOnce(await open('dns'));
    expect(look).toMatchObject({ code: 'ok', answer: 'east', region: 'east', zone: 'east-a,east-b' });
  });

  test('no answer is named by what DNS said', async () => {
    dns.records.clear();
    expect((await lookOnce(await open('dns'))).code).toBe('nxdomain');
    expect((await lookOnce(await open('chat'))).code).toBe('dns');
    dns.behave = 'drop';
    expect((await lookOnce(await open('dns'), 100)).code).toBe('timeout');
    expect((await lookOnce(await open('chat'), 100)).code).toBe('dns-timeout');
  });
});

describe('tcp', () => {
  test('accepted or refused', async () => {
    expect((await lookOnce(await open('tcp'))).code).toBe('ok');
    expect((await lookOnce(await open('tcp', { to: '127.0.0.1:9' }))).code).toBe('refused');
  });
});

test('parameters that do not fit are refused', async () => {
  await expect(open('chat', { retrys: 2 })).rejects.toThrow(/retrys/);
  await expect(open('http', { url: 'ftp://x/' })).rejects.toThrow(/http or https URL/);
});
