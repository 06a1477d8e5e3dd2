import { z } from 'zod';
import { rollbackIncomplete } from '../../core/undo.ts';
import { defineStep } from '../step.ts';

export const revert = defineStep({
  name: 'revert',
  summary: 'Ends a fault that the drill injected, and checks that its target is back.',
  params: z.strictObject({ fault: z.string() }),
  describe: ({ fault }) => `end ${fault}`,
  async run({ fault }, running) {
    const failed = rollbackIncomplete(await running.revert([fault]), running.runId);
    if (failed !== undefined) throw failed;
  },
});
