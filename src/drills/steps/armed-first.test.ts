import { describe, expect, it } from 'vitest';
import type { Ports } from '../../adapters/ports.ts';
import { systemClock } from '../../core/clock.ts';
import type { Running } from '../../experiments/running.ts';
import { smallEnvironment } from '../../testing/fake-platform.ts';
import type { Step } from '../step.ts';
import { pointDatabase } from './point-database.ts';
import { shiftTraffic } from './shift-traffic.ts';

/** A run in which a fault on a target is armed; `changes` are the calls that changed the DNS. */
const runningWith = (armed: { readonly fault: string; readonly target: string }) => {
  const changes: string[] = [];
  const ports = {
    route53: () => ({
      getRecord: async () => ({ name: 'db', type: 'CNAME', value: 'old', ttlSeconds: 5 }),
      putRecord: async (_zone: string, { value }: { value: string }) => void changes.push(`name ${value}`),
      putWeight: async (_zone: string, _host: string, region: string, weight: number) =>
        void changes.push(`${region} ${weight} %`),
    }),
  } as unknown as Ports;
  const running = {
    session: { clock: systemClock, environment: smallEnvironment, timeScale: 1, ports },
    signal: new AbortController().signal,
    live: () => undefined,
    real: () => 0,
    armed: async (fault: string) => (armed.fault === fault ? [{ target: armed.target, undo: {} }] : []),
  } as unknown as Running;
  return { running, changes };
};

const steps: readonly (readonly [Step, Record<string, unknown>, string, string, string, readonly string[]])[] = [
  [
    pointDatabase,
    { region: 'here' },
    'database.promote',
    'database/db-here',
    'promote',
    ['name db-here.rds.small.lab'],
  ],
  [
    shiftTraffic,
    { region: 'here', every: '1m' },
    'traffic.shift',
    'traffic/here',
    'hold-traffic',
    [25, 50, 100].map((x) => `here ${x} %`),
  ],
];

describe.each(steps)('a step that changes what another undoes', (step, params, fault, target, before, does) => {
  it.each([
    ['of another fault', { fault: 'zone.blackhole', target }],
    ['on another target', { fault, target: `${target}-else` }],
  ])(`${step.name} is refused, and changes nothing, when an undo %s is armed`, async (_what, armed) => {
    const { running, changes } = runningWith(armed);
    await expect(step.run(params, running)).rejects.toMatchObject({
      code: 'PLAN_REFUSED',
      exitCode: 64,
      message: expect.stringContaining(`no undo of ${fault} on ${target} is armed`),
      hint: expect.stringContaining(`"${before}"`),
    });
    expect(changes).toEqual([]);
  });

  it(`${step.name} does its work once that undo is armed`, async () => {
    const { running, changes } = runningWith({ fault, target });
    await step.run(params, running);
    expect(changes).toEqual(does);
  });
});
