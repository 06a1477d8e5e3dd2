import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Blind, Sample, Stream } from '../probes/sample.ts';
import { clientTruthMs, type Down, type FailureKind, seeded, simulate, streamOf } from '../testing/simulated-probes.ts';
import type { Outage } from './outages.ts';
import type { Bracket } from './record.ts';
import { analyseStream, type StreamAnalysis } from './stream.ts';
import { defaultLimits, singleLook, windowFor } from './window.ts';

const shortWindow = singleLook({ probes: 40, toleratedBad: 0, toleratedLate: 0 });
/** Clients' truth is only known to within the jitter of the answers at a thaw. */
const meets = ({ minMs, maxMs }: Bracket, truthMs: number, looseMs: number): boolean =>
  minMs <= truthMs + looseMs + 1e-6 && truthMs <= maxMs + 1e-6;
const contains = ({ minMs, maxMs }: Bracket, truthMs: number): boolean =>
  minMs <= truthMs + 1e-6 && truthMs <= maxMs + 1e-6;

/** Probes in a row from letters: `g` good, `s` slow, `b` bad, `-` dropped; each answered after 10 ms. */
const samplesOf = (letters: string, stream: Stream): readonly Sample[] =>
  [...letters].map((letter, index): Sample => {
    const sentMs = index * stream.everyMs;
    const base = { stream: stream.stream, index, scheduledMs: sentMs, sentMs, endedMs: sentMs + 10, code: 'ok' };
    if (letter === 'b') return { ...base, outcome: 'bad', code: '503' };
    if (letter === '-') return { ...base, endedMs: sentMs, outcome: 'dropped', code: 'late' };
    return { ...base, outcome: letter === 's' ? 'slow' : 'good' };
  });
const analyseLetters = (letters: string, window = shortWindow, blind: readonly Blind[] = []): StreamAnalysis => {
  const stream = streamOf();
  return analyseStream(samplesOf(letters, stream), blind, stream, { window });
};
const up = (count: number): string => 'g'.repeat(count);

