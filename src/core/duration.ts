import { z } from 'zod';

const unitsMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof unitsMs;

/** Milliseconds of `"150ms"`, `"30s"`, `"5m"`, `"1h30m"`, `"1d"`; `undefined` when the text is not a duration. */
export const parseDurationMs = (text: string): number | undefined => {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, count, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    totalMs += Number(count) * unitsMs[unit as Unit];
  }
  return Number.isFinite(totalMs) ? totalMs : undefined;
};

/** A duration as people write it (`30s`, `5m`); the parsed value is in milliseconds. */
export const durationMs = z
  .string()
  .refine((text) => parseDurationMs(text) !== undefined, {
    error: (issue) =>
      `${JSON.stringify(issue.input)} is not a duration: write a number and a unit, such as 100ms, 30s, 5m or 2h`,
  })
  .transform((text) => parseDurationMs(text) ?? 0)
  .meta({ description: 'A duration: a number and a unit (ms, s, m, h, d), such as 100ms, 30s, 5m, 1h30m.' });

/** Short text for people: `850 ms`, `12.3 s`, `5 min 10 s`, `2 h 5 min`. */
export const formatDuration = (ms: number): string => {
  if (!Number.isFinite(ms)) return ms > 0 ? '∞' : '-∞';
  const sign = ms < 0 ? '-' : '';
  const size = Math.abs(ms);
  if (size < 1000) return `${sign}${Number(size.toFixed(size < 10 ? 1 : 0))} ms`;
  if (size < 60_000) return `${sign}${(size / 1000).toFixed(size < 10_000 ? 2 : 1)} s`;
  const [big, small, bigName, smallName] =
    size < 3_600_000 ? [60_000, 1000, 'min', 's'] : [3_600_000, 60_000, 'h', 'min'];
  let whole = Math.floor(size / big);
  let rest = Math.round((size - whole * big) / small);
  if (rest * small === big) {
    whole += 1;
    rest = 0;
  }
  return rest === 0 ? `${sign}${whole} ${bigName}` : `${sign}${whole} ${bigName} ${rest} ${smallName}`;
};
