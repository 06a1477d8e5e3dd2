import path from 'node:path';
import { z } from 'zod';
import type { CarriedBaseline } from '../analysis/baseline.ts';
import type { InjectedFault, RunRecord, Target } from '../analysis/record.ts';
import { BlackstartError } from '../core/errors.ts';
import { type JournalEvent, outstanding } from '../core/journal.ts';
import type { Blind, InstrumentRecord, Sample, Stream } from '../probes/sample.ts';
import { startOf } from './recover.ts';
import { stretchesOf } from './stretches.ts';

/** What the probes left in a run's folder. */
export interface Recorded {
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
  readonly blind: readonly Blind[];
  readonly instrument: readonly InstrumentRecord[];
  readonly ledgers: RunRecord['ledgers'];
}

const faultsOf = (events: readonly JournalEvent[]): readonly InjectedFault[] => {
  const faults = new Map<string, InjectedFault>();
  const update = (undoId: string, change: Partial<InjectedFault>): void => {
    const known = faults.get(undoId);
    if (known !== undefined) faults.set(undoId, { ...known, ...change });
  };
  for (const event of events) {
    if (event.type === 'undo.armed') {
      faults.set(event.undoId, { fault: event.fault, target: event.target, effective: null, reverted: null });
    }
    if (event.type === 'fault.effective')
      update(event.undoId, { effective: { minMs: event.minMs, maxMs: event.maxMs } });
    if (event.type === 'undo.done') update(event.undoId, { reverted: { minMs: event.minMs, maxMs: event.maxMs } });
  }
  const injected = new Set(events.flatMap((event) => (event.type === 'fault.injected' ? [event.undoId] : [])));
  return [...faults].flatMap(([undoId, fault]) => (injected.has(undoId) ? [fault] : []));
};

const phasesOf = (events: readonly JournalEvent[]): RunRecord['phases'] => {
  const phases: { name: string; startMs: number; endMs: number | null }[] = [];
  for (const event of events) {
    if (event.type === 'phase.started') phases.push({ name: event.phase, startMs: event.atMs, endMs: null });
    if (event.type !== 'phase.finished') continue;
    const open = phases.findLast((phase) => phase.name === event.phase && phase.endMs === null);
    if (open !== undefined) open.endMs = event.atMs;
  }
  return phases;
};

const undoOf = (events: readonly JournalEvent[]): RunRecord['undo'] => {
  const reasons = new Map<string, string>();
  for (const event of events) {
    if (event.type === 'undo.failed') reasons.set(event.undoId, event.message);
    if (event.type === 'undo.conflict') reasons.set(event.undoId, event.difference);
  }
  const left = outstanding(events);
  return {
    armed: events.filter((event) => event.type === 'undo.armed').length,
    reverted: events.filter((event) => event.type === 'undo.done').length,
    outstanding: left.map(({ undoId, fault, target }) => ({
      fault,
      target,
      reason: reasons.get(undoId) ?? 'not attempted yet',
    })),
  };
};

const endOf = (events: readonly JournalEvent[]): RunRecord['ended'] => {
  const end = events.findLast((event) => event.type === 'run.ended');
  return end?.type === 'run.ended'
    ? { reason: end.reason, message: end.message }
    : { reason: 'failed', message: 'the run did not come to its end: it was killed, or is still going' };
};

const confirmed = z.object({ confirm: z.object({ errorsMax: z.number() }) });

const placed = z.object({
  regions: z.array(z.object({ name: z.string(), zones: z.array(z.object({ name: z.string() })) })),
  clients: z.array(z.object({ name: z.string(), prefers: z.array(z.string()) })),
});

/** What the environment says of places; an observation of URLs has no environment. */
const placesOf = (environment: unknown): Pick<RunRecord, 'places'> => {
  const parsed = placed.safeParse(environment);
  if (!parsed.success) return {};
  const { regions, clients } = parsed.data;
  const named = regions.map(({ name, zones }) => ({ name, zones: zones.map((zone) => zone.name) }));
  return { places: { regions: named, clients } };
};

/** The confirmation rule, where the document sets one of its own. */
const confirmationOf = (document: unknown): Pick<RunRecord, 'confirmation'> => {
  const parsed = confirmed.safeParse(document);
  return parsed.success ? { confirmation: { errorsMax: parsed.data.confirm.errorsMax } } : {};
};

/** Samples of the instrument's warm-up stay in the files, but judge nothing. */
const judgedSamples = (recorded: Recorded, phases: RunRecord['phases']): Recorded => {
  const warmUp = phases.find((phase) => phase.name === 'warm-up');
  if (warmUp === undefined) return recorded;
  const sinceMs = warmUp.endMs ?? Number.POSITIVE_INFINITY;
  const judged = [...recorded.samples].map(([stream, samples]): [string, readonly Sample[]] => {
    const first = samples.findIndex((sample) => sample.sentMs >= sinceMs);
    return [stream, first < 0 ? [] : samples.slice(first)];
  });
  // A record of the self-checks tells of the second before it.
  const instrument = recorded.instrument.filter((one) => one.atMs - 1000 >= sinceMs);
  return { ...recorded, samples: new Map(judged), instrument };
};

/** Assembles the record that analysis is a function of, from the journal and what the probes wrote. Pure. */
export const recordOf = (events: readonly JournalEvent[], recorded: Recorded, folder: string): RunRecord => {
  const started = startOf(events);
  if (started === undefined) {
    throw new BlackstartError(
      'CORRUPT',
      `${path.join(folder, 'journal.jsonl')} does not begin with the start of a run`,
      'It cannot be reported on. "blackstart list runs" shows the runs that can.',
    );
  }
  const { documents } = started;
  const phases = phasesOf(events);
  return {
    run: {
      id: started.runId,
      kind: started.kind,
      name: started.name,
      title: started.title,
      environment: started.environment,
      timeScale: started.timeScale,
      seed: started.seed,
      startedAt: started.at,
      originMs: started.atMs,
      versions: started.versions,
    },
    streams: documents.streams as unknown as readonly Stream[],
    ...judgedSamples(recorded, phases),
    observations: events.flatMap((event) => (event.type === 'observation' ? [event.observation] : [])),
    faults: faultsOf(events),
    phases,
    undo: undoOf(events),
    targets: documents.targets as unknown as readonly Target[],
    facts: Object.fromEntries(events.flatMap((event) => (event.type === 'fact' ? [[event.name, event.value]] : []))),
    ...(documents.carried === undefined ? {} : { carried: documents.carried as unknown as readonly CarriedBaseline[] }),
    ...placesOf(documents.environment),
    ...stretchesOf(documents.environment, started.timeScale),
    ended: endOf(events),
    ...confirmationOf(documents.document),
  };
};
