import type { Labels } from './exposition.ts';
import type { Firing, FiringAlerts, Rule } from './rules.ts';

/**
 * The reading half of Alertmanager's API (v2, `api/v2/openapi.yaml` of prometheus/alertmanager), so that what works on
 * the lab works on the real one. Nothing can be posted or silenced here.
 */
export interface AlertmanagerState {
  readonly rules: readonly Rule[];
  readonly firing: FiringAlerts;
  /** Wall clock, for people. */
  readonly startedAtMs: number;
  readonly nowMs: number;
  /** How long an alert is taken to last that nobody speaks of any more. */
  readonly resolveAfterMs: number;
  readonly generatorUrl: string;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

interface GettableAlert {
  readonly annotations: Labels;
  readonly endsAt: string;
  readonly fingerprint: string;
  readonly receivers: readonly { readonly name: string }[];
  readonly startsAt: string;
  readonly status: {
    readonly inhibitedBy: readonly string[];
    readonly mutedBy: readonly string[];
    readonly silencedBy: readonly string[];
    readonly state: 'active' | 'suppressed' | 'unprocessed';
  };
  readonly updatedAt: string;
  readonly generatorURL: string;
  readonly labels: Labels;
}

const offset = 0xcbf29ce484222325n;
const prime = 0x100000001b3n;
const wordMask = 0xffffffffffffffffn;

/** Prometheus's fingerprint of a label set: FNV-1a (64 bits) over its sorted names and values, each ended by 0xff. */
export const fingerprintOf = (labels: Labels): string => {
  let hash = offset;
  const add = (byte: number): void => {
    hash = ((hash ^ BigInt(byte)) * prime) & wordMask;
  };
  for (const name of Object.keys(labels).toSorted()) {
    for (const word of [name, labels[name] ?? '']) {
      for (const byte of Buffer.from(word)) add(byte);
      add(0xff);
    }
  }
  return hash.toString(16).padStart(16, '0');
};

export const alertLabels = ({ rule, labels }: Firing): Labels => ({
  alertname: rule.name,
  ...labels,
  severity: rule.severity,
});

const instant = (atMs: number): string => new Date(atMs).toISOString();

const alertOf = (firing: Firing, { resolveAfterMs, generatorUrl }: AlertmanagerState): GettableAlert => {
  const labels = alertLabels(firing);
  const { rule, value } = firing;
  return {
    annotations: { description: `${rule.metric} is ${Number(value.toPrecision(4))}`, summary: rule.summary },
    endsAt: instant(firing.updatedAtMs + resolveAfterMs),
    fingerprint: fingerprintOf(labels),
    receivers: [{ name: rule.receiver }],
    startsAt: instant(firing.startedAtMs),
    status: { inhibitedBy: [], mutedBy: [], silencedBy: [], state: 'active' },
    updatedAt: instant(firing.updatedAtMs),
    generatorURL: generatorUrl,
    labels,
  };
};

type Test = (labels: Labels) => boolean;

const whole = (pattern: string): RegExp => new RegExp(`^(?:${pattern})$`);

/** `name="value"` and its kin; `undefined` when it is no matcher. */
const matcherOf = (text: string): Test | undefined => {
  const found = /^\s*\{?\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"?(.*?)"?\s*\}?\s*$/.exec(text);
  if (found === null) return undefined;
  const [, name = '', operator, wanted = ''] = found;
  const labelOf = (labels: Labels): string => labels[name] ?? '';
  if (operator === '=') return (labels) => labelOf(labels) === wanted;
  if (operator === '!=') return (labels) => labelOf(labels) !== wanted;
  const pattern = whole(wanted);
  return (labels) => pattern.test(labelOf(labels)) === (operator === '=~');
};

const selected = (state: AlertmanagerState, query: URLSearchParams): readonly GettableAlert[] | string => {
  try {
    const tests = query.getAll('filter').map((text) => matcherOf(text) ?? `bad matcher format: ${text}`);
    const bad = tests.find((test) => typeof test === 'string');
    if (bad !== undefined) return bad;
    const receiver = whole(query.get('receiver') ?? '.*');
    if (query.get('active') === 'false') return [];
    return [...state.firing.values()]
      .map((firing) => alertOf(firing, state))
      .filter(({ labels }) => tests.every((test) => typeof test === 'string' || test(labels)))
      .filter(({ receivers }) => receivers.some(({ name }) => receiver.test(name)))
      .toSorted((one, other) => (one.fingerprint < other.fingerprint ? -1 : 1));
  } catch (error) {
    if (error instanceof SyntaxError) return error.message;
    throw error;
  }
};

const groupsOf = (alerts: readonly GettableAlert[], rules: readonly Rule[]): readonly unknown[] =>
  [...new Set(rules.map(({ receiver }) => receiver))].flatMap((name) => {
    const mine = alerts.filter(({ receivers }) => receivers.some((receiver) => receiver.name === name));
    return mine.length === 0 ? [] : [{ alerts: mine, labels: {}, receiver: { name } }];
  });

/** Alertmanager's configuration as far as this has one: who hears of which alert. */
const configOf = (rules: readonly Rule[]): string =>
  [
    'route:',
    '  receiver: page',
    '  routes:',
    ...rules.flatMap(({ name, receiver }) => [
      `    - receiver: ${receiver}`,
      '      matchers:',
      `        - alertname="${name}"`,
    ]),
    'receivers:',
    ...[...new Set(rules.map(({ receiver }) => receiver))].map((name) => `  - name: ${name}`),
    '',
  ].join('\n');

const statusOf = ({ rules, startedAtMs }: AlertmanagerState): unknown => ({
  cluster: { peers: [], status: 'disabled' },
  config: { original: configOf(rules) },
  uptime: instant(startedAtMs),
  versionInfo: {
    branch: 'lab',
    buildDate: '',
    buildUser: 'blackstart',
    goVersion: '',
    revision: '',
    version: '0.0.0-lab',
  },
});

/** The answer to a request under `/api/v2`; `undefined` for a path that Alertmanager does not have. */
export const answerAlertmanager = (
  method: string,
  pathname: string,
  query: URLSearchParams,
  state: AlertmanagerState,
): ApiAnswer | undefined => {
  const ok = (body: unknown): ApiAnswer => ({ status: 200, body });
  const listed = (wrap: (alerts: readonly GettableAlert[]) => unknown): ApiAnswer => {
    const alerts = selected(state, query);
    return typeof alerts === 'string' ? { status: 400, body: alerts } : ok(wrap(alerts));
  };
  const answers: Readonly<Record<string, () => ApiAnswer>> = {
    '/api/v2/status': () => ok(statusOf(state)),
    '/api/v2/receivers': () => ok([...new Set(state.rules.map(({ receiver }) => receiver))].map((name) => ({ name }))),
    '/api/v2/silences': () => ok([]),
    '/api/v2/alerts': () => listed((alerts) => alerts),
    '/api/v2/alerts/groups': () => listed((alerts) => groupsOf(alerts, state.rules)),
  };
  const answer = Object.hasOwn(answers, pathname) ? answers[pathname] : undefined;
  if (answer === undefined) return undefined;
  if (method === 'GET') return answer();
  return { status: 405, body: { code: 405, message: `method ${method} is not allowed, but [GET] are` } };
};
