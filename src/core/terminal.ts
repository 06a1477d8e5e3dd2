/** Where a command writes. Results go to standard output, everything else to standard error. */
export interface Terminal {
  /** A line (or several) of the result. */
  out(text: string): void;
  /** A line of diagnostics or progress. */
  note(text: string): void;
  /** A person sits at both ends: questions may be asked, and progress redrawn in place. */
  readonly isInteractive: boolean;
  readonly hasColor: boolean;
  readonly columns: number;
}

interface Stream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface TerminalParts {
  readonly out: Stream;
  readonly error: Stream;
  readonly input: { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
}

const columnsDefault = 100;

const isSet = (value: string | undefined): boolean => value !== undefined && value !== '';

/** Plain lines without colour in CI, in pipes and on dumb terminals; `NO_COLOR` and `FORCE_COLOR` are obeyed. */
export const terminalOf = ({ out, error, input, env }: TerminalParts): Terminal => {
  const isDumb = env['TERM'] === 'dumb' || isSet(env['CI']);
  const wantsColor = isSet(env['FORCE_COLOR']) ? env['FORCE_COLOR'] !== '0' : out.isTTY === true && !isDumb;
  return {
    out: (text) => void out.write(`${text}\n`),
    note: (text) => void error.write(`${text}\n`),
    isInteractive: out.isTTY === true && error.isTTY === true && input.isTTY === true && !isDumb,
    hasColor: wantsColor && !isSet(env['NO_COLOR']),
    columns: out.columns ?? columnsDefault,
  };
};

/** Rows as aligned columns; the last one is not padded. */
export const columnsText = (rows: readonly (readonly string[])[]): string => {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd((widths[column] ?? 0) + 2))).join('');
  return rows.map((row) => line(row).trimEnd()).join('\n');
};
