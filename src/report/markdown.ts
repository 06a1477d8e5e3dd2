import { formatDuration } from '../core/duration.ts';
import type { Report } from './model.ts';
import {
  boundText,
  bracketText,
  figureText,
  instantText,
  observedText,
  percentText,
  phaseText,
  scaleText,
  seconds,
} from './text.ts';

/** Text that stays inside its table cell. */
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ').trim();

const table = (headings: readonly string[], rows: readonly (readonly string[])[]): readonly string[] => [
  `| ${headings.map(cell).join(' | ')} |`,
  `| ${headings.map(() => '---').join(' | ')} |`,
  ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`),
];

const section = (title: string, lines: readonly string[]): readonly string[] =>
  lines.length === 0 ? [] : ['', `## ${title}`, '', ...lines];

const headOf = (report: Report): readonly string[] => {
  const { run } = report;
  const phase = phaseText(report);
  const versions = Object.entries(run.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `# ${run.title}: ${report.verdict}`,
    '',
    report.reason,
    '',
    `${report.certifies}`,
    '',
    ...table(
      ['run', 'value'],
      [
        ['id', run.id],
        [run.kind, run.name],
        ['environment', run.environment],
        ['started', run.startedAt],
        ['time', scaleText(run.timeScale)],
        ['seed', String(run.seed)],
        ...(phase === undefined ? [] : [['phase', phase]]),
        ['versions', versions.join(', ')],
        ['ended', run.ended.message === null ? run.ended.reason : `${run.ended.reason}: ${run.ended.message}`],
      ],
    ),
  ];
};

const targetRows = (report: Report): readonly string[] => {
  const judged = report.targets.filter(({ verdict }) => verdict !== 'NOT MEASURED');
  if (judged.length === 0) return [];
  const isScaled = report.run.timeScale !== 1;
  const headings = [
    'target',
    'promise',
    'documented',
    'bound',
    'observed',
    ...(isScaled ? ['in real time'] : []),
    'verdict',
    'where',
  ];
  return table(
    headings,
    judged.map((target) => [
      target.id,
      target.documented.promise,
      `${target.documented.text} (${target.documented.source})`,
      boundText(target),
      observedText(target),
      ...(isScaled ? [target.real === null ? '-' : bracketText(target.real)] : []),
      `**${target.verdict}**`,
      target.location ?? '',
    ]),
  );
};

const alsoLines = (target: Report['targets'][number]): readonly string[] =>
  target.documented.also.map(
    ({ text, maxMs, source, verdict }) => `- against ${formatDuration(maxMs)} ("${text}", ${source}): ${verdict}`,
  );

const targetDetails = (report: Report): readonly string[] =>
  report.targets
    .filter(({ verdict }) => verdict !== 'NOT MEASURED')
    .flatMap((target) => [
      `### ${target.id}`,
      '',
      `${target.verdict}: ${target.reason}.`,
      '',
      ...alsoLines(target),
      ...target.locations.map(
        ({ location, verdict, observed }) =>
          `- ${location}: ${bracketText(observed)}${verdict === null ? '' : `, ${verdict}`}`,
      ),
      ...target.figures.map((figure) => `- ${figureText(figure)}`),
      ...target.notes.map((note) => `- ${note}`),
      '',
    ]);

const notMeasured = (report: Report): readonly string[] =>
  report.targets
    .filter(({ verdict }) => verdict === 'NOT MEASURED')
    .map((target) => `- **${target.id}** (${target.documented.promise}; ${target.documented.text}): ${target.reason}`);

const outageRows = (report: Report): readonly string[] => {
  if (report.outages.length === 0) return ['No outage opened on any stream.'];
  return table(
    ['stream', 'began', 'kind', 'clients (what users had)', 'interruption (what was broken)', 'flaps', 'recovery'],
    report.outages.map((outage) => [
      outage.stream,
      seconds(outage.startMs),
      outage.kind,
      bracketText(outage.client),
      bracketText(outage.interruption),
      String(outage.flaps),
      outage.confirmed ? 'confirmed' : 'not confirmed',
    ]),
  );
};

const instantTitles = {
  faultEffective: 'fault effective',
  firstImpact: 'first client impact',
  detected: 'detected',
  decided: 'decided, or failover begun',
  newAuthority: 'new primary acknowledged a write',
  routeChanged: 'route published',
  firstGood: 'first good answer',
  stable: 'stable',
  redundant: 'redundancy restored',
} as const;

const durationTitles = {
  outage: 'outage (first impact to stable)',
  sinceFault: 'fault effective to stable',
  detect: 'time to detect',
  failOver: 'detected to new primary',
  propagate: 'route published to first good',
  settle: 'first good to stable',
  redundancy: 'stable to redundant',
} as const;

const decompositionLines = (report: Report): readonly string[] =>
  report.decomposition.flatMap((one) => [
    `### ${one.location} (${one.stream})`,
    '',
    ...table(
      ['instant', 'since the start'],
      Object.entries(instantTitles).map(([name, title]) => [
        title,
        instantText(one.instants[name as keyof typeof instantTitles]),
      ]),
    ),
    '',
    ...table(
      ['duration', 'real', 'documented time'],
      Object.entries(durationTitles).flatMap(([name, title]) => {
        const bracket = one.durations[name as keyof typeof durationTitles];
        if (bracket === null) return [];
        const { timeScale } = report.run;
        const documented = {
          estimateMs: bracket.estimateMs * timeScale,
          minMs: bracket.minMs * timeScale,
          maxMs: bracket.maxMs === null ? null : bracket.maxMs * timeScale,
        };
        return [[title, bracketText(bracket), bracketText(documented)]];
      }),
    ),
    '',
  ]);

const timelineMost = 200;

const timelineRows = (report: Report): readonly string[] => {
  const shown = report.timeline.slice(0, timelineMost);
  const rows = shown.map(({ name, subject, source, data, minMs, maxMs }) => [
    instantText({ minMs, maxMs }),
    name,
    subject,
    source,
    Object.entries(data)
      .filter(([key]) => key !== 'uid')
      .map(([key, value]) => `${key} ${value}`)
      .join(', '),
  ]);
  const more = report.timeline.length - shown.length;
  return [
    ...table(['since the start', 'what', 'subject', 'seen by', 'details'], rows),
    ...(more > 0 ? ['', `${more} more events are in report.json.`] : []),
  ];
};

const valueText = (value: number | null, unit: string): string => {
  if (value === null) return '-';
  if (unit === 'ms') return formatDuration(value);
  return unit === 'share' ? percentText(value) : `${Number(value.toFixed(3))}${unit === 'cores' ? ' cores' : ''}`;
};

const instrumentRows = ({ instrument }: Report): readonly string[] => [
  instrument.trusted
    ? 'No self-check tripped.'
    : 'Self-checks tripped; their effect is in the brackets where it can be.',
  '',
  ...table(
    ['check', 'location', 'value', 'limit', ''],
    instrument.checks.map(({ name, location, value, limit, unit, tripped }) => [
      name,
      location ?? '',
      valueText(value, unit),
      valueText(limit, unit),
      tripped ? '**tripped**' : '',
    ]),
  ),
];

/** The least and the most that confirms: `365 (0 bad) to 717 (2 bad)`. */
const windowText = (looks: Report['streams'][number]['window']): string => {
  const ends = [...new Set([looks[0], looks.at(-1)])].flatMap((look) => look ?? []);
  return ends.map(({ probes, toleratedBad }) => `${probes} (${toleratedBad} bad)`).join(' to ');
};

const streamRows = (report: Report): readonly string[] =>
  table(
    [
      'stream',
      'spacing',
      'sent',
      'good',
      'slow',
      'bad',
      'dropped',
      'unknown',
      'p50',
      'p95',
      'window',
      'blind',
      'may hide',
      'surely found from',
    ],
    report.streams.map((one) => [
      one.stream,
      formatDuration(one.everyMs),
      String(one.probes.sent),
      String(one.probes.good),
      String(one.probes.slow),
      String(one.probes.bad),
      String(one.probes.dropped),
      String(one.probes.unknown),
      one.latency === null ? '-' : formatDuration(one.latency.p50Ms),
      one.latency === null ? '-' : formatDuration(one.latency.p95Ms),
      windowText(one.window),
      formatDuration(one.blindMs),
      formatDuration(one.hiddenMs),
      formatDuration(one.floor.outageMs),
    ]),
  );

type StoreLoss = Report['dataLoss']['stores'][number];

const documentedBracket = (bracket: StoreLoss['handovers'][number]['rpo'], timeScale: number) => ({
  estimateMs: bracket.estimateMs * timeScale,
  minMs: bracket.minMs * timeScale,
  maxMs: bracket.maxMs === null ? null : bracket.maxMs * timeScale,
});

const storeLines = (one: StoreLoss, timeScale: number): readonly string[] => {
  const { writes, power, handovers, copies, splitBrain } = one;
  const smallest = power?.smallestLossMs == null ? 'unknown' : formatDuration(power.smallestLossMs);
  const odd = (['lostWeak', 'resurrected', 'phantom', 'duplicate', 'neverRead', 'vanished', 'holes'] as const).filter(
    (key) => one[key] > 0,
  );
  return [
    `### ${one.ledger}`,
    '',
    `${writes.acknowledged} writes acknowledged, ${writes.failed} refused, ${writes.unknown} unknown; of the ` +
      `acknowledged **${one.lost} lost**, of the unknown ${one.recovered} there and ${one.indeterminate} not.`,
    ...odd.map((key) => `- ${key}: ${one[key]}`),
    ...one.missing.map((text) => `- not known: ${text}`),
    ...(power === null
      ? []
      : [`- the smallest loss it would have seen: ${smallest} (${power.atRisk} writes at risk in the last second)`]),
    ...(splitBrain.overlap === null
      ? []
      : [
          `- **split brain**: two primaries acknowledged for ${bracketText(splitBrain.overlap)}; the old one ` +
            `${splitBrain.dualAcknowledged} writes, of which ${splitBrain.divergent} are lost`,
        ]),
    '',
    ...(handovers.length === 0
      ? []
      : table(
          ['authority', 'acknowledged', 'lost', 'a mere tail', 'RPO', 'in documented time', 'its end is known by'],
          handovers.map((handover) => [
            handover.epoch,
            String(handover.acknowledged),
            String(handover.lost),
            handover.isPrefix ? 'yes' : '**no**',
            bracketText(handover.rpo),
            bracketText(documentedBracket(handover.rpo, timeScale)),
            handover.endKnownBy,
          ]),
        )),
    '',
    ...(copies.length === 0
      ? []
      : table(
          ['copy', 'writes seen there', 'longest lag', 'in documented time'],
          copies.map(({ copy, writes: seen, longest }) => [
            copy,
            String(seen),
            bracketText(longest),
            bracketText(documentedBracket(longest, timeScale)),
          ]),
        )),
    '',
  ];
};

const dataLossLines = ({ dataLoss, run }: Report): readonly string[] => {
  const { stores, consistentCut } = dataLoss;
  if (stores.length === 0) return [];
  const cut =
    consistentCut === null
      ? []
      : [
          `All stores together (${consistentCut.ledgers.join(', ')}): joint RPO ` +
            `${bracketText(documentedBracket(consistentCut.rpo, run.timeScale))} of documented time.`,
          ...consistentCut.dangling.map(
            ({ kept, without, count }) => `- ${count} records of ${kept} without their counterpart in ${without}`,
          ),
        ];
  return [...stores.flatMap((store) => storeLines(store, run.timeScale)), ...cut];
};

const undoLines = ({ undo }: Report): readonly string[] => [
  `${undo.armed} armed, ${undo.reverted} put back, ${undo.outstanding.length} outstanding.`,
  ...undo.outstanding.map(({ fault, target, reason }) => `- **${fault} on ${target}**: ${reason}`),
];

/** The report as a reliability engineer reads it. */
export const renderMarkdown = (report: Report): string => {
  const baseline = report.baseline === null ? [] : [report.baseline.reason];
  const lines = [
    ...headOf(report),
    ...section('Targets', targetRows(report)),
    ...section('Not measured, and why', notMeasured(report)),
    ...section(
      'What the documentation contradicts',
      report.contradictions.map((text) => `- ${text}`),
    ),
    ...section('Outages', outageRows(report)),
    ...section('Data', dataLossLines(report)),
    ...section('Where the time went', decompositionLines(report)),
    ...section('Targets in detail', targetDetails(report)),
    ...section('Timeline', timelineRows(report)),
    ...section('Baseline', baseline),
    ...section('Streams', streamRows(report)),
    ...section('Instrument', instrumentRows(report)),
    ...section('Rollback', undoLines(report)),
    '',
    'Durations are given as estimate [least, most]: the truth lies between the two. How they are computed is in',
    '`docs/measurement.md`; the raw samples and the journal beside this file let anybody compute them again.',
  ];
  return `${lines.join('\n').replaceAll(/\n{3,}/g, '\n\n')}\n`;
};
