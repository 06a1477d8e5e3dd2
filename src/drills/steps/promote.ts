import { z } from 'zod';
import { defineStep } from '../step.ts';

export const promote = defineStep({
  name: 'promote',
  summary: "Promotes a region's database replica to primary. Its undo, failing back, is armed before the first fault.",
  params: z.strictObject({ region: z.string().default('failover') }),
  describe: ({ region }) => `promote the database of region ${region}`,
  arms: ({ region }) => [{ fault: 'database.promote', with: { region } }],
  run: async ({ region }, running) =>
    await running.inject({ fault: 'database.promote', with: { region }, atMostMs: 0 }),
});
