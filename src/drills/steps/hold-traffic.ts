import { z } from 'zod';
import { defineStep } from '../step.ts';

export const holdTraffic = defineStep({
  name: 'hold-traffic',
  summary: 'Keeps a region out of rotation even when it becomes healthy again, until "shift-traffic" returns it.',
  params: z.strictObject({ region: z.string().default('primary') }),
  describe: ({ region }) => `keep traffic away from region ${region}`,
  arms: ({ region }) => [{ fault: 'traffic.shift', with: { region, percent: 0, steps: returningShares } }],
  run: async ({ region }, running) =>
    await running.inject({
      fault: 'traffic.shift',
      with: { region, percent: 0, steps: returningShares },
      atMostMs: 0,
    }),
});

/** Shares, in per cent, that "shift-traffic" may set on the way back. */
export const returningShares = [10, 25, 50, 75, 100];
