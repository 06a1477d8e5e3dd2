import { z } from 'zod';
import { durationMs } from '../../core/duration.ts';
import { resolveRegion } from '../../core/places.ts';
import { defineStep, requireArmed } from '../step.ts';
import { returningShares } from './hold-traffic.ts';

const share = z.number().refine((value) => returningShares.includes(value), {
  error: `use shares of ${returningShares.join(', ')} per cent`,
});

export const shiftTraffic = defineStep({
  name: 'shift-traffic',
  summary: 'Returns traffic to a region in steps, holding each share for a while.',
  params: z.strictObject({
    region: z.string().default('primary'),
    percent: z.array(share).min(1).default([25, 50, 100]),
    every: durationMs,
  }),
  describe: ({ region, percent }) => `return traffic to region ${region}: ${percent.join(', ')} %`,
  async run({ region, percent, every }, running) {
    const { environment, ports, clock } = running.session;
    const { name } = resolveRegion(environment, region);
    await requireArmed(running, 'traffic.shift', `traffic/${name}`, 'hold-traffic');
    const { hostedZoneId, host } = environment.service;
    for (const weight of percent) {
      await ports.route53().putWeight(hostedZoneId, host, name, weight, running.signal);
      running.live({
        type: 'awaiting',
        what: `${weight} % of its traffic to settle in ${name}`,
        atMostMs: running.real(every),
      });
      await clock.sleep(running.real(every), running.signal);
    }
  },
});
