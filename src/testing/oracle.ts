import { Resolver } from 'node:dns/promises';
import { closeSync, openSync, writeSync } from 'node:fs';
import http from 'node:http';
import { systemClock as clock } from '../core/clock.ts';
import type { OracleConfig, OracleSample } from './truth.ts';

/*
 * An independent, dense look at the service, on the same path as the probes: GeoDNS, links, balancer, gateway, model,
 * database. It shares no code with the senders but the clock: Node's own resolver and HTTP client, a plain timer loop,
 * a look at the end of the answer. Started with its configuration as JSON; ends on SIGTERM with all of it on disk.
 */

const config: OracleConfig = JSON.parse(process.argv[2] ?? '{}');
const { resolver: server, host, model, everyMs, timeoutMs, file } = config;
const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
resolver.setServers([server]);
const body = JSON.stringify({ model, stream: true, max_tokens: 2, messages: [{ role: 'user', content: 'oracle' }] });
const lines = openSync(file, 'a', 0o600);
let inFlight = 0;

const note = (sample: OracleSample): void => {
  inFlight -= 1;
  writeSync(lines, `${JSON.stringify(sample)}\n`);
};

const headerOf = (value: string | string[] | undefined): string | null => (typeof value === 'string' ? value : null);

const ask = async (sentMs: number): Promise<void> => {
  let settled = false;
  const seen = { pod: null as string | null, epoch: null as string | null };
  const settle = (ok: boolean): void => {
    if (settled) return;
    settled = true;
    clearTimeout(late);
    note({ sentMs, endedMs: clock.monotonicMs(), ok, ...seen });
  };
  let request: http.ClientRequest | undefined;
  const late = setTimeout(() => {
    settle(false);
    request?.destroy();
  }, timeoutMs);
  try {
    const [first] = (await resolver.resolveSrv(`_http._tcp.${host}`)).sort((a, b) => a.priority - b.priority);
    if (first === undefined || settled) return settle(false);
    const headers = { host, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const path = '/v1/chat/completions';
    // Every name of the lab leads to loopback; the port is what the resolver decides.
    request = http.request({ host: '127.0.0.1', port: first.port, method: 'POST', path, headers, agent: false });
    request.on('error', () => settle(false));
    request.on('response', (response) => {
      let text = '';
      seen.pod = headerOf(response.headers['x-served-pod']);
      seen.epoch = headerOf(response.headers['x-database-epoch']);
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => settle(response.statusCode === 200 && text.trimEnd().endsWith('[DONE]')));
      response.on('close', () => settle(false));
    });
    request.end(body);
  } catch {
    settle(false);
  }
};

const startedMs = clock.monotonicMs();
let index = 0;
const tick = (): void => {
  const nowMs = clock.monotonicMs();
  index = Math.max(index, Math.floor((nowMs - startedMs) / everyMs));
  index += 1;
  inFlight += 1;
  void ask(nowMs);
  timer = setTimeout(tick, Math.max(0, startedMs + index * everyMs - clock.monotonicMs()));
};
let timer = setTimeout(tick, 0);

process.once('SIGTERM', () => {
  clearTimeout(timer);
  const drained = setInterval(() => {
    if (inFlight > 0) return;
    clearInterval(drained);
    closeSync(lines);
  }, 20);
});
