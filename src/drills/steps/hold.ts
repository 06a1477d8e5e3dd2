import { z } from 'zod';
import { durationMs, formatDuration } from '../../core/duration.ts';
import { defineStep } from '../step.ts';

export const hold = defineStep({
  name: 'hold',
  summary: 'Keeps the platform as it is for a while, under observation.',
  params: z.strictObject({ for: durationMs }),
  describe: (params) => `hold for ${formatDuration(params.for)} of documented time`,
  async run(params, running) {
    const realMs = running.real(params.for);
    running.live({ type: 'awaiting', what: 'the hold to pass', atMostMs: realMs });
    await running.session.clock.sleep(realMs, running.signal);
  },
});
