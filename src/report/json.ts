import type { Report } from './model.ts';

/** The report as other programs read it. The order of keys is fixed, so the same report is the same text. */
export const renderJson = (report: Report): string => `${JSON.stringify(report, null, 2)}\n`;
