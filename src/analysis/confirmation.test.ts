import { describe, expect, it } from 'vitest';
import type { Sample } from '../probes/sample.ts';
import { bad, named } from '../testing/simulated-record.ts';
import { createConfirmation, createSteadyState } from './confirmation.ts';

const streams = ['near', 'far', 'east', 'west'].map((location) => named('chat', 'chat', location));

const feed = (
  steady: { add(sample: Sample): void },
  fromMs: number,
  toMs: number,
  script: (atMs: number, location: string) => Partial<Sample> = () => ({}),
): void => {
  for (let atMs = fromMs; atMs < toMs; atMs += 50) {
    for (const { stream, location } of streams) {
      const sample: Sample = {
        stream,
        index: Math.round(atMs / 50),
        scheduledMs: atMs,
        sentMs: atMs,
        endedMs: atMs + 20,
        outcome: 'good',
        code: 'ok',
      };
      steady.add({ ...sample, ...script(atMs, location) });
    }
  }
};

describe('the baseline gate', () => {
  it('says how long it takes, and holds then', () => {
    const steady = createSteadyState(streams);
    const needsMs = steady.baselineNeedsMs();
    expect(needsMs).toBeGreaterThanOrEqual(365 * 50);
    expect(needsMs).toBeLessThanOrEqual(24_000);
    feed(steady, 0, 18_000);
    expect(steady.baseline().failed).toEqual([]);
    expect(steady.baseline().missing).toHaveLength(4);
    feed(steady, 18_000, needsMs);
    expect(steady.baseline()).toEqual({ missing: [], failed: [] });
  });

  it('begins anew after an outage', () => {
    const steady = createSteadyState(streams);
    const script = (atMs: number, location: string): Partial<Sample> =>
      location === 'near' && atMs >= 5000 && atMs < 5200 ? bad('503', atMs) : {};
    feed(steady, 0, 5200, script);
    expect(steady.baseline().missing.join()).toContain('chat/near/fresh: it is down');
    feed(steady, 5200, 24_000, script);
    expect(steady.baseline().missing.join()).toMatch(/^chat\/near\/fresh: 37\d of the \d+ probes/);
    feed(steady, 24_000, 28_000, script);
    expect(steady.baseline()).toEqual({ missing: [], failed: [] });
  });

  it('knows the rates from the runs before it, and still shows for itself that the steady state holds', () => {
    const carried = streams.map(({ stream }) => ({ stream, probes: 2000, bad: 0, late: 0 }));
    const alone = createSteadyState(streams);
    const following = createSteadyState(streams, undefined, carried);
    expect(following.baselineNeedsMs()).toBeLessThan(alone.baselineNeedsMs());
    expect(following.baseline().missing).toHaveLength(4);
    feed(following, 0, 365 * 50);
    expect(following.baseline()).toEqual({ missing: [], failed: [] });
  });

  it('never lets a service through that is surely worse than its limit', () => {
    const steady = createSteadyState(streams);
    feed(steady, 0, 60_000, (atMs, location) => (location === 'far' && atMs % 1000 === 0 ? bad('503', atMs) : {}));
    expect(steady.baseline().failed.join()).toContain('surely more than 1 %');
  });

  it('takes a longer window for a noisier baseline', () => {
    const quiet = createConfirmation(streams);
    const noisy = createConfirmation(streams);
    feed(quiet, 0, 100_000);
    feed(noisy, 0, 100_000, (atMs) => (atMs % 20_000 === 0 ? bad('503', atMs) : {}));
    const probes = (one: typeof quiet): number => one.baseline()[0]?.window?.looks.at(-1)?.probes ?? 0;
    expect(probes(quiet)).toBe(717);
    expect(probes(noisy)).toBeGreaterThan(717);
  });
});

describe('recovery, while samples come in', () => {
  const ready = () => {
    const steady = createSteadyState(streams);
    feed(steady, 0, 40_000);
    expect(steady.baseline().missing).toEqual([]);
    return steady;
  };

  it('needs every required stream, over the whole window', () => {
    const steady = ready();
    feed(steady, 40_000, 60_000, (atMs, location) =>
      location === 'near' && atMs < 45_000 ? bad('timeout', atMs) : {},
    );
    expect(steady.missingSince(40_000).join()).toMatch(/^chat\/near\/fresh \(300 of \d+ probes\)$/);
    feed(steady, 60_000, 68_000);
    expect(steady.missingSince(40_000)).toEqual([]);
  });

  it('is taken back when the service goes down again', () => {
    const steady = ready();
    feed(steady, 40_000, 80_000);
    expect(steady.missingSince(40_000)).toEqual([]);
    feed(steady, 80_000, 81_000, (atMs) => bad('503', atMs));
    expect(steady.missingSince(81_000)).toHaveLength(4);
  });

  it('waits until the outage itself is over, strays between its end and the instant included', () => {
    const steady = ready();
    // Down until 45 s, then a few strays before anybody asks: its end is not proven until they are outweighed.
    const script = (atMs: number, location: string): Partial<Sample> =>
      location === 'near' && (atMs < 45_000 || (atMs < 52_000 && atMs % 1000 === 0)) ? bad('503', atMs) : {};
    feed(steady, 40_000, 73_000, script);
    expect(steady.missingSince(52_000).join()).toMatch(/^chat\/near\/fresh/);
    feed(steady, 73_000, 90_000, script);
    expect(steady.missingSince(52_000)).toEqual([]);
  });

  it('starts anew from another instant', () => {
    const steady = ready();
    feed(steady, 40_000, 80_000);
    expect(steady.missingSince(40_000)).toEqual([]);
    expect(steady.missingSince(79_000)).toHaveLength(4);
  });

  it('does not count probes of blind time', () => {
    const steady = ready();
    steady.addBlind({ sender: 'near', fromMs: 50_000, toMs: 52_000, cause: 'event loop' });
    feed(steady, 40_000, 60_500, (atMs, location) =>
      location === 'near' && atMs >= 50_000 && atMs < 51_900 ? bad('timeout', atMs) : {},
    );
    expect(steady.missingSince(40_000)).toHaveLength(1);
    expect(steady.missingSince(40_000).join()).not.toContain('down');
  });
});
