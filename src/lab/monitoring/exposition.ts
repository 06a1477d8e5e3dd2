/** The text format in which Prometheus reads metrics (exposition format 0.0.4): written here, and read back. */
export const expositionType = 'text/plain; version=0.0.4; charset=utf-8';

export type Labels = Readonly<Record<string, string>>;

export interface MetricSample {
  readonly name: string;
  readonly labels: Labels;
  readonly value: number;
}

/** A metric with its samples; those of a histogram carry the endings `_bucket`, `_sum` and `_count`. */
export interface Metric {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly samples: readonly MetricSample[];
}

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

const unescaped = (text: string): string =>
  text.replaceAll(/\\(.)/gs, (_whole, letter: string) => (letter === 'n' ? '\n' : letter));

const numberText = (value: number): string => {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
};

const parseNumber = (text: string): number => {
  if (/^\+?inf$/i.test(text)) return Number.POSITIVE_INFINITY;
  if (/^-inf$/i.test(text)) return Number.NEGATIVE_INFINITY;
  return Number(text);
};

const lineOf = ({ name, labels, value }: MetricSample): string => {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${numberText(value)}`;
};

export const renderMetrics = (metrics: readonly Metric[]): string =>
  metrics
    .map(({ name, type, help, samples }) =>
      [
        `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
        `# TYPE ${name} ${type}`,
        ...samples.map(lineOf),
        '',
      ].join('\n'),
    )
    .join('');

const sampleForm = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$/s;
const labelForm = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*,?/gs;

/** Every sample of a text in this format. Throws at a line that is neither a sample nor a comment. */
export const parseMetrics = (text: string): readonly MetricSample[] =>
  text.split('\n').flatMap((raw) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return [];
    const [whole, name = '', pairs = '', number = ''] = sampleForm.exec(line) ?? [];
    const value = parseNumber(number);
    if (whole === undefined || (Number.isNaN(value) && number !== 'NaN')) throw new Error(`no metric: ${line}`);
    const labels: Record<string, string> = {};
    for (const [, key = '', quoted = ''] of pairs.matchAll(labelForm)) labels[key] = unescaped(quoted);
    return [{ name, labels, value }];
  });
