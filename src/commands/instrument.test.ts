import { describe, expect, it } from 'vitest';
import type { Scenario } from '../experiments/scenario.ts';
import type { ProbedService } from '../probes/probe.ts';
import { streamsFor } from './instrument.ts';

const service: ProbedService = { host: 'api.lab', databaseHost: 'db.lab', databaseName: 'platform', model: 'm' };

const scenarioWith = (required: boolean): Pick<Scenario, 'probes'> => ({
  probes: [
    {
      name: 'counted',
      probe: 'cache-ledger',
      locations: ['home'],
      connection: 'kept',
      everyMs: 100,
      timeoutMs: 1000,
      slowAfterMs: 1000,
      required,
      with: {},
    },
  ],
});
const namesFor = (required: boolean, cacheNodes: string[]) => {
  const { streams, leftOut } = streamsFor(scenarioWith(required), { ...service, cacheNodes });
  return { streams: streams.map(({ stream }) => stream), leftOut };
};

describe('the streams of a run', () => {
  it('leave out what looks at something that the platform does not have, and say why', () => {
    const stream = 'counted/home/kept';
    expect(namesFor(false, ['127.0.0.1:6379'])).toEqual({ streams: [stream], leftOut: [] });
    expect(namesFor(false, [])).toEqual({
      streams: [],
      leftOut: [{ stream, why: 'the environment has no cache' }],
    });
    // What the run must hold by is not left out in silence of a verdict: opening it says what is missing.
    expect(namesFor(true, []).streams).toEqual([stream]);
  });
});
