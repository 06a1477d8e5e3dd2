import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { Component, ComponentContext } from '../component.ts';
import { type LabLayout, scaled } from '../layout.ts';
import { HttpError, pathOf, sendJson, serve } from '../platform/http.ts';
import { markUsed } from '../used.ts';
import { alertLabels, answerAlertmanager } from './alertmanager.ts';
import { expositionType, type Metric, type MetricSample, renderMetrics } from './exposition.ts';
import { createHeartbeats } from './heartbeats.ts';
import { createIncreases, histogramQuantile, type Increases } from './increases.ts';
import { firstTokenMetric, requestsMetric } from './request-metrics.ts';
import { documentedRules, evaluate, type FiringAlerts, type MetricName, type Reading } from './rules.ts';
import { beat, createTargets, type Targets } from './scrape.ts';

/** Documented time: the "5m" of the error rate, and how long Alertmanager believes in an alert. */
const windowMs = 5 * 60_000;
const resolveAfterMs = 5 * 60_000;
/** Share of the interval for which an evaluation waits for the scrapes of its turn; slower ones count in the next. */
const patienceShare = 0.5;

const isFailure = ({ labels }: MetricSample): boolean => labels['outcome'] === 'failed';
const sum = (samples: readonly MetricSample[]): number => samples.reduce((total, { value }) => total + value, 0);

/**
 * What the requests of the window say. Without any there is nothing to measure, as far as the gateways could be asked;
 * when none of them could, nothing is known.
 */
export const requestReadings = (increases: readonly MetricSample[], isScraped: boolean): readonly Reading[] => {
  const requests = increases.filter(({ name }) => name === requestsMetric);
  const total = sum(requests);
  const buckets = increases
    .filter(({ name }) => name === `${firstTokenMetric}_bucket`)
    .map(({ labels, value }) => ({
      upTo: labels['le'] === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels['le']),
      count: value,
    }));
  const p95 = histogramQuantile(0.95, buckets);
  const readings: readonly Reading[] = [
    { metric: 'error_rate_5m', labels: {}, value: total === 0 ? null : sum(requests.filter(isFailure)) / total },
    { metric: 'p95_latency_seconds', labels: {}, value: p95 ?? null },
  ];
  return readings.filter(({ value }) => value !== null || isScraped);
};

const helpOf: Readonly<Record<MetricName, string>> = {
  error_rate_5m: 'Share of chat requests that failed in the last 5 minutes (documented time).',
  p95_latency_seconds: 'p95 of the time to first token in the last 5 minutes (documented time), in real seconds.',
  health_check_failures: 'Consecutive failed health checks of a region, as GeoDNS counts them.',
  replication_lag_seconds: 'Least lag of a replica by heartbeat, in documented seconds.',
};

interface State {
  readings: readonly Reading[];
  firing: FiringAlerts;
  evaluations: number;
}

const gauge = (name: string, help: string, samples: readonly Omit<MetricSample, 'name'>[]): Metric => ({
  name,
  type: 'gauge',
  help,
  samples: samples.map((one) => ({ name, ...one })),
});

const counter = (name: string, help: string, value: number): Metric => ({
  name,
  type: 'counter',
  help,
  samples: [{ name, labels: {}, value }],
});

const metricsOf = (state: State, targets: Targets): readonly Metric[] => {
  const { user, system } = process.cpuUsage();
  const names = Object.keys(helpOf) as MetricName[];
  return [
    ...names.map((name) =>
      gauge(
        name,
        helpOf[name],
        state.readings.flatMap(({ metric, labels, value }) =>
          metric === name && value !== null ? [{ labels, value }] : [],
        ),
      ),
    ),
    gauge(
      'up',
      'Whether the last scrape of a target succeeded.',
      targets.states().map(({ job, instance, up }) => ({ labels: { job, instance }, value: up ? 1 : 0 })),
    ),
    gauge(
      'ALERTS',
      'Alerts that fire.',
      [...state.firing.values()].map((firing) => ({
        labels: { ...alertLabels(firing), alertstate: 'firing' },
        value: 1,
      })),
    ),
    counter('monitoring_evaluations_total', 'Evaluations of the alert rules.', state.evaluations),
    counter('process_cpu_seconds_total', 'CPU time that monitoring itself took.', (user + system) / 1e6),
  ];
};

