import type { CarriedBaseline } from '../analysis/baseline.ts';
import { deadline, poll } from '../core/clock.ts';
import { BlackstartError, isBlackstartError, messageOf } from '../core/errors.ts';
import { type Journal, openJournal } from '../core/journal.ts';
import { acquireLock } from '../core/lock.ts';
import { type RevertOutcome, rollbackIncomplete } from '../core/undo.ts';
import type { Sample, Stream } from '../probes/sample.ts';
import { observers } from './observers/index.ts';
import { assertAllowed, type FaultUse, type Plan, type PlannedFault, planFaults, randomFrom } from './plan.ts';
import { journalFile, unfinishedRuns } from './recover.ts';
import type { Session } from './reverter.ts';
import { makeRunFolder } from './run-folder.ts';
import type { Ask, LiveEvent, Running } from './running.ts';
import type { Scenario } from './scenario.ts';
import type { SteadyState } from './steady-state.ts';
import { type ArmedTarget, type UndoScope, undoScope } from './undo-scope.ts';

/** The probes of a run while they send. */
export interface Instrument {
  readonly streams: readonly Stream[];
  /** Called for every sample as soon as it is complete. */
  onSample(listener: (sample: Sample) => void): void;
  /** Ends the senders and waits until everything they saw is on the disk. */
  stop(): Promise<void>;
  /** Once they have stopped: reads from the surviving authority what is there of their writes, and takes it away. */
  finishLedgers(mode: 'read' | 'remove'): Promise<void>;
}

export interface RunRequest {
  readonly session: Session;
  readonly scenario: Scenario;
  readonly runId: string;
  readonly seed: number;
  readonly reports: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly approve: 'ask' | 'auto';
  readonly ask: Ask;
  readonly signal: AbortSignal;
  readonly live: (event: LiveEvent) => void;
  /** Fixed before anything is sent: what will be sampled, and how. */
  readonly streams: readonly Stream[];
  /** Baselines of the runs that this one follows at once: written down, because windows depend on them. */
  readonly carried?: readonly CarriedBaseline[];
  readonly startInstrument: (folder: string) => Promise<Instrument>;
  readonly steadyState: () => SteadyState;
  /** Starts the process that puts everything back when this one is gone; `undefined` starts none (tests). */
  readonly startWatchdog: ((folder: string) => Promise<number>) | undefined;
}

export interface RunEnd {
  readonly folder: string;
  /** What kept the run from its end, the most serious first; its exit code is the run's. */
  readonly error: unknown;
}

/**
 * First connections, first resolutions and code not yet compiled, the instrument's own and the platform's, are not
 * judged. The warm-up ends once nothing was bad for `warmForMs`, or after `warmUpMaxMs`: the baseline decides then.
 */
const warmForMs = 2000;
const warmUpMaxMs = 20_000;
const countsEveryMs = 250;
const lookEveryMs = 100;

/** Good and bad answers per location since the start, for people to watch. */
const countByLocation = (
  streams: readonly Stream[],
  instrument: Instrument,
): Record<string, { good: number; bad: number }> => {
  const locations: Record<string, { good: number; bad: number }> = {};
  const locationOf = new Map(streams.map((stream) => [stream.stream, stream.location]));
  instrument.onSample((sample) => {
    const location = locationOf.get(sample.stream);
    if (location === undefined) return;
    const counts = locations[location] ?? { good: 0, bad: 0 };
    if (sample.outcome === 'bad') counts.bad += 1;
    else if (sample.outcome !== 'dropped') counts.good += 1;
    locations[location] = counts;
  });
  return locations;
};

/** Everything of one run that its steps share. */
interface Parts {
  readonly request: RunRequest;
  readonly uses: readonly FaultUse[];
  readonly journal: Journal;
  readonly scope: UndoScope;
  readonly steady: SteadyState;
  readonly signal: AbortSignal;
  readonly armedAhead: Map<string, readonly ArmedTarget[]>;
  /** Plan hash of each use as it was before the baseline. */
  readonly plannedAhead: Map<string, string>;
  readonly folder: string;
}

const keyOf = (use: Pick<FaultUse, 'fault' | 'with'>): string => `${use.fault} ${JSON.stringify(use.with)}`;

const planAllowed = async (request: RunRequest, use: FaultUse, signal: AbortSignal): Promise<Plan> => {
  const plan = await planFaults(request.session, request.runId, [use], request.seed, signal);
  assertAllowed(plan);
  return plan;
};

