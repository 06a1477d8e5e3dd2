import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseMetrics, renderMetrics } from './exposition.ts';
import { createHeartbeats } from './heartbeats.ts';
import { createIncreases, histogramQuantile } from './increases.ts';
import { requestReadings } from './monitoring.ts';
import { createRequestMetrics } from './request-metrics.ts';
import { documentedRules, evaluate, type FiringAlerts, type Reading } from './rules.ts';

const ruleNamed = (name: string) => {
  const rule = documentedRules.find((one) => one.name === name);
  if (rule === undefined) throw new Error(`no rule ${name}`);
  return rule;
};

describe('the documented rules', () => {
  it('are the four of the alerts, and the page for lag of Scenario 3', () => {
    expect(documentedRules.map(({ name, above, receiver }) => `${name} > ${above} ${receiver}`)).toEqual([
      'HighErrorRate > 0.01 page',
      'HighLatency > 0.7 slack',
      'RegionDown > 3 page',
      'DatabaseLagHigh > 30 dba',
      'DatabaseLagCritical > 120 page',
    ]);
  });

  it('fire exactly while their value is above the limit, and keep their state while it cannot be read', () => {
    const lag = ruleNamed('DatabaseLagHigh');
    const step = fc.option(fc.double({ min: 0, max: 60, noNaN: true }), { nil: undefined });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (values) => {
        let firing: FiringAlerts = new Map();
        let isExpected = false;
        for (const [index, value] of values.entries()) {
          const labels = { instance: 'replica' };
          const readings: readonly Reading[] = value === undefined ? [] : [{ metric: lag.metric, labels, value }];
          const wasFiring = firing.size > 0;
          const after = evaluate([lag], readings, firing, index);
          if (value !== undefined) isExpected = value > 30;
          expect(after.firing.size).toBe(isExpected ? 1 : 0);
          expect(after.fired.length).toBe(isExpected && !wasFiring ? 1 : 0);
          expect(after.resolved.length).toBe(!isExpected && wasFiring ? 1 : 0);
          // The instant it began stays while it lasts.
          for (const alert of after.firing.values()) {
            if (wasFiring) expect(alert.startedAtMs).toBe([...firing.values()][0]?.startedAtMs);
          }
          firing = after.firing;
        }
      }),
    );
  });

  it('tell the labels of one metric apart, and know a value that there is none of from one that is unknown', () => {
    const reading = (instance: string, value: number | null): Reading => ({
      metric: 'replication_lag_seconds',
      labels: { instance },
      value,
    });
    const first = evaluate(documentedRules, [reading('east', 150), reading('europe', 29)], new Map(), 1);
    expect(first.fired.map(({ rule, labels }) => `${rule.name} ${labels['instance']}`)).toEqual([
      'DatabaseLagHigh east',
      'DatabaseLagCritical east',
    ]);
    expect(evaluate(documentedRules, [reading('europe', 31)], first.firing, 2).firing.size).toBe(3);
    // Promoted: a primary lags behind nobody.
    expect(evaluate(documentedRules, [reading('east', null)], first.firing, 2).firing.size).toBe(0);
  });
});

describe('the exposition format', () => {
  it('is read back as it was written, whatever is in the labels', () => {
    const label = fc.string({ unit: 'grapheme', maxLength: 12 });
    const labels = fc.record({ one: label, other: label });
    const value = fc.oneof(fc.double({ noNaN: true }), fc.constantFrom(0, 1, Number.POSITIVE_INFINITY));
    fc.assert(
      fc.property(fc.array(fc.record({ labels, value }), { maxLength: 5 }), (samples) => {
        // Of all line breaks only \n ends a line of this format.
        const named = samples.map((one) => ({ name: 'metric_total', ...one }));
        const text = renderMetrics([
          { name: 'metric_total', type: 'counter', help: 'a \\ and\na break', samples: named },
        ]);
        expect(parseMetrics(text).map((one) => ({ ...one, value: one.value + 0 }))).toEqual(
          named.map((one) => ({ ...one, value: one.value + 0 })),
        );
      }),
    );
  });

  it('refuses what is none', () => {
    expect(() => parseMetrics('<html>')).toThrow('no metric: <html>');
    expect(() => parseMetrics('up yes')).toThrow('no metric');
  });
});

