import { renderJson } from './json.ts';
import { renderMarkdown } from './markdown.ts';
import type { Report } from './model.ts';

/** One form of a report. `file` is its name in the run's folder. */
export interface Reporter {
  readonly name: string;
  readonly file: string;
  render(report: Report): string;
}

/** Every form a report is written in. Adding one is a file and a line here. */
export const reporters: readonly Reporter[] = [
  { name: 'json', file: 'report.json', render: renderJson },
  { name: 'markdown', file: 'report.md', render: renderMarkdown },
];
