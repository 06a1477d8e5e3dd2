import dgram from 'node:dgram';
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import packet from 'dns-packet';
import type { LabLayout, Place } from '../layout.ts';

/**
 * Stand-ins for what surrounds the platform's services: a Kubernetes API that shows the pods it is told of, a resolver
 * that leads every name to one port, and a PostgreSQL server that acknowledges everything, or nothing.
 */

export interface FakePod {
  readonly name: string;
  readonly app: string;
  readonly zone: string;
  readonly port: number;
  readonly ready: boolean;
}

export interface FakeKubernetes {
  set(pod: FakePod): void;
  remove(name: string): void;
  /** While out, every connection is cut and none is taken. */
  setOut(isOut: boolean): void;
  close(): void;
}

const podObject = (pod: FakePod, version: number): unknown => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: pod.name,
    resourceVersion: String(version),
    labels: { app: pod.app },
    annotations: { 'lab.blackstart.dev/port': String(pod.port) },
  },
  spec: { nodeName: `node-${pod.zone}` },
  status: { conditions: [{ type: 'Ready', status: pod.ready ? 'True' : 'False' }] },
});

/** The Kubernetes API of a region, as far as discovery uses it. */
export const fakeKubernetes = async (layout: LabLayout, region: string): Promise<FakeKubernetes> => {
  const endpoint = layout.endpoints.find((candidate) => candidate.id === `kubernetes/${region}`);
  const zones = layout.environment.regions.find((candidate) => candidate.name === region)?.zones ?? [];
  const pods = new Map<string, FakePod>();
  const watchers = new Set<{ readonly apps: readonly string[]; readonly response: ServerResponse }>();
  const history: { readonly version: number; readonly app: string; readonly line: string }[] = [];
  let version = 1;
  let isOut = false;
  const read = (name: string): Buffer => readFileSync(path.join(layout.stateDir, name));
  const appsOf = (url: URL): string[] =>
    /^app in \((.*)\)$/.exec(url.searchParams.get('labelSelector') ?? '')?.[1]?.split(',') ?? [];
  const server = https.createServer({ key: read('tls.key'), cert: read('tls.crt') }, (request, response) => {
    const url = new URL(request.url ?? '/', 'https://kubernetes');
    const metadata = { resourceVersion: String(version) };
    if (isOut) request.destroy();
    else if (request.headers.authorization !== `Bearer ${layout.token}`) response.writeHead(401).end();
    else if (url.pathname === '/api/v1/nodes') {
      const items = zones.map(({ name }) => ({
        metadata: { name: `node-${name}`, labels: { 'topology.kubernetes.io/zone': name } },
      }));
      response.end(JSON.stringify({ metadata, items }));
    } else if (url.searchParams.has('watch')) {
      response.writeHead(200).flushHeaders();
      const apps = appsOf(url);
      const from = Number(url.searchParams.get('resourceVersion'));
      for (const past of history) if (past.version > from && apps.includes(past.app)) response.write(past.line);
      watchers.add({ apps, response });
    } else {
      const shown = [...pods.values()].filter((pod) => appsOf(url).includes(pod.app));
      response.end(JSON.stringify({ metadata, items: shown.map((pod) => podObject(pod, version)) }));
    }
  });
  await new Promise<void>((resolve) => server.listen(endpoint?.port, '127.0.0.1', resolve));
  const tell = (type: string, pod: FakePod): void => {
    version += 1;
    const line = `${JSON.stringify({ type, object: podObject(pod, version) })}\n`;
    history.push({ version, app: pod.app, line });
    for (const { apps, response } of watchers) if (apps.includes(pod.app)) response.write(line);
  };
  return {
    set(pod) {
      const type = pods.has(pod.name) ? 'MODIFIED' : 'ADDED';
      pods.set(pod.name, pod);
      tell(type, pod);
    },
    remove(name) {
      const pod = pods.get(name);
      if (pod === undefined) return;
      pods.delete(name);
      tell('DELETED', pod);
    },
    setOut(out) {
      isOut = out;
      if (!isOut) return;
      server.closeAllConnections();
      watchers.clear();
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
};

/** Leads every SRV question of a place to `portOf()`. */
export const fakeResolver = async (
  layout: LabLayout,
  place: Place,
  portOf: (name: string) => number | undefined,
): Promise<{ readonly asked: () => number; close(): void }> => {
  let asked = 0;
  const socket = dgram.createSocket('udp4');
  socket.on('message', (message, from) => {
    asked += 1;
    const query = packet.decode(message);
    const name = query.questions?.[0]?.name ?? '';
    const port = portOf(name);
    const answers =
      port === undefined ? [] : [{ type: 'SRV' as const, name, ttl: 1, data: { port, target: 'database.test' } }];
    socket.send(
      packet.encode({
        type: 'response',
        ...(query.id === undefined ? {} : { id: query.id }),
        questions: query.questions ?? [],
        answers,
      }),
      from.port,
    );
  });
  await new Promise<void>((resolve) => socket.bind(layout.resolvers[place], '127.0.0.1', resolve));
  return { asked: () => asked, close: () => socket.close() };
};

const message = (type: string, body: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};

const int16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

const readyForQuery = message('Z', Buffer.from('I'));
/** One text column named `epoch`. */
const rowDescription = message(
  'T',
  Buffer.concat([int16(1), Buffer.from('epoch\0'), int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)]),
);
const rowOf = (text: string): Buffer =>
  message('D', Buffer.concat([int16(1), int32(Buffer.byteLength(text)), Buffer.from(text)]));

export interface FakePostgres {
  readonly port: number;
  /** `hang`: takes statements and never answers. `readOnly`: refuses them with SQLSTATE 25006. */
  mode: 'serve' | 'hang' | 'readOnly';
  statements(): number;
  connections(): number;
  close(): void;
}

/** Speaks as much of PostgreSQL's protocol (version 3) as a prepared statement with one text row needs. */
export const fakePostgres = async (epoch: string, port = 0): Promise<FakePostgres> => {
  const sockets = new Set<net.Socket>();
  let statements = 0;
  const answerTo = (type: string): Buffer | undefined => {
    if (type === 'P') return message('1', Buffer.alloc(0));
    if (type === 'B') return message('2', Buffer.alloc(0));
    if (type === 'D') return rowDescription;
    if (type === 'E') {
      statements += 1;
      if (state.mode === 'readOnly') {
        return message(
          'E',
          Buffer.from('SERROR\0VERROR\0C25006\0Mcannot execute INSERT in a read-only transaction\0\0'),
        );
      }
      return Buffer.concat([rowOf(epoch), message('C', Buffer.from('SELECT 1\0'))]);
    }
    return type === 'S' ? readyForQuery : undefined;
  };
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    let started = false;
    let rest: Buffer = Buffer.alloc(0);
    socket.on('data', (bytes) => {
      rest = Buffer.concat([rest, bytes]);
      for (;;) {
        const head = started ? 1 : 0;
        const size = rest.length < head + 4 ? Number.POSITIVE_INFINITY : head + rest.readInt32BE(head);
        if (rest.length < size) return;
        const type = started ? rest.toString('latin1', 0, 1) : 'startup';
        rest = rest.subarray(size);
        if (type === 'X') socket.end();
        else if (state.mode !== 'hang') {
          const answer = started ? answerTo(type) : Buffer.concat([message('R', int32(0)), readyForQuery]);
          if (answer !== undefined) socket.write(answer);
        }
        started = true;
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const state: FakePostgres = {
    port: (server.address() as net.AddressInfo).port,
    mode: 'serve',
    statements: () => statements,
    connections: () => sockets.size,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return state;
};
