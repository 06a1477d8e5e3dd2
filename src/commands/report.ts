import { type Cli, type Define, examples, type Format, formatOption } from './command.ts';

const report = async (cli: Cli, wanted: string, options: { readonly format: Format }): Promise<number> => {
  const { writeFile } = await import('node:fs/promises');
  const path = await import('node:path');
  const { findRun } = await import('./runs.ts');
  const { makeReport, printReports } = await import('./reporting.ts');
  const { verdictExitCode } = await import('./execute.ts');
  const { folder } = await findRun(wanted);
  const made = await makeReport(folder);
  for (const [name, text] of Object.entries(made.files)) await writeFile(path.join(folder, name), text);
  printReports(cli.terminal, [{ ...made, folder }], options.format);
  return verdictExitCode(made);
};

export const defineReport: Define = (program, perform) => {
  program
    .command('report')
    .description('computes the report of a run again from its folder, and prints it')
    .argument('<run>', 'its id, the beginning of it, its folder, or "last"')
    .addOption(formatOption())
    .addHelpText('after', examples('report last', 'report 20261124-131502 --format json', 'list runs'))
    .action((run: string, options: { format: Format }) => perform((cli) => report(cli, run, options)));
};
