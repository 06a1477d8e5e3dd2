import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/** One line of a timeline history file: on `timeline`, WAL counts up to `endBytes`; then the next timeline begins. */
export interface TimelineEnd {
  readonly timeline: number;
  readonly endBytes: number;
}

/** Parses a history file of PostgreSQL (`1\t0/3000158\tno recovery target specified`). */
export const parseHistory = (text: string): readonly TimelineEnd[] =>
  text.split('\n').flatMap((line): TimelineEnd[] => {
    const found = /^(\d+)\s+([0-9A-Fa-f]+)\/([0-9A-Fa-f]+)/.exec(line.trim());
    if (found === null) return [];
    const [, timeline, high, low] = found;
    return [
      {
        timeline: Number(timeline),
        endBytes: Number.parseInt(high ?? '0', 16) * 2 ** 32 + Number.parseInt(low ?? '0', 16),
      },
    ];
  });

/** Whether a replica that stood on `timeline` has WAL beyond the point where the primary's history left it. */
export const isBeyond = (
  history: readonly TimelineEnd[],
  timeline: number | undefined,
  positionBytes: number,
): boolean => history.some((end) => end.timeline === (timeline ?? end.timeline) && positionBytes > end.endBytes);

/** The same, from the files of the primary's folder. A primary that never switched has no history: nothing diverged. */
export const hasDiverged = async (
  primaryDir: string,
  timeline: number | undefined,
  positionBytes: number,
): Promise<boolean> => {
  const folder = path.join(primaryDir, 'pg_wal');
  const newest = (await readdir(folder))
    .filter((name) => /^[0-9A-F]{8}\.history$/.test(name))
    .sort()
    .at(-1);
  if (newest === undefined) return false;
  return isBeyond(parseHistory(await readFile(path.join(folder, newest), 'utf8')), timeline, positionBytes);
};
