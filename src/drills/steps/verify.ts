import { z } from 'zod';
import { durationMs } from '../../core/duration.ts';
import { defineStep } from '../step.ts';

export const verify = defineStep({
  name: 'verify',
  summary: 'Waits until every required stream has recovered, by the confirmation rule.',
  params: z.strictObject({ atMost: durationMs }),
  describe: () => 'verify that the service has recovered',
  async run({ atMost }, running) {
    const sinceMs = running.session.clock.monotonicMs();
    const missing = await running.untilSteady('the service to recover', sinceMs, running.real(atMost));
    if (missing.length > 0) running.live({ type: 'note', text: `not recovered: ${missing.join(', ')}` });
  },
});
