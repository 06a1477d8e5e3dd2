import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';

/** `20261124-131502-blackhole-zone-3f9a`: sorts by time, reads by name, and never repeats. */
export const newRunId = (clock: Clock, name: string): string => {
  const stamp = new Date(clock.nowMs()).toISOString().replaceAll(/[-:]/g, '').replace('T', '-').slice(0, 15);
  return `${stamp}-${name}-${randomBytes(2).toString('hex')}`;
};

/** Where runs are kept: `$BLACKSTART_REPORTS`, or `reports/` in the working folder. */
export const reportsFolder = (): string => path.resolve(process.env['BLACKSTART_REPORTS'] ?? 'reports');

export const makeRunFolder = async (reports: string, runId: string): Promise<string> => {
  const folder = path.join(reports, runId);
  await mkdir(path.join(folder, 'samples'), { recursive: true, mode: 0o700 });
  await mkdir(path.join(folder, 'instrument'), { recursive: true, mode: 0o700 });
  return folder;
};
