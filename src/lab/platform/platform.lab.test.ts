import http from 'node:http';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import type { Environment } from '../../core/environment.ts';
import { callControl } from '../control.ts';
import type { LabLayout } from '../layout.ts';
import { clientPlace, forwardPort, zonePlace } from '../layout.ts';
import { type ComponentProcess, startComponent } from '../process.ts';
import { labEnvironment, testLayout } from '../testing.ts';
import { readTruth } from '../truth.ts';
import type { FakeKubernetes, FakePostgres } from './testing.ts';
import { fakeKubernetes, fakePostgres, fakeResolver } from './testing.ts';

/**
 * One region with real processes: links, balancers, gateways, orchestrators, retrieval, model pods, vector store. Only
 * what surrounds them is a stand-in.
 */

const region = 'us-west-2';
const zones = ['us-west-2a', 'us-west-2b'] as const;
const timeScale = 30;

const environmentOfOneRegion = (): Environment => {
  // Billing needs a second region.
  const { billing: _billing, ...environment } = labEnvironment();
  const { lab } = environment;
  if (lab === undefined) throw new Error('the lab environment has a lab section');
  return {
    ...environment,
    regions: environment.regions.filter((one) => one.name === region),
    // Long enough answers that a test can break one in the middle; no cache, wherever a redis-server may be found.
    lab: { ...lab, llm: { ...lab.llm, tokens: 40, tokenGap: 10 }, cache: { ...lab.cache, nodes: 0 } },
  };
};

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
  /** The connection ended before the answer did. */
  readonly truncated: boolean;
  readonly tookMs: number;
}

interface Asked {
  readonly method?: string;
  readonly body?: unknown;
  readonly onChunk?: () => void;
}

/** The last answer anything got, for the message of a test that waits in vain. */
let last: Answer | undefined;
const lastSeen = (): string => `${last?.status} ${last?.text.slice(0, 300)}`;

const ask = (port: number, path: string, asked: Asked = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const startedMs = systemClock.monotonicMs();
    const method = asked.method ?? (asked.body === undefined ? 'GET' : 'POST');
    const request = http.request({ host: '127.0.0.1', port, path, method, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        asked.onChunk?.();
      });
      response.on('error', () => undefined);
      response.once('close', () => {
        const tookMs = systemClock.monotonicMs() - startedMs;
        const { statusCode: status = 0, headers, complete } = response;
        last = { status, headers, text, truncated: !complete, tookMs };
        resolve(last);
      });
    });
    request.once('error', reject);
    request.end(asked.body === undefined ? undefined : JSON.stringify(asked.body));
  });

const until = async (what: string, look: () => Promise<boolean> | boolean): Promise<void> => {
  const startedMs = systemClock.monotonicMs();
  while (!(await look())) {
    if (systemClock.monotonicMs() - startedMs > 10_000)
      throw new Error(`waited 10 s in vain for: ${what}; last: ${lastSeen()}`);
    await systemClock.sleep(20);
  }
};

const chat = (more: Record<string, unknown> = {}) => ({
  model: 'lab-llm',
  messages: [{ role: 'user', content: 'how does failover work' }],
  ...more,
});

