import type { Clock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import type { Attempt, Look, ProbeSession } from './probe.ts';
import type { Blind, Sample, Stream } from './sample.ts';
import { dueBy, type Grid, inFlightMax, scheduledMs } from './schedule.ts';

/** One stream ready to be sent: an open session on a grid. */
export interface LiveStream {
  readonly stream: Stream;
  readonly session: ProbeSession;
  readonly grid: Grid;
  /** The control stream looks at a null target next door; its failures blind the instrument and are no samples. */
  readonly control: boolean;
}

/** What an engine hands on, as it happens. */
export interface EngineOutput {
  /** Samples of one stream come in send order, each once its outcome and those of all before it are known. */
  onSample(sample: Sample): void;
  /** At once, in order of completion: for progress only. */
  onOutcome(sample: Sample): void;
  onBlind(blind: Blind): void;
  /** A probe that could not look; told once for each stream and message. */
  onTrouble(stream: string, message: string): void;
}

/** Counters of the running second, for the self-checks; `take` starts the next one. */
export interface EngineMeter {
  take(): {
    readonly sendLagsMs: readonly number[];
    readonly stallMaxMs: number;
    readonly dropped: number;
    readonly inFlightMax: number;
    readonly controlSent: number;
    readonly controlBad: number;
  };
}

export interface EngineOptions {
  readonly clock: Clock;
  /** Resolves after the I/O that is already here has been handled (`setImmediate`). */
  readonly afterIo: () => Promise<void>;
  readonly sender: string;
  readonly streams: readonly LiveStream[];
  readonly output: EngineOutput;
}

export interface Engine {
  readonly meter: EngineMeter;
  /** Sends until the signal aborts, then waits for what is in flight (each bounded by its own time-out). */
  run(stop: AbortSignal): Promise<void>;
}

/** A stall above this makes the sender blind: 20 ms, or a quarter of the shortest latency limit if that is less. */
export const stallLimitMs = (streams: readonly Stream[]): number =>
  Math.min(20, ...streams.map((stream) => stream.slowAfterMs / 4));

/** Instants are written to the microsecond. Rounding keeps their order: blind stretches still touch what they did. */
const roundMs = (ms: number): number => Math.round(ms * 1000) / 1000;

interface Slot {
  sample: Sample | undefined;
}

interface Lane {
  readonly live: LiveStream;
  readonly inFlightMax: number;
  nextIndex: number;
  inFlight: number;
  /** Probes in send order whose samples are not handed on yet. */
  readonly slots: Slot[];
  readonly troubles: Set<string>;
}

/**
 * The open-model sender: one loop for all streams of a location. It wakes for the next probe and, in between, often
 * enough to notice when its own process did not run.
 */
export const createEngine = ({ clock, afterIo, sender, streams, output }: EngineOptions): Engine => {
  const lanes = streams.map(
    (live): Lane => ({
      live,
      inFlightMax: inFlightMax(live.stream.everyMs, live.stream.timeoutMs),
      nextIndex: 0,
      inFlight: 0,
      slots: [],
      troubles: new Set(),
    }),
  );
  const limitMs = stallLimitMs(streams.filter((live) => !live.control).map((live) => live.stream));
  const tickMs = Math.max(1, limitMs * 0.4);
  const inFlight = new Set<Promise<void>>();
  let second = emptySecond();
  /** All the time this process is known to have stood still. */
  let stalledMs = 0;

  const handOn = (lane: Lane): void => {
    while (lane.slots[0]?.sample !== undefined) {
      const { sample } = lane.slots.shift() ?? {};
      if (sample !== undefined) output.onSample(sample);
    }
  };

  const record = (lane: Lane, slot: Slot, sample: Sample): void => {
    slot.sample = sample;
    output.onOutcome(sample);
    handOn(lane);
  };

  const blind = (fromMs: number, toMs: number, cause: string): void =>
    output.onBlind({ sender, fromMs: roundMs(fromMs), toMs: roundMs(toMs), cause });

  const drop = (lane: Lane, index: number, atMs: number, code: string): void => {
    second.dropped += 1;
    if (lane.live.control) return;
    const slot: Slot = { sample: undefined };
    lane.slots.push(slot);
    record(lane, slot, notSent(lane.live.stream, index, atMs, code));
  };

  const conclude = (lane: Lane, attempt: Attempt, scheduled: number, look: Look, stalledBeforeMs: number): Sample => {
    const { stream } = lane.live;
    const endedMs = look.endedMs ?? clock.monotonicMs();
    const late = endedMs - attempt.sentMs > stream.timeoutMs && look.code === 'ok';
    const code = late ? 'timeout' : look.code;
    const { timeoutCode: _stage, firstByteMs, ...seen } = attempt.seen;
    const judgedMs = (look.answeredMs ?? endedMs) - attempt.sentMs;
    const outcome = look.unsent ? 'dropped' : code !== 'ok' ? 'bad' : judgedMs > stream.slowAfterMs ? 'slow' : 'good';
    const stalledForMs = stalledMs - stalledBeforeMs;
    if (isOurDelay(outcome, code, judgedMs, stalledForMs, stream)) blind(endedMs, endedMs, 'stalled-in-flight');
    if (outcome === 'dropped') {
      second.dropped += 1;
      return notSent(stream, attempt.index, scheduled, code);
    }
    return {
      stream: stream.stream,
      index: attempt.index,
      scheduledMs: roundMs(scheduled),
      sentMs: roundMs(attempt.sentMs),
      endedMs: roundMs(endedMs),
      outcome,
      code,
      ...(firstByteMs === undefined ? {} : { firstByteMs: roundMs(firstByteMs) }),
      ...seen,
    };
  };

  const send = (lane: Lane, index: number, scheduled: number): void => {
    const { stream, session, control } = lane.live;
    const sentMs = clock.monotonicMs();
    const slot: Slot = { sample: undefined };
    if (!control) lane.slots.push(slot);
    lane.inFlight += 1;
    second.sendLagsMs.push(sentMs - scheduled);
    if (control) second.controlSent += 1;
    second.inFlightMax = Math.max(second.inFlightMax, totalInFlight(lanes));

    const stalledBeforeMs = stalledMs;
    const limit = new AbortController();
    const attempt: Attempt = { index, sentMs, signal: limit.signal, seen: {} };
    const looking = lookOnce(session, attempt, stream.timeoutMs, clock, limit).then((look) => {
      lane.inFlight -= 1;
      inFlight.delete(looking);
      if (look.trouble !== undefined && !lane.troubles.has(look.trouble)) {
        lane.troubles.add(look.trouble);
        output.onTrouble(stream.stream, look.trouble);
      }
      const sample = conclude(lane, attempt, scheduled, look, stalledBeforeMs);
      if (!control) return record(lane, slot, sample);
      if (sample.outcome === 'good') return;
      second.controlBad += 1;
      blind(sample.sentMs, sample.endedMs, 'control');
    });
    inFlight.add(looking);
  };

  const sendDue = (nowMs: number): void => {
    for (const lane of lanes) {
      for (const due of dueBy(lane.live.grid, lane.nextIndex, nowMs)) {
        lane.nextIndex = due.index + 1;
        if (!due.send) drop(lane, due.index, due.scheduledMs, 'late');
        else if (lane.inFlight >= lane.inFlightMax) drop(lane, due.index, due.scheduledMs, 'in-flight');
        else send(lane, due.index, due.scheduledMs);
      }
    }
  };

  const noticeStall = async (fromMs: number): Promise<void> => {
    const gapMs = clock.monotonicMs() - fromMs;
    second.stallMaxMs = Math.max(second.stallMaxMs, gapMs - tickMs);
    if (gapMs <= limitMs) return;
    // Overdue timers fire in this turn and stamp their ends now; what arrived meanwhile is read right after. Both must
    // lie inside the blind stretch, and what is sent next must not.
    await afterIo();
    const toMs = clock.monotonicMs();
    stalledMs += toMs - fromMs;
    blind(fromMs, toMs, 'event-loop');
  };

  return {
    meter: {
      take() {
        const taken = second;
        second = emptySecond();
        return taken;
      },
    },
    async run(stop) {
      let wokeMs = clock.monotonicMs();
      while (!stop.aborted) {
        const nextMs = Math.min(wokeMs + tickMs, ...lanes.map((lane) => scheduledMs(lane.live.grid, lane.nextIndex)));
        await sleepUntil(nextMs, clock, stop);
        if (stop.aborted) break;
        await noticeStall(wokeMs);
        wokeMs = clock.monotonicMs();
        sendDue(wokeMs);
      }
      await Promise.all(inFlight);
    },
  };
};

const notSent = ({ stream }: Stream, index: number, scheduled: number, code: string): Sample => {
  const at = roundMs(scheduled);
  return { stream, index, scheduledMs: at, sentMs: at, endedMs: at, outcome: 'dropped', code };
};

const totalInFlight = (lanes: readonly Lane[]): number => lanes.reduce((sum, lane) => sum + lane.inFlight, 0);

const emptySecond = () => ({
  sendLagsMs: [] as number[],
  stallMaxMs: 0,
  dropped: 0,
  inFlightMax: 0,
  controlSent: 0,
  controlBad: 0,
});

/** Timers round down to whole milliseconds: rounding up first never wakes before the probe is due. */
const sleepUntil = (untilMs: number, clock: Clock, signal: AbortSignal): Promise<void> =>
  clock.sleep(Math.max(1, Math.ceil(untilMs - clock.monotonicMs())), signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });

