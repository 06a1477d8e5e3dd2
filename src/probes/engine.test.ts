import { describe, expect, test } from 'vitest';
import { createSimClock, type SimClock } from '../testing/sim-clock.ts';
import { createEngine, type LiveStream } from './engine.ts';
import type { Attempt, Look } from './probe.ts';
import type { Blind, Sample, Stream } from './sample.ts';

const streamOf = (over: Partial<Stream> = {}): Stream => ({
  stream: 'chat/here/fresh',
  name: 'chat',
  probe: 'chat',
  location: 'here',
  sender: 'here',
  connection: 'fresh',
  everyMs: 100,
  timeoutMs: 1000,
  slowAfterMs: 1000,
  required: true,
  ...over,
});

/** Runs an engine for some simulated time against a target described by one function. */
const drive = async (
  clock: SimClock,
  untilMs: number,
  look: (attempt: Attempt) => Promise<Look>,
  over: Partial<Stream> = {},
  control = false,
) => {
  const samples: Sample[] = [];
  const blind: Blind[] = [];
  const troubles: string[] = [];
  const live: LiveStream = {
    stream: streamOf(over),
    session: { look, close: () => Promise.resolve() },
    grid: { firstMs: 50, everyMs: over.everyMs ?? 100 },
    control,
  };
  const engine = createEngine({
    clock,
    afterIo: () => Promise.resolve(),
    sender: 'here',
    streams: [live],
    output: {
      onSample: (sample) => void samples.push(sample),
      onOutcome: () => undefined,
      onBlind: (one) => void blind.push(one),
      onTrouble: (_stream, message) => void troubles.push(message),
    },
  });
  const stop = new AbortController();
  const running = engine.run(stop.signal);
  await clock.runUntil(untilMs);
  stop.abort();
  await clock.runUntil(untilMs + 5000);
  await running;
  return { samples, blind, troubles, meter: engine.meter.take() };
};

const answersAfter =
  (clock: SimClock, latencyMs: number) =>
  async (attempt: Attempt): Promise<Look> => {
    await clock.sleep(latencyMs, attempt.signal);
    return { code: 'ok' };
  };

describe('a healthy target', () => {
  test('is probed on the grid, and every answer is good', async () => {
    const clock = createSimClock();
    const { samples, blind } = await drive(clock, 3000, answersAfter(clock, 5));
    expect(samples.length).toBe(30);
    expect(samples.every((sample) => sample.outcome === 'good' && sample.sentMs === sample.scheduledMs)).toBe(true);
    expect(samples.map((sample) => sample.index)).toEqual(samples.map((_, index) => index));
    expect(blind).toEqual([]);
  });

  test('is slow, not bad, over its latency limit', async () => {
    const clock = createSimClock();
    const { samples } = await drive(clock, 500, answersAfter(clock, 300), { slowAfterMs: 250 });
    expect(samples.map((sample) => sample.outcome)).toEqual(samples.map(() => 'slow'));
  });
});

describe('a target that hangs', () => {
  const hang = (): Promise<Look> => new Promise(() => undefined);

  test('does not hold up the next probe, and each ends at its time-out', async () => {
    const clock = createSimClock();
    const { samples, meter } = await drive(clock, 3000, hang);
    expect(samples.length).toBe(30);
    for (const sample of samples) {
      expect(sample.code).toBe('timeout');
      expect(sample.endedMs - sample.sentMs).toBe(1000);
    }
    expect(meter.inFlightMax).toBe(10);
    expect(meter.dropped).toBe(0);
  });

  test('keeps what was learnt before the time-out', async () => {
    const clock = createSimClock();
    const { samples } = await drive(clock, 300, (attempt) => {
      attempt.seen.address = '10.0.0.1:80';
      attempt.seen.timeoutCode = 'dns-timeout';
      return hang();
    });
    expect(samples[0]).toMatchObject({ address: '10.0.0.1:80', code: 'dns-timeout', outcome: 'bad' });
    expect(samples[0]).not.toHaveProperty('timeoutCode');
  });

  test('samples come in send order although the first answers come last', async () => {
    const clock = createSimClock();
    const { samples } = await drive(clock, 2000, (attempt) =>
      answersAfter(clock, attempt.index === 0 ? 900 : 5)(attempt),
    );
    expect(samples.map((sample) => sample.index)).toEqual(samples.map((_, index) => index));
  });
});

describe('a sender that stood still', () => {
  test('drops what it did not send, in place of a burst, and says when it was blind', async () => {
    const clock = createSimClock();
    clock.stall(1000, 4000);
    const { samples, blind } = await drive(clock, 5000, answersAfter(clock, 5));
    expect(samples.filter((sample) => sample.outcome === 'bad' || sample.outcome === 'slow')).toEqual([]);
    const sent = samples.filter((sample) => sample.outcome === 'good' && sample.sentMs >= 4000 && sample.sentMs < 4050);
    expect(sent.length).toBe(1);
    expect(samples.filter((sample) => sample.outcome === 'dropped').length).toBe(29);
    expect(blind.some((one) => one.fromMs <= 1000 && one.toMs >= 4000 && one.cause === 'event-loop')).toBe(true);
  });

  test('its overdue time-outs lie in its blind stretch, and the first probe after it does not', async () => {
    const clock = createSimClock();
    clock.stall(1000, 4000);
    const { samples, blind } = await drive(clock, 5000, answersAfter(clock, 30));
    const [stall] = blind;
    const ends = samples.filter((sample) => sample.outcome === 'bad').map((sample) => sample.endedMs);
    for (const endedMs of ends) expect(endedMs).toBeLessThanOrEqual(stall?.toMs ?? 0);
    const after = samples.find((sample) => sample.outcome !== 'dropped' && sample.sentMs >= 4000);
    expect(after?.sentMs).toBeGreaterThanOrEqual(stall?.toMs ?? Number.POSITIVE_INFINITY);
  });

  test('an answer that was late through the stall alone is blinded', async () => {
    const clock = createSimClock();
    clock.stall(1051, 1450);
    // The answer itself takes several steps, so it ends some time after the stall.
    const inSteps = async (attempt: Attempt): Promise<Look> => {
      await clock.sleep(100, attempt.signal);
      await clock.sleep(100, attempt.signal);
      return { code: 'ok' };
    };
    const { samples, blind } = await drive(clock, 3000, inSteps, { slowAfterMs: 350, everyMs: 1000 });
    const late = samples.filter((sample) => sample.outcome === 'slow');
    expect(late.length).toBe(1);
    expect(blind.some((one) => one.fromMs === late[0]?.endedMs && one.toMs === late[0]?.endedMs)).toBe(true);
  });

  test('a stall within the limit leaves no blind stretch', async () => {
    const clock = createSimClock();
    clock.stall(1000, 1010);
    const { blind } = await drive(clock, 2000, answersAfter(clock, 5));
    expect(blind).toEqual([]);
  });
});

test('a probe that throws could not look: it is dropped and told once', async () => {
  const clock = createSimClock();
  const { samples, troubles } = await drive(clock, 500, () => Promise.reject(new Error('no such file')));
  expect(samples.every((sample) => sample.outcome === 'dropped')).toBe(true);
  expect(troubles).toEqual(['no such file']);
});

test('a control probe that fails blinds its time and leaves no sample', async () => {
  const clock = createSimClock();
  const { samples, blind, meter } = await drive(clock, 300, () => Promise.resolve({ code: 'refused' }), {}, true);
  expect(samples).toEqual([]);
  expect(meter.controlBad).toBe(3);
  expect(blind.map((one) => one.cause)).toEqual(['control', 'control', 'control']);
});