describe('the platform, from a client', { timeout: 60_000 }, () => {
  const processes = new Map<string, ComponentProcess>();
  const closers: (() => void)[] = [];
  let layout: LabLayout;
  let kubernetes: FakeKubernetes;
  let postgres: FakePostgres;
  let entry = 0;

  const start = async (name: string, kind: string, options: Record<string, string>): Promise<number> => {
    const started = startComponent({ stateDir: layout.stateDir, name, kind, options });
    processes.set(name, started);
    return Number((await started.ready)['port'] ?? 0);
  };
  const startPod = async (app: string, zone: string, number: number): Promise<string> => {
    const pod = `${app}-${zone}-${number}`;
    const port = await start(pod, app, { region, zone, pod, app, initial: '1' });
    kubernetes.set({ name: pod, app, zone, port, ready: true });
    return pod;
  };
  const kill = async (name: string): Promise<void> => {
    const process = processes.get(name);
    process?.signal('SIGKILL');
    await process?.exited;
    processes.delete(name);
  };
  const podOf = (answer: Answer): string => String(answer.headers['x-served-pod']);
  const put = (id: string, rule: unknown): Promise<unknown> =>
    callControl(layout, 'links', 'PUT', `/rules/${id}`, { body: rule });

  beforeAll(async () => {
    const made = await testLayout(environmentOfOneRegion(), { timeScale });
    layout = made.layout;
    closers.push(made.remove);
    kubernetes = await fakeKubernetes(layout, region);
    postgres = await fakePostgres(
      '7:00000001:5432:now',
      layout.endpoints.find((e) => e.id === `postgres/${zones[0]}`)?.port,
    );
    closers.push(
      () => kubernetes.close(),
      () => postgres.close(),
    );
    for (const zone of zones) {
      const place = zonePlace(zone);
      const resolver = await fakeResolver(layout, place, () => forwardPort(layout, place, `postgres/${zones[0]}`));
      closers.push(() => resolver.close());
    }
    await start('links', 'links', {});
    await Promise.all([
      start('vector', 'vector', { region }),
      ...zones.flatMap((zone) => [
        start(`balancer-${zone}`, 'balancer', { zone }),
        startPod('gateway', zone, 1),
        startPod('orchestrator', zone, 1),
        startPod('rag', zone, 1),
        startPod('llm', zone, 1),
        startPod('llm', zone, 2),
      ]),
    ]);
    entry = forwardPort(layout, clientPlace('us-west'), `balancer/${zones[0]}`);
    await until('the whole path to serve', async () => (await ask(entry, '/health')).status === 200);
    await until(
      'a first chat',
      async () => (await ask(entry, '/v1/chat/completions', { body: chat() })).status === 200,
    );
  }, 60_000);

  afterAll(async () => {
    await Promise.all([...processes.values()].map((process) => process.stop(500)));
    for (const close of closers.toReversed()) close();
  });

  it('serves an unmodified OpenAI client, whole and streaming', async () => {
    const client = new OpenAI({ baseURL: `http://127.0.0.1:${entry}/v1`, apiKey: 'any', maxRetries: 0 });
    const whole = await client.chat.completions.create({
      model: 'lab-llm',
      messages: [{ role: 'user', content: 'one two three' }],
      max_tokens: 3,
    });
    expect(whole.choices[0]?.message.content).toBe('one two three');
    expect(whole.choices[0]?.finish_reason).toBe('length');
    expect(whole.usage?.completion_tokens).toBe(3);
    const stream = await client.chat.completions.create({
      model: 'lab-llm',
      messages: [{ role: 'user', content: 'one two three' }],
      max_tokens: 4,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let completionTokens = 0;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      completionTokens = chunk.usage?.completion_tokens ?? completionTokens;
    }
    expect(text).toBe('one two three one');
    expect(completionTokens).toBe(4);
    expect((await client.models.list()).data.map((model) => model.id)).toEqual(['lab-llm']);
  });

  it('says who served, and which database acknowledged the conversation', async () => {
    const before = postgres.statements();
    const answer = await ask(entry, '/v1/chat/completions', { body: chat({ stream: true, max_tokens: 2 }) });
    expect(answer.headers['x-served-region']).toBe(region);
    expect(zones).toContain(answer.headers['x-served-zone']);
    expect(zones).toContain(answer.headers['x-gateway-zone']);
    expect(podOf(answer)).toMatch(/^llm-us-west-2[ab]-[12]$/);
    expect(answer.headers['x-database-epoch']).toBe('7:00000001:5432:now');
    expect(answer.headers['x-attempts']).toBe('1');
    expect(answer.headers['x-documents']).toBe('3');
    expect(answer.text.trimEnd().endsWith('data: [DONE]')).toBe(true);
    expect(postgres.statements()).toBeGreaterThan(before);
  });

  it('refuses a bad request as OpenAI does, and names an unknown model', async () => {
    const noMessages = await ask(entry, '/v1/chat/completions', { body: { model: 'lab-llm' } });
    expect([noMessages.status, JSON.parse(noMessages.text).error.code]).toEqual([400, 'missing_messages']);
    const unknown = await ask(entry, '/v1/chat/completions', { body: chat({ model: 'gpt-9' }) });
    expect([unknown.status, JSON.parse(unknown.text).error.code]).toEqual([404, 'model_not_found']);
  });

  it('does not let a single token out when the database is silent, and recovers when it answers again', async () => {
    postgres.mode = 'hang';
    const dead = await ask(entry, '/v1/chat/completions', { body: chat({ stream: true }) });
    expect(dead.status).toBeGreaterThanOrEqual(503);
    expect(dead.text).not.toContain('chat.completion.chunk');
    const health = await ask(entry, '/health');
    expect(health.status).toBe(503);
    expect(JSON.parse(health.text)).toMatchObject({
      status: 'unhealthy',
      checks: { database: false, vector_db: true },
    });
    postgres.mode = 'readOnly';
    const readOnly = await ask(entry, '/v1/chat/completions', { body: chat() });
    expect([readOnly.status, JSON.parse(readOnly.text).error.code]).toEqual([503, 'database_unavailable']);
    postgres.mode = 'serve';
    await until('chats again', async () => (await ask(entry, '/v1/chat/completions', { body: chat() })).status === 200);
    await until('health again', async () => (await ask(entry, '/health')).status === 200);
  });

  it('shows a stream that breaks after its first token as broken, and serves the next one elsewhere', async () => {
    let broken: string | undefined;
    const headers = await new Promise<{ pod: string; text: string; complete: boolean }>((resolve, reject) => {
      const request = http.request(
        { host: '127.0.0.1', port: entry, path: '/v1/chat/completions', method: 'POST', agent: false },
        (response) => {
          let text = '';
          const pod = String(response.headers['x-served-pod']);
          response.on('data', (chunk: Buffer) => {
            text += chunk;
            if (broken === undefined) {
              broken = pod;
              kill(pod).catch(reject);
            }
          });
          response.on('error', () => undefined);
          response.once('close', () => resolve({ pod, text, complete: response.complete }));
        },
      );
      request.once('error', reject);
      request.end(JSON.stringify(chat({ stream: true })));
    });
    expect(headers.complete).toBe(false);
    expect(headers.text).toContain('chat.completion.chunk');
    expect(headers.text).not.toContain('[DONE]');
    for (let count = 0; count < 8; count += 1) {
      const answer = await ask(entry, '/v1/chat/completions', { body: chat({ stream: true, max_tokens: 1 }) });
      expect([answer.status, answer.truncated]).toEqual([200, false]);
      expect(podOf(answer)).not.toBe(headers.pod);
    }
    kubernetes.remove(headers.pod);
    const zone = headers.pod.includes(zones[0]) ? zones[0] : zones[1];
    await startPod('llm', zone, 3);
  });

  it('gives requests in flight on a killed pod to another pod while no token is out', async () => {
    const victim = [...processes.keys()].find((name) => name.startsWith(`llm-${zones[1]}`)) ?? '';
    // Answers that are not streamed put nothing out until they are whole: all of these can be saved.
    const asking = Array.from({ length: 12 }, () => ask(entry, '/v1/chat/completions', { body: chat() }));
    await systemClock.sleep(150);
    await kill(victim);
    const answers = await Promise.all(asking);
    expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200));
    expect(answers.some((answer) => Number(answer.headers['x-attempts']) > 1)).toBe(true);
    kubernetes.remove(victim);
    await startPod('llm', zones[1], 4);
  });

  it('tries another pod when the first token of a hung one does not come', async () => {
    const hung = [...processes.keys()].find((name) => name.startsWith(`llm-${zones[0]}`)) ?? '';
    processes.get(hung)?.signal('SIGSTOP');
    try {
      const answers: Answer[] = [];
      for (let count = 0; count < 8; count += 1) {
        answers.push(await ask(entry, '/v1/chat/completions', { body: chat({ stream: true, max_tokens: 1 }) }));
      }
      expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200));
      const retried = answers.filter((answer) => Number(answer.headers['x-attempts']) > 1);
      // Its failure is remembered: not every request pays for it again.
      expect(retried.length).toBeGreaterThanOrEqual(1);
      expect(retried.length).toBeLessThanOrEqual(3);
    } finally {
      processes.get(hung)?.signal('SIGCONT');
    }
  });

  it('answers without documents when retrieval is gone', async () => {
    for (const zone of zones) {
      kubernetes.remove(`rag-${zone}-1`);
      await kill(`rag-${zone}-1`);
    }
    await until('retrieval to be deregistered', async () => {
      const answer = await ask(entry, '/v1/chat/completions', { body: chat({ max_tokens: 1 }) });
      expect(answer.status).toBe(200);
      return answer.headers['x-documents'] === '0';
    });
    for (const zone of zones) await startPod('rag', zone, 2);
  });

  it('serves through the other zone when a gateway dies, and brings a new one in', async () => {
    await kill(`gateway-${zones[0]}-1`);
    for (let count = 0; count < 20; count += 1) {
      const answer = await ask(entry, '/v1/chat/completions', { body: chat({ max_tokens: 1 }) });
      expect([answer.status, answer.headers['x-gateway-zone']]).toEqual([200, zones[1]]);
    }
    kubernetes.remove(`gateway-${zones[0]}-1`);
    await startPod('gateway', zones[0], 2);
    await until('the new gateway to serve', async () => {
      const answer = await ask(entry, '/v1/chat/completions', { body: chat({ max_tokens: 1 }) });
      expect(answer.status).toBe(200);
      return answer.headers['x-gateway-zone'] === zones[0];
    });
    const changes = readTruth(layout.stateDir).filter(({ event }) => event === 'balancer.target-changed');
    expect(changes.some((change) => change['target'] === `gateway-${zones[0]}-1` && !change['healthy'])).toBe(true);
  });

  it('keeps serving from what it knew while the Kubernetes API is cut off, and sees changes afterwards', async () => {
    kubernetes.setOut(true);
    await systemClock.sleep(500);
    const answer = await ask(entry, '/v1/chat/completions', { body: chat({ max_tokens: 1 }) });
    kubernetes.setOut(false);
    expect(answer.status).toBe(200);
    const added = await startPod('llm', zones[0], 9);
    await until('the new pod to serve', async () => {
      const next = await ask(entry, '/v1/chat/completions', { body: chat({ max_tokens: 1 }) });
      return podOf(next) === added;
    });
  });

  it('goes on in one zone when the other one is black, after no more than its time-outs', async () => {
    const other = forwardPort(layout, clientPlace('us-west'), `balancer/${zones[1]}`);
    await put('zone', { match: { isolate: [`zone/${zones[0]}`] }, effect: { kind: 'blackhole' }, owner: 'test' });
    // The database's stand-in is in the black zone: answers come from the gateways, as 503 when they cannot write.
    await until('quick refusals from the zone that is left', async () => {
      const answer = await ask(other, '/v1/chat/completions', { body: chat({ max_tokens: 1 }) });
      expect(answer.headers['x-gateway-zone'] ?? zones[1]).toBe(zones[1]);
      return answer.status === 503 && answer.tookMs < 1000;
    });
    await callControl(layout, 'links', 'DELETE', '/rules/zone');
    await until(
      'both zones again',
      async () => (await ask(other, '/v1/chat/completions', { body: chat() })).status === 200,
    );
  });

  it('answers 503 in JSON when no gateway is registered', async () => {
    for (const name of [...processes.keys()].filter((one) => one.startsWith('gateway-'))) kubernetes.remove(name);
    await until('503', async () => {
      const answer = await ask(entry, '/v1/models');
      return answer.status === 503 && JSON.parse(answer.text).error.code === 'no_gateway';
    });
  });
});
