import { stripVTControlCharacters, styleText } from 'node:util';
import type { Report } from './model.ts';
import { boundText, bracketText, observedText, scaleText } from './text.ts';

export interface TableOptions {
  /** Columns of the terminal. */
  readonly width: number;
  readonly color: boolean;
}

type Format = Parameters<typeof styleText>[0];

const colors: Readonly<Record<string, Format>> = {
  PASS: 'green',
  FAIL: ['red', 'bold'],
  INCONCLUSIVE: 'yellow',
  VOID: 'yellow',
  'NOT MEASURED': 'gray',
};

const widthOf = (text: string): number => [...stripVTControlCharacters(text)].length;
const padded = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - widthOf(text)));

/** Breaks text at spaces into lines of at most `width`; a longer word is cut. */
export const wrapped = (text: string, width: number): readonly string[] => {
  const room = Math.max(1, width);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/).flatMap((one) => cut(one, room))) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) > room) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
};

const cut = (word: string, room: number): readonly string[] => {
  const letters = [...word];
  const pieces: string[] = [];
  for (let start = 0; start < letters.length; start += room) pieces.push(letters.slice(start, start + room).join(''));
  return pieces.length === 0 ? [''] : pieces;
};

const headings = ['target', 'documented', 'observed', 'verdict', 'where'] as const;

const rowsOf = (report: Report): readonly (readonly string[])[] =>
  report.targets.map((target) => [
    target.id,
    boundText(target),
    observedText(target),
    target.verdict,
    target.location ?? '',
  ]);

/** Columns that need no more than they have; what is left over goes to the observed and the documented one. */
const columnWidths = (rows: readonly (readonly string[])[], width: number): readonly number[] => {
  const needed = headings.map((heading, index) =>
    Math.max(widthOf(heading), ...rows.map((row) => widthOf(row[index] ?? ''))),
  );
  const widths = [...needed];
  const total = (): number => widthOfRow(widths);
  for (const [index, least] of [
    [1, 12],
    [2, 16],
    [0, 12],
    [4, 6],
  ] as const) {
    const excess = total() - width;
    if (excess > 0) widths[index] = Math.max(Math.min(least, widths[index] ?? 0), (widths[index] ?? 0) - excess);
  }
  return widths;
};

const colored = (text: string, verdict: string, color: boolean): string => {
  const format = colors[verdict];
  return color && format !== undefined ? styleText(format, text, { validateStream: false }) : text;
};

const lineOf = (
  row: readonly string[],
  widths: readonly number[],
  paint: (text: string, column: number) => string,
): readonly string[] => {
  const cells = row.map((text, column) => wrapped(text, widths[column] ?? 1));
  const height = Math.max(...cells.map((cell) => cell.length));
  return Array.from({ length: height }, (_, line) =>
    cells
      .map((cell, column) => paint(padded(cell[line] ?? '', widths[column] ?? 0), column))
      .join('  ')
      .trimEnd(),
  );
};

const widthOfRow = (widths: readonly number[]): number =>
  widths.reduce((sum, one) => sum + one, 2 * (widths.length - 1));

/** Rows one under the other, for a terminal too narrow for columns. */
const listed = (row: readonly string[], width: number): readonly string[] => {
  const [id = '', bound = '', observed = '', verdict = '', where = ''] = row;
  const text = `${id}: ${verdict}, ${observed} (${bound})${where === '' ? '' : ` at ${where}`}`;
  return wrapped(text, width - 2).map((line, index) => (index === 0 ? line : `  ${line}`));
};

/** Lines under the table: what a number alone does not say. */
const remarksOf = (report: Report, width: number): readonly string[] => {
  const loud = report.targets.filter(({ verdict }) => verdict !== 'PASS');
  const reasons = loud.map((target) => `${target.id}: ${target.reason}`);
  const scale =
    report.run.timeScale === 1 || report.targets.length === 0
      ? []
      : [`Times are documented time (${scaleText(report.run.timeScale)}).`];
  const tripped = report.instrument.checks.filter((check) => check.tripped);
  const where = (location: string | null): string => (location === null ? '' : ` (${location})`);
  const trips = tripped.map(({ name, location }) => `${name}${where(location)}`);
  const left = report.undo.outstanding.map(
    ({ fault, target, reason }) => `NOT PUT BACK: ${fault} on ${target}: ${reason}`,
  );
  return [
    ...scale,
    ...reasons,
    ...report.contradictions.map((text) => `The documentation: ${text}`),
    ...(trips.length > 0 ? [`The instrument's own checks tripped: ${trips.join(', ')}.`] : []),
    ...left,
  ].flatMap((text) => wrapped(text, width - 2).map((line, index) => (index === 0 ? line : `  ${line}`)));
};

/** Outages on their own, where no target is judged. */
const outageLines = (report: Report, width: number): readonly string[] => {
  if (report.targets.length > 0) return [];
  if (report.outages.length === 0) return ['No outage was seen.'];
  return report.outages.flatMap((outage) =>
    wrapped(
      `${outage.startedAt} ${outage.stream} ${outage.kind}: clients ${bracketText(outage.client)}, interruption ` +
        `${bracketText(outage.interruption)}${outage.flaps > 0 ? `, ${outage.flaps} flaps` : ''}`,
      width,
    ),
  );
};

/** The result as a terminal shows it: one row per target, then what needs saying. Ends with a newline. */
export const renderTable = (report: Report, { width, color }: TableOptions): string => {
  const room = Math.max(40, width);
  const rows = rowsOf(report);
  const widths = columnWidths(rows, room);
  const bold = (text: string): string => (color ? styleText('bold', text, { validateStream: false }) : text);
  const paintOf = (row: readonly string[]) => (text: string, column: number) =>
    column === 3 ? colored(text, row[3] ?? '', color) : text;
  const inColumns = () => [
    ...lineOf(headings, widths, bold),
    ...rows.flatMap((row) => lineOf(row, widths, paintOf(row))),
    '',
  ];
  const inList = () => [...rows.flatMap((row) => listed(row, room)), ''];
  const table = rows.length === 0 ? [] : widthOfRow(widths) > room ? inList() : inColumns();
  const verdict = `${colored(report.verdict, report.verdict, color)}: ${report.reason}`;
  const lines = [
    bold(`${report.run.name} on ${report.run.environment}`),
    '',
    ...table,
    ...outageLines(report, room),
    ...remarksOf(report, room),
    '',
    ...wrapped(verdict, room),
    ...wrapped(report.certifies, room),
  ];
  return `${lines.join('\n')}\n`;
};