const drifted = (use: FaultUse): BlackstartError =>
  new BlackstartError(
    'PLAN_REFUSED',
    `the targets of ${use.fault} changed since the plan was made`,
    'Nothing was injected. Somebody or something else is at work on them: look at "blackstart plan", then run again.',
  );

/**
 * Plans everything and starts the watchdog while nothing is measured yet. Starting processes and loading clients takes
 * time of the processor, which on a small machine would look like an outage just before the fault.
 */
const getReady = async (parts: Parts): Promise<void> => {
  const { request, uses, plannedAhead, signal, folder } = parts;
  for (const use of uses) plannedAhead.set(keyOf(use), (await planAllowed(request, use, signal)).hash);
  if (uses.length > 0) await request.startWatchdog?.(folder);
};

const runningOf = (parts: Parts): Running => {
  const { request, journal, scope, steady, signal, armedAhead, plannedAhead } = parts;
  const { session, runId, live } = request;
  const { clock } = session;

  const planned = async (use: FaultUse): Promise<PlannedFault> => {
    const plan = await planAllowed(request, use, signal);
    const before = plannedAhead.get(keyOf(use));
    if (before !== undefined && before !== plan.hash) throw drifted(use);
    const [first] = plan.faults;
    if (first === undefined) throw new Error(`no plan for ${use.fault}`);
    return first;
  };

  const until: Running['until'] = async (what, atMostMs, look) => {
    live({ type: 'awaiting', what, atMostMs });
    const limit = deadline(clock, atMostMs, new Error('time is up'), signal);
    try {
      return await poll(clock, lookEveryMs, limit.signal, () => look(limit.signal));
    } catch (error) {
      if (limit.signal.aborted && !signal.aborted) return undefined;
      throw error;
    } finally {
      limit.dispose();
    }
  };

  return {
    session,
    runId,
    journal,
    signal,
    approve: request.approve,
    ask: request.ask,
    live,
    real: (documentedMs) => documentedMs / session.timeScale,
    until,
    async phase(phase, title, body) {
      signal.throwIfAborted();
      live({ type: 'phase', phase, title });
      await journal.append({ type: 'phase.started', phase });
      const result = await body();
      await journal.append({ type: 'phase.finished', phase });
      return result;
    },
    async arm(use) {
      const plan = await planned(use);
      armedAhead.set(keyOf(use), await scope.arm(plan));
    },
    async inject(use) {
      const plan = await planned(use);
      const ahead = armedAhead.get(keyOf(use));
      armedAhead.delete(keyOf(use));
      const armed = ahead ?? (await scope.arm(plan));
      signal.throwIfAborted();
      await scope.break(plan, armed, signal);
    },
    revert: (faults) => scope.revert(faults),
    armed: (fault) => scope.armedBy(fault),
    async untilSteady(what, sinceMs, atMostMs) {
      let missing: readonly string[] = [];
      const steadyNow = await until(what, atMostMs, async () => {
        missing = steady.missingSince(sinceMs);
        return missing.length === 0 ? true : undefined;
      });
      return steadyNow === true ? [] : missing;
    },
    see: async (observation) => {
      await journal.append({ type: 'observation', observation });
    },
    fact: async (name, value) => {
      await journal.append({ type: 'fact', name, value });
    },
  };
};

/** Starts every observer; the returned function stops them and waits for them. */
const startObservers = (
  request: RunRequest,
  journal: Journal,
  failed: (error: unknown) => void,
): (() => Promise<void>) => {
  const stop = new AbortController();
  const lostOnce = new Set<string>();
  const writes: Promise<unknown>[] = [];
  const watching = observers.map((observer) =>
    observer
      .watch(
        request.session,
        stop.signal,
        (observation) => {
          writes.push(journal.append({ type: 'observation', observation }).catch(failed));
        },
        (name, message) => {
          if (lostOnce.has(name)) return;
          lostOnce.add(name);
          request.live({ type: 'note', text: `observer ${name} cannot look: ${message}` });
          writes.push(journal.append({ type: 'fact', name: `observer.${name}.lost`, value: message }).catch(failed));
        },
      )
      // A bug of an observer ends the run with a rollback; unheard, it would end the process without one.
      .catch((error: unknown) => {
        if (!stop.signal.aborted) failed(error);
      }),
  );
  return async () => {
    stop.abort();
    await Promise.allSettled(watching);
    await Promise.all(writes);
  };
};

