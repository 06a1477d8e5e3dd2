import { it } from 'vitest';

/**
 * A test that needs something which may be absent from a user's machine (kubectl, dig, psql…). There it is skipped, and
 * its name says why; in CI, where everything is provided, the absence is a failure.
 */
export const itWith = (what: string, isPresent: boolean) => {
  if (isPresent) return it;
  return (name: string, _body: () => unknown, _timeoutMs?: number): void => {
    if (process.env['CI'] === undefined) it.skip(`${name} (skipped: ${what} is not installed)`, () => undefined);
    else {
      it(name, () => {
        throw new Error(`${what} is not installed, and CI must not skip what needs it`);
      });
    }
  };
};
