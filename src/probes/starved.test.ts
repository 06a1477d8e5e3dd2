import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock as clock } from '../core/clock.ts';
import type { Report } from '../report/model.ts';
import { type Breakable, startBreakable } from '../testing/breakable.ts';

const command = path.join(import.meta.dirname, '..', '..', 'bin', 'blackstart.mjs');
const periodUs = 100_000;
const cores = 0.2;

/** A control group that gives its processes a fifth of one core; `undefined` where none can be made. */
const makeGroup = (): { readonly procs: string; remove(): void } | undefined => {
  const places = [
    { folder: '/sys/fs/cgroup/cpu', limit: (at: string) => writeFileSync(path.join(at, 'cpu.cfs_quota_us'), quota) },
    {
      folder: '/sys/fs/cgroup',
      limit: (at: string) => writeFileSync(path.join(at, 'cpu.max'), `${quota} ${periodUs}`),
    },
  ];
  const quota = String(periodUs * cores);
  for (const { folder, limit } of places) {
    const at = path.join(folder, `blackstart-test-${process.pid}`);
    try {
      mkdirSync(at);
      try {
        limit(at);
        readFileSync(path.join(at, 'cgroup.procs'));
        return { procs: path.join(at, 'cgroup.procs'), remove: () => rmdirSync(at) };
      } catch {
        rmdirSync(at);
      }
    } catch {
      // Not root, no such controller, not Linux: the next place, or none.
    }
  }
  return undefined;
};

const group = makeGroup();

describe('a prober with a fifth of a core', () => {
  let target: Breakable;
  let reports: string;
  beforeAll(async () => {
    reports = mkdtempSync(path.join(tmpdir(), 'blackstart-starved-'));
    target = await startBreakable(clock);
  });
  afterAll(async () => {
    await target.close();
    rmSync(reports, { recursive: true, force: true });
    group?.remove();
  });

  // Control groups are the kernel's and its owner's to give: where there are none, nothing can be installed.
  it.skipIf(group === undefined)(
    'opens no outage at a healthy service, and says how blind it was',
    { timeout: 90_000 },
    async () => {
      const observe = [command, 'observe', target.url, '--every', '20ms', '--timeout', '300ms', '--for', '10s'];
      const script = `echo $$ > "$0" && exec "$@" --format json`;
      const { stdout } = await promisify(execFile)(
        'sh',
        ['-c', script, group?.procs ?? '', process.execPath, ...observe],
        {
          env: { ...process.env, BLACKSTART_REPORTS: reports },
          maxBuffer: 64 * 1024 * 1024,
        },
      ).catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? '' }));
      const report: Report = JSON.parse(stdout);
      expect(report.outages).toEqual([]);
      expect(report.streams[0]?.probes.sent).toBeGreaterThan(50);
      expect(report.streams[0]?.blindMs).toBeGreaterThan(0);
    },
  );
});
