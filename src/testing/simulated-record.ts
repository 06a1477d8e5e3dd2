import type { InjectedFault, RunRecord, Target } from '../analysis/record.ts';
import type { Observation } from '../core/observation.ts';
import type { Sample, Stream } from '../probes/sample.ts';
import { streamOf } from './simulated-probes.ts';

/** What a probe of a scripted stream sees when it is sent at an instant. */
export type Script = (atMs: number) => Partial<Sample>;

/** Samples on an exact grid, good after 20 ms unless the script says otherwise. */
export const scripted = (stream: Stream, fromMs: number, toMs: number, script: Script): readonly Sample[] => {
  const samples: Sample[] = [];
  for (let index = 0; fromMs + index * stream.everyMs <= toMs; index += 1) {
    const sentMs = fromMs + index * stream.everyMs;
    const base = { stream: stream.stream, index, scheduledMs: sentMs, sentMs, endedMs: sentMs + 20 };
    samples.push({ ...base, outcome: 'good', code: 'ok', ...script(sentMs) });
  }
  return samples;
};

export const bad = (code: string, sentMs: number, afterMs = 20): Partial<Sample> => ({
  outcome: 'bad',
  code,
  endedMs: sentMs + afterMs,
});

export const seen = (
  name: Observation['name'],
  subject: string,
  minMs: number,
  maxMs: number,
  data: Observation['data'] = {},
): Observation => ({ name, subject, minMs, maxMs, source: 'test', data });

export const zoneFault = (changes: Partial<InjectedFault> = {}): InjectedFault => ({
  fault: 'zone.blackhole',
  target: 'zone/west-a',
  effective: { minMs: 40_000, maxMs: 40_200 },
  reverted: { minMs: 90_000, maxMs: 90_300 },
  ...changes,
});

export const regionFault = (changes: Partial<InjectedFault> = {}): InjectedFault =>
  zoneFault({ fault: 'region.blackhole', target: 'region/west', ...changes });

export const podFault = (changes: Partial<InjectedFault> = {}): InjectedFault =>
  zoneFault({ fault: 'pod.kill', target: 'pod/west/platform/llm-1', ...changes });

export const targetOf = (measure: string, changes: Partial<Target> = {}): Target => ({
  id: `test.${measure}`,
  promise: 'what is promised',
  text: 'as documented',
  source: 'the documentation',
  measure,
  with: {},
  ...changes,
});

/** Streams `name/location/fresh` of two locations whose homes are the regions west and east. */
export const named = (name: string, probe: string, location: string, changes: Partial<Stream> = {}): Stream =>
  streamOf({
    stream: `${name}/${location}/fresh`,
    name,
    probe,
    location,
    sender: location,
    everyMs: 50,
    required: probe === 'chat',
    ...changes,
  });

const startMs = -60_000;

/** A record from -60 s to 150 s: baseline until 40 s, the fault until 90 s, then the way home. */
export const recordOf = (
  streams: readonly (readonly [Stream, Script])[],
  changes: Partial<Omit<RunRecord, 'run'>> & { readonly run?: Partial<RunRecord['run']> } = {},
): RunRecord => {
  const { run, ...rest } = changes;
  return {
    run: {
      id: 'run-1',
      name: 'blackhole-zone',
      title: 'A zone goes dark',
      environment: 'lab',
      timeScale: 30,
      seed: 1,
      startedAt: '2026-01-01T00:00:00.000Z',
      originMs: startMs,
      versions: { blackstart: '0.1.0' },
      ...run,
    },
    streams: streams.map(([stream]) => stream),
    samples: new Map(streams.map(([stream, script]) => [stream.stream, scripted(stream, startMs, 150_000, script)])),
    blind: [],
    instrument: [],
    ledgers: new Map(),
    observations: [],
    faults: [zoneFault()],
    phases: [
      { name: 'baseline', startMs, endMs: 39_000 },
      { name: 'inject', startMs: 39_500, endMs: 40_300 },
      { name: 'revert', startMs: 90_000, endMs: 90_300 },
      { name: 'settle', startMs: 140_000, endMs: 149_000 },
    ],
    undo: { armed: 1, reverted: 1, outstanding: [] },
    targets: [],
    facts: {},
    places: {
      regions: [
        { name: 'west', zones: ['west-a', 'west-b'] },
        { name: 'east', zones: ['east-a'] },
      ],
      clients: [
        { name: 'near', prefers: ['west', 'east'] },
        { name: 'far', prefers: ['east', 'west'] },
      ],
    },
    ended: { reason: 'finished', message: null },
    ...rest,
  };
};

export const served = (region: string, zone: string, pod = `${zone}-pod`): Partial<Sample> => ({ region, zone, pod });
export const within = (atMs: number, fromMs: number, toMs: number): boolean => atMs >= fromMs && atMs < toMs;
