import { z } from 'zod';
import { rollbackIncomplete } from '../../core/undo.ts';
import { defineStep } from '../step.ts';

export const failBack = defineStep({
  name: 'fail-back',
  summary: 'Makes the old primary primary again, its name pointing home, and the promoted instance its replica.',
  params: z.strictObject({}),
  describe: () => 'fail the database back',
  async run(_params, running) {
    const failed = rollbackIncomplete(await running.revert(['database.promote', 'traffic.shift']), running.runId);
    if (failed !== undefined) throw failed;
  },
});
