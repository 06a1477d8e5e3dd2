import { parseDurationMs } from '../core/duration.ts';
import { BlackstartError } from '../core/errors.ts';

/** Milliseconds of a duration given as an option. Throws USAGE. */
export const durationOption = (option: string, text: string): number => {
  const valueMs = parseDurationMs(text);
  if (valueMs !== undefined && valueMs > 0) return valueMs;
  throw new BlackstartError(
    'USAGE',
    `${option} does not allow ${JSON.stringify(text)}`,
    'Use a number and a unit, such as 100ms, 30s, 5m or 2h.',
  );
};