/**
 * Whether an answer would have been in time had this process not stood still meanwhile; then its end is blind, and the
 * probe says nothing. A time-out counts when more than a quarter of it was ours.
 */
const isOurDelay = (
  outcome: Sample['outcome'],
  code: string,
  judgedMs: number,
  stalledForMs: number,
  stream: Stream,
): boolean => {
  if (stalledForMs === 0) return false;
  if (outcome === 'slow') return judgedMs - stalledForMs <= stream.slowAfterMs;
  return outcome === 'bad' && code.endsWith('timeout') && stalledForMs > stream.timeoutMs / 4;
};

/** One look under its own deadline. Whatever the session does, the probe ends at its time-out. */
const lookOnce = (
  session: ProbeSession,
  attempt: Attempt,
  timeoutMs: number,
  clock: Clock,
  limit: AbortController,
): Promise<Look & { readonly trouble?: string }> =>
  new Promise((resolve) => {
    const answered = new AbortController();
    clock.sleep(timeoutMs, answered.signal).then(
      () => {
        resolve({ code: attempt.seen.timeoutCode ?? 'timeout', endedMs: clock.monotonicMs() });
        limit.abort(new Error('the probe timed out'));
      },
      () => undefined,
    );
    session.look(attempt).then(
      (look) => {
        resolve(look);
        answered.abort();
      },
      (error: unknown) => {
        resolve({ code: 'probe-error', unsent: true, trouble: messageOf(error) });
        answered.abort();
      },
    );
  });
