import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock as clock } from '../core/clock.ts';
import { callControl } from '../lab/control.ts';
import { clientPlace } from '../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../lab/testing.ts';
import { readRecord } from './record.ts';
import type { ProbedStream } from './sender-messages.ts';
import { startSenders } from './senders.ts';

let lab: StartedComponents;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'blackstart-objects-'));
  lab = await startComponents(labEnvironment(), ['links', 'dns', 'objects'], { timeScale: 30 });
});

afterAll(async () => {
  await lab?.stop();
  await rm(folder, { recursive: true, force: true });
});

const stream: ProbedStream = {
  stream: 'objects/us-west/fresh',
  name: 'objects',
  probe: 'objects',
  location: 'us-west',
  sender: 'us-west',
  connection: 'fresh',
  everyMs: 50,
  timeoutMs: 500,
  slowAfterMs: 500,
  required: false,
  params: { key: 'handbook/first-steps.txt' },
};

describe('documents of a region that goes dark', () => {
  test('are not to be had until GeoDNS leads elsewhere, and then come from there', async () => {
    const { layout } = lab;
    // No service runs here for the health checks to ask: what they would find is said instead.
    const say = (region: string, healthy: boolean): Promise<unknown> =>
      callControl(layout, 'dns', 'PUT', `/health-overrides/${region}`, { body: { healthy } });
    await say('us-west-2', true);
    await say('us-east-1', true);
    const credentials = path.join(folder, 'credentials');
    const keys = `[default]\naws_access_key_id = ${layout.awsAccessKeyId}\naws_secret_access_key = ${layout.token}\n`;
    await writeFile(credentials, keys, { mode: 0o600 });
    const senders = await startSenders({
      runId: 'run',
      seed: 3,
      streams: [stream],
      resolvers: { 'us-west': `127.0.0.1:${layout.resolvers[clientPlace('us-west')]}` },
      service: layout.environment.service,
      database: null,
      awsCredentialsFile: credentials,
      folder,
      clock,
      signal: new AbortController().signal,
    });
    const troubles: string[] = [];
    senders.onTrouble((_stream, message) => void troubles.push(message));
    await clock.sleep(1000);
    const body = {
      match: { isolate: ['region/us-west-2'] },
      effect: { kind: 'blackhole' },
      owner: 'test',
    };
    await callControl(layout, 'links', 'PUT', '/rules/dark', { body });
    const darkMs = clock.monotonicMs();
    await clock.sleep(1000);
    await say('us-west-2', false);
    const switchedMs = clock.monotonicMs();
    await clock.sleep(1000);
    await senders.stop();
    expect(troubles).toEqual([]);

    const seen = (await readRecord(folder)).samples.get(stream.stream) ?? [];
    const inWords = (fromMs: number, toMs: number): readonly string[] => [
      ...new Set(
        seen
          .filter(({ sentMs, endedMs }) => sentMs > fromMs && endedMs < toMs)
          .map(({ code, region }) => `${code} ${region}`),
      ),
    ];
    expect(inWords(0, darkMs)).toEqual(['ok us-west-2']);
    expect(inWords(darkMs, switchedMs)).toEqual(['timeout undefined']);
    expect(inWords(switchedMs, Number.POSITIVE_INFINITY)).toEqual(['ok us-east-1']);
  });
});
