import { z } from 'zod';
import {
  databasePromote,
  promotionUndoSchema,
  resyncOriginal,
} from '../../experiments/faults/database-promote/index.ts';
import { faultContext } from '../../experiments/reverter.ts';
import { defineStep } from '../step.ts';

export const resync = defineStep({
  name: 'resync',
  summary:
    'Makes the old primary a replica of the promoted one, so that it has every write before it is promoted back.',
  params: z.strictObject({}),
  describe: () => 'resynchronise the old primary from the new one',
  async run(_params, running) {
    for (const { undo } of await running.armed(databasePromote.name)) {
      await resyncOriginal(
        promotionUndoSchema.parse(undo),
        faultContext(running.session, running.runId, running.signal),
      );
    }
  },
});
