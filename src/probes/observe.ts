import path from 'node:path';
import type { RunRecord } from '../analysis/record.ts';
import type { Clock } from '../core/clock.ts';
import { BlackstartError, isBlackstartError, messageOf } from '../core/errors.ts';
import { type Journal, type JournalEvent, openJournal } from '../core/journal.ts';
import { readRecord } from './record.ts';
import type { ProbedStream } from './sender-messages.ts';
import { type Senders, type StreamCounts, startSenders } from './senders.ts';

/** The one place that URLs are observed from: this machine. */
const here = 'here';

export interface ObserveOptions {
  readonly runId: string;
  /** The run's own folder, created if need be: journal, samples, self-checks. */
  readonly folder: string;
  /** What is observed; `streamsOfUrls` makes them of URLs. */
  readonly streams: readonly ProbedStream[];
  /** How long; null until the signal aborts. */
  readonly forMs: number | null;
  readonly seed: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** Ends the observation early. What was seen until then is still recorded. */
  readonly signal: AbortSignal;
  readonly onProgress?: (counts: ReadonlyMap<string, StreamCounts>, elapsedMs: number) => void;
  /** Something people should know while it goes on. */
  readonly onNote?: (text: string) => void;
}

/** One required stream per URL, named by the URL itself. Throws USAGE for what is not an http or https URL. */
export const streamsOfUrls = (
  urls: readonly string[],
  options: { readonly everyMs: number; readonly timeoutMs: number; readonly slowAfterMs?: number } & {
    readonly connection: 'fresh' | 'kept';
  },
): readonly ProbedStream[] =>
  [...new Set(urls)].map((url) => {
    if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
      throw new BlackstartError('USAGE', `${url} is not an http or https URL`, 'Write it out: http://127.0.0.1:8080/');
    }
    return {
      stream: `${url.replace(/\/$/, '')}/${here}/${options.connection}`,
      name: url,
      probe: 'http',
      location: here,
      sender: here,
      connection: options.connection,
      everyMs: options.everyMs,
      timeoutMs: options.timeoutMs,
      slowAfterMs: options.slowAfterMs ?? options.timeoutMs,
      required: true,
      params: { url },
    };
  });

/**
 * Measures outages that somebody else causes: the instrument alone, no fault of ours. Resolves with the record that
 * analysis computes the outages from; the folder holds the same, so that it can be computed again.
 */
export const observe = async (options: ObserveOptions): Promise<RunRecord> => {
  const { folder, clock, signal, runId, seed } = options;
  if (options.streams.length === 0) {
    throw new BlackstartError('USAGE', 'there is nothing to observe', 'Give at least one URL.');
  }
  const senders = await startSenders({
    runId,
    seed,
    streams: options.streams,
    resolvers: {},
    service: null,
    database: null,
    folder,
    clock,
    signal,
  });
  const journal = await openJournal(path.join(folder, 'journal.jsonl'), clock);
  try {
    const started = await writeStart(journal, options);
    await journal.append({ type: 'phase.started', phase: 'observe' });
    const error = await watch(senders, options);
    const finished = await journal.append({ type: 'phase.finished', phase: 'observe' });
    const aborted = signal.aborted || (isBlackstartError(error) && error.code === 'ABORTED');
    const ended = {
      reason: error === undefined ? ('finished' as const) : aborted ? ('aborted' as const) : ('failed' as const),
      message: error === undefined ? null : messageOf(error),
    };
    await journal.append({ type: 'run.ended', ...ended });
    return {
      run: runOf(started, options),
      streams: options.streams.map(({ params: _params, ...stream }) => stream),
      ...(await readRecord(folder)),
      observations: [],
      faults: [],
      phases: [{ name: 'observe', startMs: senders.startedMs, endMs: finished.atMs }],
      undo: { armed: 0, reverted: 0, outstanding: [] },
      targets: [],
      facts: { 'run.kind': 'observe' },
      ended,
    };
  } finally {
    await journal.close();
  }
};

const nameOf = (options: ObserveOptions): string => options.streams.map((stream) => stream.name).join(', ');

const runOf = (started: JournalEvent, options: ObserveOptions): RunRecord['run'] => ({
  id: options.runId,
  name: 'observe',
  title: `Observing ${nameOf(options)}`,
  environment: here,
  timeScale: 1,
  seed: options.seed,
  startedAt: started.at,
  originMs: started.atMs,
  versions: options.versions,
});

const writeStart = async (journal: Journal, options: ObserveOptions): Promise<JournalEvent> => {
  const streams = options.streams.map(({ params: _params, ...stream }) => stream);
  const started = await journal.append({
    type: 'run.started',
    runId: options.runId,
    kind: 'observe',
    name: 'observe',
    title: `Observing ${nameOf(options)}`,
    environment: here,
    timeScale: 1,
    seed: options.seed,
    versions: { ...options.versions },
    documents: { environment: null, document: null, targets: [], streams },
  });
  await journal.append({ type: 'fact', name: 'run.kind', value: 'observe' });
  return started;
};

/** Waits for the end, an abort or the loss of a sender, whichever comes first; then everything seen is on the disk. */
const watch = async (senders: Senders, options: ObserveOptions): Promise<unknown> => {
  const { clock, signal, forMs } = options;
  const lost = new AbortController();
  senders.onLoss((_location, error) => lost.abort(error));
  senders.onTrouble((stream, message) => options.onNote?.(`${stream}: ${message}`));
  senders.onProgress((counts) => options.onProgress?.(counts, clock.monotonicMs() - senders.startedMs));
  const stop = AbortSignal.any([signal, lost.signal]);
  let error: unknown;
  try {
    await waitFor(forMs, clock, stop);
  } catch (reason) {
    error = reason;
  }
  try {
    await senders.stop();
  } catch (failure) {
    error ??= failure;
  }
  return error;
};

const hourMs = 3_600_000;

const waitFor = async (forMs: number | null, clock: Clock, signal: AbortSignal): Promise<void> => {
  const endMs = forMs === null ? Number.POSITIVE_INFINITY : clock.monotonicMs() + forMs;
  for (let leftMs = endMs - clock.monotonicMs(); leftMs > 0; leftMs = endMs - clock.monotonicMs()) {
    await clock.sleep(Math.min(leftMs, hourMs), signal);
  }
};