describe('opening and closing', () => {
  it.each([
    ['nothing', up(100), 0],
    ['two in a row', `${up(20)}bb${up(60)}`, 0],
    ['two, one good, nothing', `${up(20)}bgb${up(60)}`, 0],
    ['three in a row', `${up(20)}bbb${up(60)}`, 1],
    ['three of five', `${up(20)}bgbgb${up(60)}`, 1],
    ['three of six', `${up(20)}bggbgb${up(60)}`, 0],
    ['slow counts as not good', `${up(20)}sss${up(60)}`, 1],
    ['two apart by a window', `${up(20)}bbb${up(60)}bbb${up(60)}`, 2],
  ])('%s', (_what, letters, count) => {
    expect(analyseLetters(letters).outages).toHaveLength(count);
  });

  it('dates both ends back to the evidence', () => {
    const [outage] = analyseLetters(`${up(20)}bbbbbb${up(60)}`).outages;
    expect(outage).toMatchObject({
      down: { minMs: 1900, maxMs: 2000 },
      up: { minMs: 2500, maxMs: 2600 },
      client: { minMs: 500, estimateMs: 600, maxMs: 700 },
      flaps: 0,
      confirmed: true,
      kind: 'error',
    });
  });

  it('counts a relapse inside the window as a flap, one after it as a new outage', () => {
    const [outage, ...rest] = analyseLetters(`${up(20)}bbb${up(20)}bbb${up(60)}`).outages;
    expect(rest).toEqual([]);
    expect(outage).toMatchObject({ flaps: 1, downtimeMs: 600, up: { maxMs: 4600 }, firstUp: { maxMs: 2300 } });
    expect(outage?.episodes.map(({ client }) => client.estimateMs)).toEqual([300, 300]);
  });

  it('moves the candidate past a stray when the window fails, and widens the upper end alone', () => {
    const [clean] = analyseLetters(`${up(20)}bbbb${up(80)}`).outages;
    const [stray] = analyseLetters(`${up(20)}bbbb${up(10)}b${up(80)}`).outages;
    expect(stray?.flaps).toBe(0);
    expect(stray?.client.minMs).toBe(clean?.client.minMs);
    expect(stray?.client.maxMs).toBe((clean?.client.maxMs ?? 0) + 1100);
    expect(stray?.interruption).toEqual(clean?.interruption);
  });

  it('moves the candidate past a flicker at the edge, so that the window begins with what lasts', () => {
    const window = singleLook({ probes: 40, toleratedBad: 0, toleratedLate: 0 });
    const [clean] = analyseLetters(`${up(20)}bbbb${up(80)}`, window).outages;
    const [flicker] = analyseLetters(`${up(20)}bbbbgbgb${up(41)}`, window).outages;
    expect(flicker?.confirmed).toBe(true);
    expect(flicker?.flaps).toBe(0);
    expect(flicker?.client.minMs).toBe(clean?.client.minMs);
    expect((flicker?.client.maxMs ?? 0) - (clean?.client.maxMs ?? 0)).toBeCloseTo(400, 0);
  });

  it('calls three of five a relapse all the same', () => {
    const [outage] = analyseLetters(`${up(20)}bbbbgbgbgb${up(80)}`).outages;
    expect(outage?.flaps).toBe(1);
  });

  it('does not move for strays that the window tolerates', () => {
    const window = singleLook({ probes: 40, toleratedBad: 1, toleratedLate: 0 });
    const [clean] = analyseLetters(`${up(20)}bbbb${up(80)}`, window).outages;
    const [stray] = analyseLetters(`${up(20)}bbbb${up(10)}b${up(80)}`, window).outages;
    expect(stray?.client).toEqual(clean?.client);
  });

  it('leaves the end open until a recovery is confirmed', () => {
    const [outage] = analyseLetters(`${up(20)}bbbb${up(39)}`).outages;
    expect(outage).toMatchObject({ confirmed: false, client: { minMs: 300, maxMs: Number.POSITIVE_INFINITY } });
    expect(analyseLetters(`${up(20)}bbbb${up(40)}`).outages[0]?.confirmed).toBe(true);
    expect(analyseLetters(`${up(20)}bbbb`).outages[0]?.confirmed).toBe(false);
  });

  it('has no beginning when nothing good came before', () => {
    expect(analyseLetters(`bbbb${up(60)}`).outages[0]?.client.maxMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('counts slow answers as up when only reachability is asked for', () => {
    const { outages, reachable } = analyseLetters(`${up(20)}ssssbbb${up(60)}`);
    expect(outages[0]?.client.estimateMs).toBe(700);
    expect(reachable[0]?.client.estimateMs).toBe(300);
  });

  it('lists runs that are too short as blips, and adds up what they are worth', () => {
    const { blips, notGoodMs } = analyseLetters(`${up(20)}bb${up(20)}s${up(60)}`);
    expect(blips).toEqual([
      { atMs: 2000, probes: 2, code: '503' },
      { atMs: 4200, probes: 1, code: 'ok' },
    ]);
    expect(notGoodMs).toBe(300);
  });
});

interface Trial {
  readonly stream: Stream;
  readonly down: Down;
  readonly outages: readonly Outage[];
  readonly halfMs: number;
  readonly jitterMs: number;
}

const kinds: readonly FailureKind[] = ['crash', 'hang', 'freeze', 'error'];

const runTrial = (kind: FailureKind, everyMs: number, timeoutMs: number, seed: number): Trial => {
  const random = seeded(seed);
  const stream = streamOf({ everyMs, timeoutMs, slowAfterMs: timeoutMs });
  const leastMs = Math.max(300, 4 * everyMs) + (kind === 'freeze' ? timeoutMs : 0);
  const fromMs = 30 * everyMs + random() * everyMs;
  const down = { kind, fromMs, toMs: fromMs + leastMs + random() * 40 * everyMs };
  const halfMs = 1 + random() * 5;
  const jitterMs = random() * 20;
  const toMs = down.toMs + 60 * everyMs + timeoutMs;
  const samples = simulate({ stream, fromMs: 0, toMs, downs: [down], halfMs, jitterMs, strays: 0, stalls: [], random });
  return {
    stream,
    down,
    halfMs,
    jitterMs,
    outages: analyseStream(samples, [], stream, { window: shortWindow }).outages,
  };
};

describe('against the truth, in virtual time', () => {
  const configs = kinds.flatMap((kind) =>
    (
      [
        [50, 400],
        [100, 1000],
        [100, 5000],
        [1000, 1000],
      ] as const
    ).map(([everyMs, timeoutMs]) => [kind, everyMs, timeoutMs] as const),
  );

  it.each(configs)(
    '%s, every %i ms, time-out %i ms: both brackets hold, the estimate is within its bound',
    (kind, everyMs, timeoutMs) => {
      const errors: number[] = [];
      const misses: string[] = [];
      for (let seed = 1; seed <= 2000; seed += 1) {
        const { stream, down, outages, halfMs, jitterMs } = runTrial(kind, everyMs, timeoutMs, seed);
        const [outage] = outages;
        if (outage === undefined || outages.length > 1) throw new Error(`seed ${seed}: ${outages.length} outages`);
        const truthMs = down.toMs - down.fromMs;
        const looseMs = kind === 'freeze' ? jitterMs : 0;
        const errorMs = outage.interruption.estimateMs - truthMs;
        const boundMs = everyMs * 1.1 + 2 * (2 * halfMs + jitterMs) - 2 * halfMs;
        if (!contains(outage.interruption, truthMs)) misses.push(`seed ${seed}: interruption`);
        if (!meets(outage.client, clientTruthMs(down, stream, halfMs), looseMs)) misses.push(`seed ${seed}: client`);
        if (Math.abs(errorMs) > boundMs) misses.push(`seed ${seed}: estimate ${errorMs}`);
        errors.push(errorMs);
      }
      expect(misses).toEqual([]);
      const median = errors.toSorted((a, b) => a - b)[1000] ?? 0;
      expect(median).toBeLessThanOrEqual(32);
      expect(median).toBeGreaterThanOrEqual(kind === 'freeze' ? -everyMs / 2 - 32 : -32);
    },
  );

  it.each([
    ['crash', 'crash'],
    ['error', 'error'],
    ['hang', 'hang'],
    ['freeze', 'freeze'],
  ] as const)('tells a %s by its name', (kind, name) => {
    const { outages } = runTrial(kind, 100, 1000, 7);
    expect(outages[0]?.kind).toBe(name);
  });

  it('finds every flap (2 s up, 3 s down, five times)', () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      const random = seeded(seed);
      const stream = streamOf();
      const startMs = 3000 + random() * 100;
      const downs = [0, 1, 2, 3, 4].map(
        (n): Down => ({ kind: 'crash', fromMs: startMs + n * 5000, toMs: startMs + n * 5000 + 3000 }),
      );
      const samples = simulate({
        stream,
        fromMs: 0,
        toMs: 60_000,
        downs,
        halfMs: 2,
        jitterMs: 5,
        strays: 0,
        stalls: [],
        random,
      });
      const { outages } = analyseStream(samples, [], stream, {
        window: singleLook({ probes: 60, toleratedBad: 0, toleratedLate: 0 }),
      });
      expect(outages).toHaveLength(1);
      expect(outages[0]?.flaps).toBe(4);
      expect(contains(outages[0]?.client ?? { estimateMs: 0, minMs: 0, maxMs: 0 }, 23_000)).toBe(true);
      expect(Math.abs((outages[0]?.downtimeMs ?? 0) - 15_000)).toBeLessThanOrEqual(1000);
      expect(outages[0]?.episodes.every(({ interruption }) => contains(interruption, 3000))).toBe(true);
    }
  });
});

describe('strays', () => {
  it.each([0.0001, 0.001, 0.005])(
    'around real outages at %f: brackets hold, too long only at the upper end',
    (strays) => {
      const window = windowFor({ bad: strays, late: 0 }, defaultLimits);
      if (window === undefined) throw new Error('no window');
      const stream = streamOf({ everyMs: 100 });
      const trials = strays < 0.005 ? 1000 : 300;
      let covered = 0;
      let longer = 0;
      for (let seed = 1; seed <= trials; seed += 1) {
        const random = seeded(seed);
        const fromMs = 5000 + random() * 100;
        const down: Down = { kind: 'crash', fromMs, toMs: fromMs + 500 + random() * 5000 };
        const toMs = down.toMs + 100 * 3 * (window.looks.at(-1)?.probes ?? 0);
        const samples = simulate({
          stream,
          fromMs: 0,
          toMs,
          downs: [down],
          halfMs: 2,
          jitterMs: 5,
          strays,
          stalls: [],
          random,
        });
        const outage = analyseStream(samples, [], stream, { window }).outages.find(
          (one) => one.up.minMs >= fromMs - 100,
        );
        const truthMs = down.toMs - down.fromMs;
        if (outage === undefined || outage.down.maxMs > down.toMs) continue;
        if (contains(outage.client, truthMs)) covered += 1;
        if (outage.up.maxMs > down.toMs + 100 + 20) longer += 1;
      }
      expect(covered / trials).toBeGreaterThanOrEqual(0.95);
      expect(longer / trials).toBeLessThanOrEqual(0.06);
    },
  );
});

describe('brownout', () => {
  it.each([0.02, 0.1, 0.3, 0.5])('at %f residual errors is rarely confirmed as recovery', (strays) => {
    const window = windowFor({ bad: 0.001, late: 0 }, defaultLimits);
    if (window === undefined) throw new Error('no window');
    const stream = streamOf();
    let confirmed = 0;
    for (let seed = 1; seed <= 300; seed += 1) {
      const random = seeded(seed);
      const downs: readonly Down[] = [{ kind: 'crash', fromMs: 3000, toMs: 5000 }];
      const before = simulate({
        stream,
        fromMs: 0,
        toMs: 4900,
        downs,
        halfMs: 2,
        jitterMs: 5,
        strays: 0,
        stalls: [],
        random,
      });
      const after = simulate({
        stream,
        fromMs: 5000,
        toMs: 124_000,
        downs: [],
        halfMs: 2,
        jitterMs: 5,
        strays,
        stalls: [],
        random,
      });
      const { outages } = analyseStream([...before, ...after], [], stream, { window });
      if (outages[0]?.confirmed) confirmed += 1;
    }
    expect(confirmed / 300).toBeLessThanOrEqual(0.05);
  });
});

describe('a prober that stalls', () => {
  const blindOf = (stalls: readonly { readonly fromMs: number; readonly toMs: number }[]): readonly Blind[] =>
    stalls.map((stall) => ({ sender: 'west', ...stall, cause: 'event loop' }));

  it.each([90, 3000])('for %i ms opens no outage at a healthy service', (stallMs) => {
    for (let seed = 1; seed <= 300; seed += 1) {
      const random = seeded(seed);
      const stream = streamOf();
      const stallFromMs = 5000 + random() * 100;
      const stalls = [{ fromMs: stallFromMs, toMs: stallFromMs + stallMs }];
      const halfMs = random() * 2 * stream.everyMs;
      const samples = simulate({
        stream,
        fromMs: 0,
        toMs: 20_000,
        downs: [],
        halfMs,
        jitterMs: 5,
        strays: 0,
        stalls,
        random,
      });
      const { outages, hidden } = analyseStream(samples, blindOf(stalls), stream, { window: shortWindow });
      expect(outages).toEqual([]);
      // A stall of nearly one spacing may fall between two sends and hide nothing.
      if (stallMs > 2 * stream.everyMs) expect(hidden.some(({ fromMs, toMs }) => toMs - fromMs >= stallMs)).toBe(true);
    }
  });

  it.each(kinds)('at random points of a %s never makes a bracket miss the truth', (kind) => {
    for (let seed = 1; seed <= 1000; seed += 1) {
      const random = seeded(seed);
      const stream = streamOf({ everyMs: 100, timeoutMs: 800, slowAfterMs: 800 });
      const fromMs = 4000 + random() * 100;
      const down: Down = { kind, fromMs, toMs: fromMs + 1600 + random() * 4000 };
      const at = 3500 + random() * 6500;
      const stalls = [{ fromMs: at, toMs: at + 21 + random() * 1500 }];
      const samples = simulate({
        stream,
        fromMs: 0,
        toMs: 20_000,
        downs: [down],
        halfMs: 3,
        jitterMs: 5,
        strays: 0,
        stalls,
        random,
      });
      const { outages, hidden } = analyseStream(samples, blindOf(stalls), stream, { window: shortWindow });
      const truthMs = down.toMs - down.fromMs;
      if (outages.length === 0) {
        const hidingMs = Math.max(0, ...hidden.map((place) => place.toMs - place.fromMs));
        expect(hidingMs, `seed ${seed}`).toBeGreaterThanOrEqual(clientTruthMs(down, stream, 3) - 2 * stream.everyMs);
        continue;
      }
      expect(contains(outages[0]?.interruption ?? { estimateMs: 0, minMs: 0, maxMs: 0 }, truthMs), `seed ${seed}`).toBe(
        true,
      );
      expect(
        contains(outages[0]?.client ?? { estimateMs: 0, minMs: 0, maxMs: 0 }, clientTruthMs(down, stream, 3)),
        `seed ${seed}`,
      ).toBe(true);
    }
  });

  it('hides an outage that lies wholly in blind time, and says so', () => {
    const random = seeded(1);
    const stream = streamOf();
    const stalls = [{ fromMs: 4900, toMs: 6100 }];
    const downs: readonly Down[] = [{ kind: 'crash', fromMs: 5000, toMs: 6000 }];
    const samples = simulate({
      stream,
      fromMs: 0,
      toMs: 20_000,
      downs,
      halfMs: 2,
      jitterMs: 2,
      strays: 0,
      stalls,
      random,
    });
    const { outages, hidden } = analyseStream(samples, blindOf(stalls), stream, { window: shortWindow });
    expect(outages).toEqual([]);
    expect(Math.max(...hidden.map(({ fromMs, toMs }) => toMs - fromMs))).toBeGreaterThanOrEqual(1000);
  });

  it('needs no word of its monitor: a gap between sends is enough', () => {
    const { hidden, evidence } = analyseLetters(`${up(20)}----------${up(40)}`);
    expect(evidence.blind).toEqual([{ fromMs: 2000, toMs: 3000 }]);
    expect(hidden).toEqual([{ fromMs: 1900, toMs: 3010 }]);
  });
});

describe('what does not matter', () => {
  const trial = (
    seed: number,
  ): { readonly stream: Stream; readonly samples: readonly Sample[]; readonly truthMs: number } => {
    const random = seeded(seed);
    const stream = streamOf({ everyMs: 50 });
    const kind = kinds[seed % kinds.length] ?? 'crash';
    const fromMs = 4000 + random() * 50;
    const downs: readonly Down[] = [{ kind, fromMs, toMs: 8000 }];
    return {
      stream,
      truthMs: 8000 - fromMs,
      samples: simulate({
        stream,
        fromMs: 0,
        toMs: 20_000,
        downs,
        halfMs: 2,
        jitterMs: 5,
        strays: 0,
        stalls: [],
        random,
      }),
    };
  };

  it('is when the run began, and what the stream is called', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.integer({ min: -5000, max: 5000 }), (seed, shiftMs) => {
        const { stream, samples } = trial(seed);
        const renamed = { ...stream, stream: 'other' };
        const shifted = samples.map((sample) => ({
          ...sample,
          stream: 'other',
          scheduledMs: sample.scheduledMs + shiftMs,
          sentMs: sample.sentMs + shiftMs,
          endedMs: sample.endedMs + shiftMs,
        }));
        const [before] = analyseStream(samples, [], stream, { window: shortWindow }).outages;
        const [after] = analyseStream(shifted, [], renamed, { window: shortWindow }).outages;
        expect(after?.client.minMs).toBeCloseTo(before?.client.minMs ?? Number.NaN, 6);
        expect(after?.client.maxMs).toBeCloseTo(before?.client.maxMs ?? Number.NaN, 6);
        expect(after?.interruption.estimateMs).toBeCloseTo(before?.interruption.estimateMs ?? Number.NaN, 6);
      }),
      { numRuns: 60 },
    );
  });

  it('is half of the probes: the thinned bracket is wider and still holds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.constantFrom(0, 1), (seed, parity) => {
        const { stream, samples, truthMs } = trial(seed);
        const thinned = samples.filter((_sample, index) => index % 2 === parity);
        const coarse = { ...stream, everyMs: stream.everyMs * 2 };
        const [full] = analyseStream(samples, [], stream, { window: shortWindow }).outages;
        const [half] = analyseStream(thinned, [], coarse, { window: shortWindow }).outages;
        expect(half?.client.minMs).toBeLessThanOrEqual((full?.client.minMs ?? 0) + 1e-6);
        expect(half?.client.maxMs).toBeGreaterThanOrEqual((full?.client.maxMs ?? 0) - 1e-6);
        expect(contains(half?.interruption ?? { estimateMs: 0, minMs: 0, maxMs: 0 }, truthMs)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('opens nothing over 30 quiet minutes with 0.1 % strays', () => {
    const random = seeded(3);
    const stream = streamOf();
    const samples = simulate({
      stream,
      fromMs: 0,
      toMs: 1_800_000,
      downs: [],
      halfMs: 2,
      jitterMs: 5,
      strays: 0.001,
      stalls: [],
      random,
    });
    expect(
      analyseStream(samples, [], stream, { window: singleLook({ probes: 628, toleratedBad: 2, toleratedLate: 22 }) })
        .outages,
    ).toEqual([]);
  });
});
