import { z } from 'zod';
import { durationMs } from '../../core/duration.ts';
import { defineStep } from '../step.ts';

export const inject = defineStep({
  name: 'inject',
  summary: 'Injects a fault that stays until the step "revert", or until it expires.',
  params: z.strictObject({
    fault: z.string(),
    with: z.record(z.string(), z.unknown()).default({}),
    atMost: durationMs,
  }),
  describe: ({ fault }) => `inject ${fault}`,
  breaks: ({ fault, with: params, atMost }) => [{ fault, with: params, atMostMs: atMost }],
  run: async ({ fault, with: params, atMost }, running) =>
    await running.inject({ fault, with: params, atMostMs: atMost }),
});
