import { describe, expect, it } from 'vitest';
import { answerAlertmanager, fingerprintOf } from './alertmanager.ts';
import { documentedRules, evaluate } from './rules.ts';

const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
const { firing } = evaluate(
  documentedRules,
  [
    { metric: 'error_rate_5m', labels: {}, value: 0.25 },
    { metric: 'health_check_failures', labels: { region: 'us-west-2' }, value: 4 },
  ],
  new Map(),
  nowMs,
);

const ask = (target: string, method = 'GET') => {
  const url = new URL(target, 'http://lab');
  return answerAlertmanager(method, url.pathname, url.searchParams, {
    rules: documentedRules,
    firing,
    startedAtMs: nowMs - 60_000,
    nowMs,
    resolveAfterMs: 15_000,
    generatorUrl: 'http://127.0.0.1:9/metrics',
  });
};

const namesOf = (target: string): readonly string[] =>
  ((ask(target)?.body ?? []) as { labels: { alertname: string } }[]).map(({ labels }) => labels.alertname).toSorted();

describe("Alertmanager's API", () => {
  it('lists alerts with every member that its schema requires', () => {
    const answer = ask('/api/v2/alerts?filter=alertname%3D%22RegionDown%22');
    expect(answer).toEqual({
      status: 200,
      body: [
        {
          annotations: { description: 'health_check_failures is 4', summary: 'More than 3 failed health checks' },
          endsAt: '2026-01-02T03:04:20.000Z',
          fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/),
          receivers: [{ name: 'page' }],
          startsAt: '2026-01-02T03:04:05.000Z',
          status: { inhibitedBy: [], mutedBy: [], silencedBy: [], state: 'active' },
          updatedAt: '2026-01-02T03:04:05.000Z',
          generatorURL: 'http://127.0.0.1:9/metrics',
          labels: { alertname: 'RegionDown', region: 'us-west-2', severity: 'critical' },
        },
      ],
    });
  });

  it('filters by matchers and receiver, and refuses a matcher that is none', () => {
    expect(namesOf('/api/v2/alerts')).toEqual(['HighErrorRate', 'RegionDown']);
    expect(namesOf('/api/v2/alerts?filter=region%3D~%22us-.*%22')).toEqual(['RegionDown']);
    expect(namesOf('/api/v2/alerts?filter=region!%3D%22us-west-2%22&receiver=page')).toEqual(['HighErrorRate']);
    expect(namesOf('/api/v2/alerts?receiver=slack')).toEqual([]);
    expect(namesOf('/api/v2/alerts?active=false')).toEqual([]);
    expect(ask('/api/v2/alerts?filter=what')).toEqual({ status: 400, body: 'bad matcher format: what' });
    expect(ask('/api/v2/alerts?receiver=(')?.status).toBe(400);
  });

  it('has status, receivers, silences and groups, and nothing to write', () => {
    expect(ask('/api/v2/status')?.body).toMatchObject({
      cluster: { status: 'disabled', peers: [] },
      uptime: '2026-01-02T03:03:05.000Z',
      config: { original: expect.stringContaining('alertname="DatabaseLagHigh"') },
      versionInfo: { version: expect.any(String), goVersion: expect.any(String), buildUser: expect.any(String) },
    });
    expect(ask('/api/v2/receivers')?.body).toEqual([{ name: 'page' }, { name: 'slack' }, { name: 'dba' }]);
    expect(ask('/api/v2/silences')?.body).toEqual([]);
    expect(ask('/api/v2/alerts/groups')?.body).toMatchObject([{ receiver: { name: 'page' }, labels: {} }]);
    expect(ask('/api/v2/alerts', 'POST')?.status).toBe(405);
    expect(ask('/api/v2/nothing')).toBeUndefined();
  });

  it('names alerts by the fingerprint of their labels, in any order', () => {
    // FNV-1a of nothing, and that Prometheus gives an empty label set.
    expect(fingerprintOf({})).toBe('cbf29ce484222325');
    expect(fingerprintOf({ a: '1', b: '2' })).toBe(fingerprintOf({ b: '2', a: '1' }));
    expect(fingerprintOf({ a: '1' })).not.toBe(fingerprintOf({ a: '2' }));
  });
});