/** The baseline: nothing is injected into a platform that is not well. Throws BASELINE with what is wrong. */
const holdBaseline = async (running: Running, parts: Parts): Promise<void> => {
  const { steady, request } = parts;
  const { clock } = running.session;
  const startMs = clock.monotonicMs();
  const leastMs = running.real(request.scenario.steadyForMs);
  const atMostMs = Math.max(60_000, 3 * leastMs, 3 * steady.baselineNeedsMs());
  const found = await running.until('the steady state to hold', atMostMs, async () => {
    const state = steady.baseline();
    if (state.failed.length > 0) return state;
    const longEnough = clock.monotonicMs() - startMs >= leastMs;
    return longEnough && state.missing.length === 0 ? state : undefined;
  });
  if (found !== undefined && found.failed.length === 0) return;
  const state = found ?? steady.baseline();
  throw new BlackstartError(
    'BASELINE',
    `the steady state did not hold: ${[...state.failed, ...state.missing].join('; ')}`,
    'Nothing was injected. Mend the platform first, or give the probes limits that a healthy platform meets.',
  );
};

const refuseUnfinished = async (request: RunRequest): Promise<void> => {
  const mine = request.session.environment.name;
  const left = (await unfinishedRuns(request.reports)).find((run) => run.started.environment === mine);
  if (left === undefined) return;
  throw new BlackstartError(
    'PLAN_REFUSED',
    `run ${left.runId} left ${left.outstanding} target(s) of ${mine} to put back`,
    `Run "blackstart recover ${left.runId}" first.`,
  );
};

const writeStart = async (request: RunRequest, journal: Journal): Promise<void> => {
  const { session, scenario } = request;
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value));
  await journal.append({
    type: 'run.started',
    runId: request.runId,
    kind: scenario.kind,
    name: scenario.name,
    title: scenario.title,
    environment: session.environment.name,
    timeScale: session.timeScale,
    seed: request.seed,
    versions: request.versions,
    documents: {
      environment: plain(session.environment),
      document: plain(scenario.source),
      targets: plain(scenario.targets),
      streams: plain(request.streams),
      ...(request.carried === undefined ? {} : { carried: plain(request.carried) }),
    },
  });
  await journal.append({ type: 'process.opened', role: 'run', pid: process.pid });
};

/** A later failure never replaces an earlier one; only a rollback that did not succeed outranks what went before. */
const endOf = (error: unknown, outcome: RevertOutcome, runId: string): unknown =>
  rollbackIncomplete(outcome, runId, error) ?? error;

const recordEnd = async (journal: Journal, error: unknown): Promise<void> => {
  const aborted = isBlackstartError(error) && error.code === 'ABORTED';
  const reason = error === undefined ? 'finished' : aborted ? 'aborted' : 'failed';
  await journal.append({ type: 'run.ended', reason, message: error === undefined ? null : messageOf(error) });
};

/**
 * Runs a body between a held baseline and a complete rollback. What it `uses` is planned before the baseline: a refused
 * plan costs nobody a minute, and drift until the injection shows. Whatever happens in between, including Ctrl-C and
 * errors of our own, everything armed is put back and verified, the probes keep watching until then, and the journal
 * says how it ended. Throws only when the run could not even begin.
 */
export const withRun = async (
  request: RunRequest,
  uses: readonly FaultUse[],
  body: (running: Running) => Promise<void>,
): Promise<RunEnd> => {
  const { session, runId, live } = request;
  const { clock } = session;
  await refuseUnfinished(request);
  const folder = await makeRunFolder(request.reports, runId);
  const since = new Date(clock.nowMs()).toISOString();
  const holder = { role: 'run' as const, pid: process.pid, runId, folder, since };
  const lock = await acquireLock(clock, session.identity, holder, 5000, request.signal);
  try {
    const journal = await openJournal(journalFile(folder), clock);
    await writeStart(request, journal);
    try {
      return { folder, error: await runInside(request, uses, journal, folder, body) };
    } finally {
      await journal.close();
      live({ type: 'phase', phase: 'report', title: 'computing the report' });
    }
  } finally {
    lock.release();
  }
};

