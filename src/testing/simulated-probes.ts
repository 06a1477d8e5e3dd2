import type { Sample, Stream } from '../probes/sample.ts';

/**
 * Probes of a service whose truth is known, in virtual time. Whether a request succeeds is decided when it arrives,
 * half a latency after it was sent; so what clients experience is known exactly, too.
 */
export type FailureKind = 'crash' | 'hang' | 'freeze' | 'error';

export interface Down {
  readonly kind: FailureKind;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface Simulation {
  readonly stream: Stream;
  readonly fromMs: number;
  readonly toMs: number;
  readonly downs: readonly Down[];
  /** Network time each way; the answer takes up to `jitterMs` more. */
  readonly halfMs: number;
  readonly jitterMs: number;
  /** Share of answers that are errors although the service is up. */
  readonly strays: number;
  /** The prober stands still: nothing is sent, and what ends meanwhile is seen at the end. */
  readonly stalls: readonly { readonly fromMs: number; readonly toMs: number }[];
  readonly random: () => number;
}

/** A small seeded generator (mulberry32): uniform in [0, 1). */
export const seeded = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

export const streamOf = (changes: Partial<Stream> = {}): Stream => ({
  stream: 'chat/west/fresh',
  name: 'chat',
  probe: 'chat',
  location: 'west',
  sender: 'west',
  connection: 'fresh',
  everyMs: 100,
  timeoutMs: 1000,
  slowAfterMs: 1000,
  required: true,
  ...changes,
});

interface Answer {
  readonly code: string;
  /** Infinite when none ever comes. */
  readonly endMs: number;
}

const answerOf = (simulation: Simulation, sentMs: number): Answer => {
  const { halfMs, jitterMs, random, downs, strays } = simulation;
  const arrivedMs = sentMs + halfMs;
  const backMs = halfMs + jitterMs * random();
  const isStray = random() < strays;
  const down = downs.find(({ fromMs, toMs }) => arrivedMs >= fromMs && arrivedMs < toMs);
  if (down === undefined) return { code: isStray ? '503' : 'ok', endMs: arrivedMs + backMs };
  if (down.kind === 'crash') return { code: 'refused', endMs: arrivedMs + backMs };
  if (down.kind === 'error') return { code: '503', endMs: arrivedMs + backMs };
  if (down.kind === 'hang') return { code: 'timeout', endMs: Number.POSITIVE_INFINITY };
  return { code: 'ok', endMs: down.toMs + backMs };
};

const stallAt = ({ stalls }: Simulation, atMs: number) =>
  stalls.find(({ fromMs, toMs }) => atMs >= fromMs && atMs < toMs);

const sampleOf = (simulation: Simulation, index: number, scheduledMs: number, sentMs: number): Sample => {
  const { stream, halfMs } = simulation;
  const answer = answerOf(simulation, sentMs);
  const dueMs = sentMs + stream.timeoutMs;
  const happenedMs = Math.min(answer.endMs, dueMs);
  // What happened while the prober stood still is seen when it runs again: an overdue timer fires exactly at the edge.
  const endedMs = stallAt(simulation, happenedMs)?.toMs ?? happenedMs;
  const timedOut = answer.endMs > dueMs || endedMs - sentMs > stream.timeoutMs;
  const code = timedOut ? 'timeout' : answer.code;
  const isSlow = endedMs - sentMs > stream.slowAfterMs;
  const outcome = code !== 'ok' ? 'bad' : isSlow ? 'slow' : 'good';
  return {
    stream: stream.stream,
    index,
    scheduledMs,
    sentMs,
    endedMs: Math.max(endedMs, sentMs + halfMs),
    outcome,
    code,
  };
};

/** Samples on the stream's grid with a random start phase; a probe later than one spacing is dropped. */
export const simulate = (simulation: Simulation): readonly Sample[] => {
  const { stream, fromMs, toMs, random } = simulation;
  const samples: Sample[] = [];
  const phaseMs = random() * stream.everyMs;
  for (let index = 0; ; index += 1) {
    const scheduledMs = fromMs + phaseMs + index * stream.everyMs;
    if (scheduledMs > toMs) return samples;
    const dueMs = scheduledMs + Math.min(2, stream.everyMs / 20) * random();
    const sentMs = stallAt(simulation, dueMs)?.toMs ?? dueMs;
    if (sentMs - scheduledMs <= stream.everyMs) {
      samples.push(sampleOf(simulation, index, scheduledMs, sentMs));
      continue;
    }
    const never = { scheduledMs, sentMs: scheduledMs, endedMs: scheduledMs };
    samples.push({ stream: stream.stream, index, ...never, outcome: 'dropped', code: 'late' });
  }
};

/** How long requests fail from a client's view, by when they are sent. */
export const clientTruthMs = ({ kind, fromMs, toMs }: Down, stream: Stream, halfMs: number): number => {
  const limitMs = Math.min(stream.slowAfterMs, stream.timeoutMs);
  return kind === 'freeze' ? Math.max(0, toMs - fromMs + 2 * halfMs - limitMs) : toMs - fromMs;
};
