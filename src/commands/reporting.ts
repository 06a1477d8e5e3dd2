import path from 'node:path';
import { analyse } from '../analysis/analyse.ts';
import type { RunRecord } from '../analysis/record.ts';
import { exitCodes } from '../core/errors.ts';
import { readJournal } from '../core/journal.ts';
import type { Terminal } from '../core/terminal.ts';
import { recordOf } from '../experiments/record.ts';
import { journalFile } from '../experiments/recover.ts';
import { readRecord } from '../probes/record.ts';
import { reporters } from '../report/index.ts';
import type { Report } from '../report/model.ts';
import { renderTable } from '../report/table.ts';
import type { Cli, Format } from './command.ts';
import { shown } from './documents.ts';

/** A report and the files it becomes. */
export interface Made {
  readonly report: Report;
  readonly files: Readonly<Record<string, string>>;
}

/** Computes the report of a run from its folder alone. */
export const makeReport = async (folder: string): Promise<Made> => {
  const events = await readJournal(journalFile(folder));
  const report = analyse(recordOf(events, await readRecord(folder), folder));
  return { report, files: Object.fromEntries(reporters.map(({ file, render }) => [file, render(report)])) };
};

interface Printed {
  readonly report: Report;
  readonly folder: string;
}

/** One report as itself, several as a list. */
export const printReports = (terminal: Terminal, printed: readonly Printed[], format: Format): void => {
  if (format === 'text') {
    for (const { report, folder } of printed) {
      terminal.out('');
      terminal.out(renderTable(report, { width: terminal.columns, color: terminal.hasColor }).trimEnd());
      terminal.out(`report: ${path.join(shown(folder), 'report.md')}`);
    }
    return;
  }
  const reports = printed.map(({ report }) => report);
  terminal.out(JSON.stringify(reports.length === 1 ? reports[0] : reports, null, 2));
};

/** Prints what an observation saw. Whoever broke the service, to have measured it is success. */
export const concludeObservation = async (
  cli: Cli,
  record: RunRecord,
  folder: string,
  { format, hasEnd }: { readonly format: Format; readonly hasEnd: boolean },
): Promise<number> => {
  const { report } = await makeReport(folder);
  printReports(cli.terminal, [{ report, folder }], format);
  // Without an end given beforehand, Ctrl-C is how an observation ends.
  if (record.ended.reason === 'aborted' && hasEnd) return exitCodes.aborted;
  if (record.ended.reason === 'failed') return exitCodes.inconclusive;
  return report.instrument.trusted ? exitCodes.pass : exitCodes.inconclusive;
};