describe('increases over a window', () => {
  const sampled = (value: number) => [{ name: 'requests_total', labels: {}, value }];

  it('add up the counters of all targets, resets included, and forget what is older', () => {
    const increases = createIncreases(10);
    increases.add(0, 'one', sampled(100));
    increases.add(1, 'other', sampled(5));
    expect(increases.over(1)).toEqual([]);
    increases.add(2, 'one', sampled(103));
    increases.add(3, 'other', sampled(2));
    expect(increases.over(3)).toEqual(sampled(5));
    expect(increases.over(12)).toEqual(sampled(2));
    expect(increases.over(13)).toEqual([]);
  });

  it('become the documented rates', () => {
    const requests = createRequestMetrics();
    const increases = createIncreases(1000);
    const scrape = (atMs: number): void => increases.add(atMs, 'pod', parseMetrics(renderMetrics(requests.metrics())));
    requests.ended('failed', 503);
    scrape(0);
    for (let count = 0; count < 98; count += 1) requests.ended('served', 200);
    requests.ended('abandoned', 200);
    requests.ended('failed', 502);
    for (let count = 0; count < 94; count += 1) requests.firstToken(40);
    for (let count = 0; count < 6; count += 1) requests.firstToken(750);
    scrape(15);
    const readings = new Map(requestReadings(increases.over(15), true).map(({ metric, value }) => [metric, value]));
    expect(readings.get('error_rate_5m')).toBeCloseTo(0.01, 12);
    expect(readings.get('p95_latency_seconds')).toBeGreaterThan(0.7);
    // Nobody asked: nothing to measure. No gateway could be asked: nothing known.
    expect(requestReadings(increases.over(5000), true).map(({ value }) => value)).toEqual([null, null]);
    expect(requestReadings(increases.over(5000), false)).toEqual([]);
  });

  it('have a p95 above 700 ms exactly when more than 5 % took longer', () => {
    fc.assert(
      fc.property(fc.nat(400), fc.nat(40), (fast, late) => {
        fc.pre(fast + late > 0);
        const requests = createRequestMetrics();
        for (let count = 0; count < fast; count += 1) requests.firstToken(20 + (count % 600));
        for (let count = 0; count < late; count += 1) requests.firstToken(701 + count);
        const buckets = parseMetrics(renderMetrics(requests.metrics())).flatMap(({ name, labels, value }) =>
          name.endsWith('_bucket') ? [{ upTo: Number(labels['le']?.replace('+Inf', 'Infinity')), count: value }] : [],
        );
        const p95 = histogramQuantile(0.95, buckets) ?? Number.NaN;
        expect(p95 > 0.7).toBe(late > (fast + late) * 0.05);
      }),
    );
  });
});

describe('lag by heartbeat', () => {
  it('never claims more than a replica surely lags, and is short by one heartbeat at most', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.nat(2000),
        fc.integer({ min: 5, max: 80 }),
        (everyMs, lagMs, count) => {
          const heartbeats = createHeartbeats();
          for (let sequence = 0; sequence < count; sequence += 1) heartbeats.acknowledged(sequence, sequence * everyMs);
          const askedMs = (count - 1) * everyMs + 1;
          // The replica shows what was committed `lagMs` ago.
          const shown = Math.floor((askedMs - lagMs) / everyMs);
          const found = heartbeats.lagMs(shown < 0 ? null : Math.min(shown, count - 1), askedMs) ?? Number.NaN;
          expect(found).toBeLessThanOrEqual(lagMs);
          expect(found).toBeGreaterThanOrEqual(Math.min(lagMs, askedMs) - everyMs);
        },
      ),
    );
  });

  it('is nothing while nobody writes, and unknown before the first heartbeat', () => {
    const heartbeats = createHeartbeats();
    expect(heartbeats.lagMs(null, 5)).toBeUndefined();
    heartbeats.acknowledged(7, 10);
    expect(heartbeats.lagMs(7, 1_000_000)).toBe(0);
    expect(heartbeats.lagMs(null, 25)).toBe(15);
  });
});
