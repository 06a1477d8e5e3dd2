import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createAlertsPort } from '../../adapters/alertmanager.ts';
import type { Alert, Ports } from '../../adapters/ports.ts';
import { systemClock as clock, poll } from '../../core/clock.ts';
import type { Observation } from '../../core/observation.ts';
import { answerAlertmanager } from '../../lab/monitoring/alertmanager.ts';
import { documentedRules, evaluate, type FiringAlerts } from '../../lab/monitoring/rules.ts';
import { smallEnvironment } from '../../testing/fake-platform.ts';
import { alertChanges, alertsObserver } from './alerts.ts';

const alert = (name: string, changes: Partial<Alert> = {}): Alert => ({
  fingerprint: name,
  name,
  labels: { alertname: name, severity: 'critical' },
  description: '',
  receivers: ['page'],
  startsAt: '2026-01-01T00:00:00Z',
  ...changes,
});
const firing = (...alerts: readonly Alert[]) => new Map(alerts.map((one) => [one.fingerprint, one]));
const bracket = { minMs: 10, maxMs: 20 };
const namesOf = (before: ReturnType<typeof firing>, now: ReturnType<typeof firing>): readonly string[] =>
  alertChanges(before, now, bracket).map(({ name, subject }) => `${name} ${subject}`);

describe('what changed between two looks at the alerts', () => {
  it('is what was not shown and now is, what was and is no more, and what began anew in between', () => {
    expect(namesOf(firing(), firing(alert('A')))).toEqual(['alert.fired A']);
    expect(namesOf(firing(alert('A'), alert('B')), firing(alert('B')))).toEqual(['alert.resolved A']);
    expect(namesOf(firing(alert('A')), firing(alert('A', { startsAt: '2026-01-01T00:01:00Z' })))).toEqual([
      'alert.resolved A',
      'alert.fired A',
    ]);
    expect(namesOf(firing(alert('A')), firing(alert('A')))).toEqual([]);
  });

  it('carries its bracket, its labels and who hears of it', () => {
    const one = alert('A', {
      labels: { alertname: 'A', region: 'west', severity: 'critical' },
      receivers: ['dba', 'page'],
    });
    expect(alertChanges(firing(), firing(one), bracket)[0]).toMatchObject({
      ...bracket,
      data: { receiver: 'dba page', region: 'west', labels: 'region=west severity=critical' },
    });
  });
});

let close: () => void = () => undefined;
afterEach(() => close());

describe('the alerts of an Alertmanager', () => {
  it('are followed over HTTP; while it does not answer, nobody says that nothing fires', async () => {
    let alerts: FiringAlerts = new Map();
    let isOut = false;
    const server = http.createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://lab');
      const state = { rules: documentedRules, startedAtMs: 0, nowMs: 0, resolveAfterMs: 1, generatorUrl: 'http://x' };
      const answer = answerAlertmanager('GET', url.pathname, url.searchParams, { ...state, firing: alerts });
      if (isOut) response.writeHead(502).end('<html>');
      else response.writeHead(answer?.status ?? 404).end(JSON.stringify(answer?.body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const stop = new AbortController();
    close = () => {
      stop.abort();
      server.close();
      server.closeAllConnections();
    };
    const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const ports = { alerts: () => createAlertsPort(baseUrl) } as Partial<Ports> as Ports;
    const session = { clock, environment: smallEnvironment, timeScale: 30, ports, identity: 'test', faults: [] };
    const seen: Observation[] = [];
    const lost: string[] = [];
    const watching = alertsObserver.watch(
      session,
      stop.signal,
      (one) => void seen.push(one),
      (_name, message) => void lost.push(message),
    );
    const until = (look: () => boolean): Promise<true> =>
      poll(clock, 10, AbortSignal.timeout(20_000), async () => (look() ? (true as const) : undefined));

    await until(() => seen.length === 1);
    expect(seen[0]).toMatchObject({ name: 'alert.watched', data: { firing: '' } });
    const beforeMs = clock.monotonicMs();
    const reading = { metric: 'health_check_failures', labels: { region: 'west' }, value: 4 } as const;
    alerts = evaluate(documentedRules, [reading], alerts, 0).firing;
    const afterMs = clock.monotonicMs();
    await until(() => seen.length === 2);
    expect(seen[1]).toMatchObject({
      name: 'alert.fired',
      subject: 'RegionDown',
      data: { receiver: 'page', region: 'west' },
    });
    expect(seen[1]?.minMs).toBeLessThanOrEqual(afterMs);
    expect(seen[1]?.maxMs).toBeGreaterThanOrEqual(beforeMs);

    isOut = true;
    await until(() => lost.length > 0);
    expect(lost[0]).toContain('does not say what fires: it answered 502');
    expect(seen.length).toBe(2);
    isOut = false;
    await until(() => seen.length === 3);
    expect(seen[2]?.name).toBe('alert.unseen');
    expect(seen[2]?.maxMs).toBeGreaterThan(seen[2]?.minMs ?? Number.NaN);
    alerts = new Map();
    await until(() => seen.length === 4);
    expect(seen[3]).toMatchObject({ name: 'alert.resolved', subject: 'RegionDown' });
    stop.abort();
    await watching;
  });

  it('refuse with one line what and one line what to do when there is nobody', async () => {
    const port = createAlertsPort('http://127.0.0.1:9');
    await expect(port.firing(AbortSignal.timeout(5000))).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: expect.stringContaining('does not say what fires'),
      hint: expect.stringContaining('addresses.alertmanager'),
    });
    port.close();
  });
});
