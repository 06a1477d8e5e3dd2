import { z } from 'zod';
import type { Ports } from '../adapters/ports.ts';
import { systemClock } from '../core/clock.ts';
import { environmentSchema } from '../core/environment.ts';
import { BlackstartError } from '../core/errors.ts';
import { defineFault } from '../experiments/fault.ts';
import type { Session } from '../experiments/reverter.ts';

/** The smallest environment the schema takes: one region, one zone, one client. */
export const smallEnvironment = environmentSchema.parse({
  apiVersion: 'blackstart/v1',
  kind: 'Environment',
  name: 'small',
  title: 'Small',
  targets: 'targets.yaml',
  service: {
    host: 'api.small.lab',
    databaseHost: 'db.small.lab',
    databaseDomain: 'rds.small.lab',
    hostedZoneId: 'Z1',
    model: 'm',
  },
  regions: [
    {
      name: 'here',
      role: 'primary',
      zones: [{ name: 'here-a' }],
      kubernetes: { context: 'here', namespace: 'platform' },
      database: { instance: 'db-here', zone: 'here-a' },
    },
  ],
  clients: [{ name: 'home', prefers: ['here'] }],
  workloads: {},
  aws: {
    account: '123456789012',
    experimentRole: 'arn:aws:iam::123456789012:role/x',
    stopAlarm: 'arn:aws:cloudwatch:{region}:123456789012:alarm:x',
  },
  limits: { podsMax: 3, zonesMax: 1, regionsMax: 1, survivingShareMin: 0, runMax: '1h' },
});

/** One switch that can be broken, and by somebody else set to something third. */
export interface Switch {
  state: string;
  /** Makes the next revert calls fail. */
  unreachable: boolean;
}

const quietPorts = {
  kubernetes: () => ({ listPods: async () => [] }),
  rds: () => ({
    describe: async (id: string) => ({ id, status: 'available', zone: 'here-a', multiZone: false, source: null }),
  }),
  route53: () => ({ healthChecks: async () => [] }),
  cache: () => null,
  alerts: () => null,
  vectors: () => null,
} as unknown as Ports;

/** A fault that turns the switch off and puts it back to what it was. */
export const switchFault = (platform: Switch) =>
  defineFault({
    name: 'switch.off',
    summary: 'Turns a switch off.',
    params: z.strictObject({ bites: z.boolean().default(true) }),
    undo: z.strictObject({ before: z.string() }),
    expiry: 'none',
    permissions: () => [],
    plan: async () => [
      {
        target: 'switch/1',
        undo: { before: platform.state },
        blast: { pods: 0, zones: [], regions: [], workloads: {} },
      },
    ],
    async inject(_planned, { bites }) {
      if (bites) platform.state = 'off';
    },
    bites: async () => (platform.state === 'off' ? 'it is off' : undefined),
    async revert({ before }) {
      if (platform.unreachable) throw new BlackstartError('UNREACHABLE', 'the switch does not answer', 'Wait.');
      if (platform.state === 'off') platform.state = before;
    },
    async isReverted({ before }) {
      return platform.state === before
        ? { state: 'reverted' }
        : { state: 'conflict', difference: `switch: was ${before}, is now ${platform.state}` };
    },
    discover: async () => [],
  });

export const sessionOf = (platform: Switch, identity: string): Session => ({
  clock: systemClock,
  environment: smallEnvironment,
  timeScale: 10_000,
  ports: quietPorts,
  identity,
  faults: [switchFault(platform)],
});