const scrapePeriodMs = (layout: LabLayout): number => {
  const { scrapePeriod, scrapeFloor } = layout.settings.monitoring;
  return Math.max(scaled(layout, scrapePeriod), scrapeFloor);
};

/** Scrapes and evaluates on a fixed grid until the signal aborts. */
const watch = async (context: ComponentContext, state: State, targets: Targets, requests: Increases): Promise<void> => {
  const { layout, signal, truth, log } = context;
  const periodMs = scrapePeriodMs(layout);
  const running = new Set<string>();
  const scrapeAll = (): Promise<unknown> => {
    const due = targets.list().filter(({ job, instance }) => !running.has(`${job} ${instance}`));
    return Promise.all(
      due.map(async ({ job, instance, scrape }) => {
        running.add(`${job} ${instance}`);
        await scrape().finally(() => running.delete(`${job} ${instance}`));
      }),
    );
  };
  let dueMs = systemClock.monotonicMs();
  while (!signal.aborted) {
    const patience = new AbortController();
    await Promise.race([
      scrapeAll(),
      systemClock.sleep(periodMs * patienceShare, patience.signal).catch(() => undefined),
    ]);
    patience.abort();
    const atMs = systemClock.monotonicMs();
    const states = targets.states();
    const isScraped = states.some(({ job, up }) => job === 'gateway' && up);
    const scraped = states.flatMap(({ readings }) => readings);
    state.readings = [...requestReadings(requests.over(atMs), isScraped), ...scraped];
    const { firing, fired, resolved } = evaluate(documentedRules, state.readings, state.firing, systemClock.nowMs());
    state.firing = firing;
    state.evaluations += 1;
    for (const [event, alerts] of [
      ['alert.fired', fired],
      ['alert.resolved', resolved],
    ] as const) {
      for (const { rule, labels, value } of alerts) {
        truth(event, rule.name, { atMs, labels, value });
        log(`${event} ${rule.name} ${JSON.stringify(labels)}: ${rule.metric} is ${value}`);
      }
    }
    dueMs = Math.max(dueMs + periodMs, systemClock.monotonicMs());
    await systemClock.sleep(dueMs - systemClock.monotonicMs(), signal).catch(() => undefined);
  }
};

/**
 * The platform's monitoring: it scrapes the gateways, GeoDNS's health checks and the replicas, evaluates the documented
 * alerts, and serves them on Alertmanager's API (v2) and in Prometheus's exposition format.
 */
export const component: Component = {
  kind: 'monitoring',
  async start(context) {
    const { layout, signal, log } = context;
    const startedAtMs = systemClock.nowMs();
    const requests = createIncreases(scaled(layout, windowMs));
    const heartbeats = createHeartbeats();
    const targets = createTargets(context, requests, heartbeats);
    const state: State = { readings: [], firing: new Map(), evaluations: 0 };
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      const { method = 'GET', url = '/' } = request;
      const pathname = pathOf(request);
      if (pathname === '/-/healthy' || pathname === '/-/ready') {
        response.writeHead(200, { 'content-type': 'text/plain' }).end('OK');
        return;
      }
      if (pathname === '/metrics') {
        response.writeHead(200, { 'content-type': expositionType }).end(renderMetrics(metricsOf(state, targets)));
        return;
      }
      const found = answerAlertmanager(method, pathname, new URL(url, 'http://lab').searchParams, {
        rules: documentedRules,
        firing: state.firing,
        startedAtMs,
        nowMs: systemClock.nowMs(),
        resolveAfterMs: scaled(layout, resolveAfterMs),
        generatorUrl: `http://127.0.0.1:${layout.monitoring}/metrics`,
      });
      if (found === undefined) throw new HttpError(404, 'not_found', 'not_found', `there is no ${method} ${pathname}`);
      markUsed(layout.stateDir);
      sendJson(response, found.status, found.body);
    };
    const { port } = await serve(context, layout.monitoring, answer);
    const ended = (what: string) => (error: unknown) => {
      if (!signal.aborted) log(`${what} ended: ${messageOf(error)}`);
    };
    beat(context, heartbeats).catch(ended('the heartbeat'));
    watch(context, state, targets, requests).catch(ended('the evaluation'));
    signal.addEventListener('abort', () => targets.close(), { once: true });
    return { port };
  },
};
