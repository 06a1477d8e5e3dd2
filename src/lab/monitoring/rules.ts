import type { Labels } from './exposition.ts';

/** The platform's documented alerts, and what turns readings into alerts that fire and resolve. Pure. */
export type MetricName = 'error_rate_5m' | 'p95_latency_seconds' | 'health_check_failures' | 'replication_lag_seconds';

export interface Rule {
  readonly name: string;
  readonly metric: MetricName;
  /** It fires while the reading is above this. Lag counts documented seconds, latency real ones. */
  readonly above: number;
  readonly receiver: 'page' | 'slack' | 'dba';
  readonly severity: 'critical' | 'warning';
  readonly summary: string;
}

/** "SLO-based Alerts", and the page of "Scenario 3: Database Split Brain". None of them states a `for`. */
export const documentedRules: readonly Rule[] = [
  {
    name: 'HighErrorRate',
    metric: 'error_rate_5m',
    above: 0.01,
    receiver: 'page',
    severity: 'critical',
    summary: 'More than 1% errors',
  },
  {
    name: 'HighLatency',
    metric: 'p95_latency_seconds',
    above: 0.7,
    receiver: 'slack',
    severity: 'warning',
    summary: 'p95 TTFT > 700ms',
  },
  {
    name: 'RegionDown',
    metric: 'health_check_failures',
    above: 3,
    receiver: 'page',
    severity: 'critical',
    summary: 'More than 3 failed health checks',
  },
  {
    name: 'DatabaseLagHigh',
    metric: 'replication_lag_seconds',
    above: 30,
    receiver: 'dba',
    severity: 'warning',
    summary: 'Replication lag > 30 seconds',
  },
  {
    name: 'DatabaseLagCritical',
    metric: 'replication_lag_seconds',
    above: 120,
    receiver: 'page',
    severity: 'critical',
    summary: 'Replication lag > 2 minutes',
  },
];

/** `null`: there is nothing to measure, such as the lag of a primary. What could not be read has no reading at all. */
export interface Reading {
  readonly metric: MetricName;
  readonly labels: Labels;
  readonly value: number | null;
}

export interface Firing {
  readonly rule: Rule;
  readonly labels: Labels;
  readonly value: number;
  /** Wall clock, for people. */
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
}

/** By rule and labels. */
export type FiringAlerts = ReadonlyMap<string, Firing>;

export interface Evaluation {
  readonly firing: FiringAlerts;
  readonly fired: readonly Firing[];
  readonly resolved: readonly Firing[];
}

const keyOf = (rule: Rule, labels: Labels): string => `${rule.name} ${JSON.stringify(Object.entries(labels).sort())}`;

/**
 * One evaluation of all rules. An alert whose value cannot be read keeps its state: silence of a target must neither
 * raise an alert nor withdraw one.
 */
export const evaluate = (
  rules: readonly Rule[],
  readings: readonly Reading[],
  before: FiringAlerts,
  nowMs: number,
): Evaluation => {
  const firing = new Map(before);
  const fired: Firing[] = [];
  const resolved: Firing[] = [];
  for (const rule of rules) {
    for (const { metric, labels, value } of readings) {
      if (metric !== rule.metric || Number.isNaN(value)) continue;
      const key = keyOf(rule, labels);
      const known = firing.get(key);
      if (value !== null && value > rule.above) {
        const next = { rule, labels, value, startedAtMs: known?.startedAtMs ?? nowMs, updatedAtMs: nowMs };
        firing.set(key, next);
        if (known === undefined) fired.push(next);
      } else if (known !== undefined) {
        firing.delete(key);
        resolved.push(known);
      }
    }
  }
  return { firing, fired, resolved };
};