const runInside = async (
  request: RunRequest,
  uses: readonly FaultUse[],
  journal: Journal,
  folder: string,
  body: (running: Running) => Promise<void>,
): Promise<unknown> => {
  const { session, runId, live } = request;
  // The run's own limit and a journal that cannot be written both end it the way Ctrl-C does: with a rollback.
  const stop = new AbortController();
  const runMaxMs = session.environment.limits.runMax / session.timeScale + 10 * 60_000;
  const tooLong = new BlackstartError('ABORTED', 'the run took longer than limits.runMax', 'Everything is put back.');
  const limit = deadline(session.clock, runMaxMs, tooLong, AbortSignal.any([request.signal, stop.signal]));
  const scope = undoScope(session, runId, journal, randomFrom(request.seed), ({ target, state }) =>
    live({ type: 'note', text: `${target}: ${state}`, undoing: target }),
  );
  const steady = request.steadyState();
  const ahead = { armedAhead: new Map(), plannedAhead: new Map() };
  const parts = { request, uses, journal, scope, steady, signal: limit.signal, ...ahead, folder };
  const running = runningOf(parts);
  const cleanUps: (() => Promise<unknown>)[] = [];
  let error: unknown;
  try {
    // Before anybody probes: what it takes to load and to ask must not compete with the first probes for the machine.
    if (uses.length > 0) await running.phase('plan', 'what is to be broken is chosen', () => getReady(parts));
    const instrument = await request.startInstrument(folder);
    cleanUps.unshift(
      () => instrument.stop(),
      () => finishLedgers(request, journal, instrument, error),
      () => journal.append({ type: 'phase.finished', phase: 'probing' }),
    );
    let warmSinceMs = Number.POSITIVE_INFINITY;
    instrument.onSample((sample) => {
      if (sample.sentMs >= warmSinceMs) steady.add(sample);
    });
    cleanUps.unshift(drawCounts(request, instrument));
    cleanUps.unshift(startObservers(request, journal, (failure) => stop.abort(failure)));
    await journal.append({ type: 'phase.started', phase: 'probing' });
    await running.phase('warm-up', 'the instrument warms up', () => warmUp(running, request, instrument));
    warmSinceMs = session.clock.monotonicMs();
    await running.phase('baseline', 'the steady state must hold', () => holdBaseline(running, parts));
    await body(running);
  } catch (failure) {
    error = failure;
  }
  live({ type: 'phase', phase: 'rollback', title: 'putting back whatever is not back yet' });
  error = endOf(error, await scope.revert(undefined), runId);
  for (const cleanUp of cleanUps) {
    await cleanUp().catch((failure: unknown) => {
      error ??= failure;
    });
  }
  limit.dispose();
  await recordEnd(journal, error);
  return error;
};

/** What there is to read back is read even when the run failed: data that was lost is lost in a void run too. */
const finishLedgers = async (
  { live, signal }: RunRequest,
  journal: Journal,
  instrument: Instrument,
  error: unknown,
): Promise<void> => {
  const mode = isBlackstartError(error) && error.code === 'ABORTED' ? 'remove' : 'read';
  live({ type: 'phase', phase: 'read', title: 'reading back what was written' });
  await journal.append({ type: 'phase.started', phase: 'read' });
  await instrument.finishLedgers(mode);
  await journal.append({ type: 'phase.finished', phase: 'read' });
  // Who stopped the reading gets no verdict from half of it.
  signal.throwIfAborted();
};

const warmUp = async (running: Running, { streams }: RunRequest, instrument: Instrument): Promise<void> => {
  const { clock } = running.session;
  const required = new Set(streams.filter((stream) => stream.required).map((stream) => stream.stream));
  let quietSinceMs = clock.monotonicMs();
  instrument.onSample((sample) => {
    if (required.has(sample.stream) && sample.outcome !== 'good') quietSinceMs = Math.max(quietSinceMs, sample.endedMs);
  });
  await running.until('the first answers to be good', warmUpMaxMs, async () =>
    clock.monotonicMs() - quietSinceMs >= warmForMs ? true : undefined,
  );
};

const drawCounts = (request: RunRequest, instrument: Instrument): (() => Promise<void>) => {
  const { clock } = request.session;
  const locations = countByLocation(request.streams, instrument);
  const stop = new AbortController();
  const drawing = (async () => {
    while (!stop.signal.aborted) {
      request.live({ type: 'counts', locations });
      await clock.sleep(countsEveryMs, stop.signal).catch(() => undefined);
    }
  })();
  return async () => {
    stop.abort();
    await drawing;
  };
};
