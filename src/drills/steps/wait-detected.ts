import { z } from 'zod';
import { durationMs } from '../../core/duration.ts';
import { BlackstartError } from '../../core/errors.ts';
import { resolveRegion } from '../../core/places.ts';
import { defineStep } from '../step.ts';

export const waitDetected = defineStep({
  name: 'wait-detected',
  summary: "Waits until the platform's own health check calls the region unhealthy.",
  params: z.strictObject({ region: z.string().default('primary'), atMost: durationMs }),
  describe: ({ region }) => `wait until the platform detects that region ${region} is down`,
  async run({ region, atMost }, running) {
    const { name } = resolveRegion(running.session.environment, region);
    const port = running.session.ports.route53();
    const what = `the health check of ${name} to fail`;
    const found = await running.until(what, running.real(atMost), async (signal) => {
      const check = (await port.healthChecks(signal)).find((candidate) => candidate.region === name);
      return check?.healthy === false ? check.detail : undefined;
    });
    if (found !== undefined) return;
    throw new BlackstartError(
      'BASELINE',
      `the health check of ${name} did not fail within the step's limit`,
      'The platform did not detect the failure. Everything is put back; see the timeline of the report.',
    );
  },
});
