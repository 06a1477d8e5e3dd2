import { type ChildProcess, fork } from 'node:child_process';
import module from 'node:module';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Clock, deadline } from '../core/clock.ts';
import { BlackstartError, type ErrorCode } from '../core/errors.ts';
import type { ProbedService } from './probe.ts';
import type { Blind, InstrumentRecord, Sample } from './sample.ts';
import type { FromSender, ProbedStream, SenderConfig, StreamCounts, ToSender } from './sender-messages.ts';

export type { ProbedStream, StreamCounts } from './sender-messages.ts';

export interface SendersOptions {
  readonly runId: string;
  /** Fixes the random phase of every stream. */
  readonly seed: number;
  /** Every stream of every location; a process is started for each location's probes, and one for its ledgers. */
  readonly streams: readonly ProbedStream[];
  /** Location → `host:port` of its DNS resolver; the machine's own where there is none. */
  readonly resolvers: Readonly<Record<string, string>>;
  /** The environment's `service`, of which probes take what they need; null when only URLs are observed. */
  readonly service: ProbedService | null;
  readonly database: SenderConfig['database'];
  /** See `ProbeContext`. */
  readonly awsCredentialsFile?: string | null;
  /** The run's folder: `samples/`, `instrument/` and `blind/<location>.ndjson` are written into it. */
  readonly folder: string;
  readonly clock: Clock;
  /** Ends the start-up; a sender that runs is ended by `stop`. */
  readonly signal: AbortSignal;
}

/** Senders under way. Listeners are called as batches arrive, about ten times a second. */
export interface Senders {
  /** The instant the grids begin, on the machine's monotonic clock. */
  readonly startedMs: number;
  /** Process of each sender: a location's probes, its ledgers. */
  readonly pids: ReadonlyMap<string, number>;
  /** Each sample, per stream in send order: an outcome is told only once those of all earlier probes are known. */
  onSample(listener: (sample: Sample) => void): void;
  onBlind(listener: (blind: Blind) => void): void;
  onInstrument(listener: (record: InstrumentRecord) => void): void;
  onProgress(listener: (counts: ReadonlyMap<string, StreamCounts>) => void): void;
  /** A probe that could not look, or did not close; for people to read. */
  onTrouble(listener: (stream: string, message: string) => void): void;
  /** A sender ended by itself: from then on its streams are not observed. */
  onLoss(listener: (sender: string, error: Error) => void): void;
  counts(): ReadonlyMap<string, StreamCounts>;
  /** The samples of one stream sent at or after an instant, oldest first; the newest 20,000 are kept. */
  samplesSince(stream: string, sinceMs: number): readonly Sample[];
  /** Waits for the probes in flight, for every line to be on disk and for the processes to end. May be called twice. */
  stop(): Promise<void>;
}

const openWithinMs = 15_000;
const stopGraceMs = 6000;
const keptSamplesMax = 20_000;
const firstSendAfterMs = 50;

/** Starts the sender processes, opens every session, and begins all grids at one instant. */
export const startSenders = async (options: SendersOptions): Promise<Senders> => {
  const { streams, clock, signal } = options;
  const limit = deadline(clock, openWithinMs, tooSlow(), signal);
  const target = await startNullTarget(limit.signal);
  const names = [...new Set(streams.map((stream) => stream.sender))];
  const hub = createHub(streams.map((stream) => stream.stream));
  const senders = names.map((name) => startSender(configOf(options, name, target.port), clock, hub));
  try {
    await Promise.all(senders.map((sender) => sender.opened(limit.signal)));
  } catch (error) {
    for (const sender of senders) sender.kill();
    await target.close();
    throw error;
  } finally {
    limit.dispose();
  }
  const startedMs = clock.monotonicMs() + firstSendAfterMs;
  for (const sender of senders) sender.start(startedMs);
  let stopping: Promise<void> | undefined;
  return {
    startedMs,
    pids: new Map(senders.map((sender, index) => [names[index] ?? '', sender.pid])),
    ...hub.view,
    stop() {
      stopping ??= Promise.all(senders.map((sender) => sender.stop())).then(() => target.close());
      return stopping;
    },
  };
};

const tooSlow = (): BlackstartError =>
  new BlackstartError(
    'UNREACHABLE',
    `the probe senders were not ready within ${openWithinMs / 1000} s`,
    'Free some CPU, or look whether the names and credentials they need can be read.',
  );

const configOf = (options: SendersOptions, sender: string, nullTargetPort: number): SenderConfig => {
  const streams = options.streams.filter((stream) => stream.sender === sender);
  const location = streams[0]?.location ?? sender;
  return {
    runId: options.runId,
    seed: options.seed,
    sender,
    resolver: options.resolvers[location] ?? null,
    service: options.service === null ? null : namesOf(options.service),
    database: options.database,
    awsCredentialsFile: options.awsCredentialsFile ?? null,
    streams: streams.map((stream) => ({ ...stream, params: stream.params ?? {} })),
    nullTargetPort,
    samplesFile: path.join(options.folder, 'samples', `${sender}.ndjson`),
    instrumentFile: path.join(options.folder, 'instrument', `${sender}.ndjson`),
    blindFile: path.join(options.folder, 'blind', `${sender}.ndjson`),
    ledgersFolder: path.join(options.folder, 'ledgers'),
  };
};

const namesOf = (service: ProbedService): SenderConfig['service'] => {
  const { host, databaseHost, databaseName, objectsHost, model, regions, databaseInstances, objectsHosts, billing } =
    service;
  return {
    host,
    databaseHost,
    databaseName,
    objectsHost,
    model,
    regions: regions?.map(({ name, role }) => ({ name, role })),
    databaseInstances,
    billing,
    objectsHosts,
  };
};

/** Everything the senders tell, for whoever listens. */
const createHub = (streamNames: readonly string[]) => {
  const counts = new Map<string, StreamCounts>();
  const kept = new Map<string, Sample[]>(streamNames.map((name) => [name, []]));
  const listeners = {
    sample: [] as ((sample: Sample) => void)[],
    blind: [] as ((blind: Blind) => void)[],
    instrument: [] as ((record: InstrumentRecord) => void)[],
    progress: [] as ((counts: ReadonlyMap<string, StreamCounts>) => void)[],
    trouble: [] as ((stream: string, message: string) => void)[],
    loss: [] as ((location: string, error: Error) => void)[],
  };

  const keep = (sample: Sample): void => {
    const list = kept.get(sample.stream);
    list?.push(sample);
    // Cut back rarely, so that it costs nothing per sample.
    if (list !== undefined && list.length > keptSamplesMax * 1.25) list.splice(0, list.length - keptSamplesMax);
  };

  return {
    onMessage(message: FromSender) {
      if (message.kind === 'trouble') for (const one of listeners.trouble) one(message.stream, message.message);
      if (message.kind !== 'progress') return;
      // Blind stretches first: whoever judges the samples as they come must know where they are worth nothing.
      for (const blind of message.blind) for (const one of listeners.blind) one(blind);
      for (const sample of message.samples) {
        keep(sample);
        for (const one of listeners.sample) one(sample);
      }
      const { instrument } = message;
      if (instrument !== null) for (const one of listeners.instrument) one(instrument);
      for (const [stream, count] of Object.entries(message.counts)) counts.set(stream, count);
      for (const one of listeners.progress) one(counts);
    },
    onLoss(location: string, error: Error) {
      for (const one of listeners.loss) one(location, error);
    },
    view: {
      onSample: (listener: (sample: Sample) => void) => void listeners.sample.push(listener),
      onBlind: (listener: (blind: Blind) => void) => void listeners.blind.push(listener),
      onInstrument: (listener: (record: InstrumentRecord) => void) => void listeners.instrument.push(listener),
      onProgress: (listener: (all: ReadonlyMap<string, StreamCounts>) => void) =>
        void listeners.progress.push(listener),
      onTrouble: (listener: (stream: string, message: string) => void) => void listeners.trouble.push(listener),
      onLoss: (listener: (location: string, error: Error) => void) => void listeners.loss.push(listener),
      counts: (): ReadonlyMap<string, StreamCounts> => counts,
      samplesSince(stream: string, sinceMs: number): readonly Sample[] {
        const list = kept.get(stream) ?? [];
        return list.slice(list.findLastIndex((sample) => sample.sentMs < sinceMs) + 1);
      },
    },
  };
};

interface SenderProcess {
  readonly pid: number;
  opened(signal: AbortSignal): Promise<void>;
  start(startMs: number): void;
  stop(): Promise<void>;
  kill(): void;
}

type Hub = ReturnType<typeof createHub>;

const startSender = (config: SenderConfig, clock: Clock, hub: Hub): SenderProcess => {
  const child = forkSender();
  const opened = Promise.withResolvers<void>();
  const exited = Promise.withResolvers<void>();
  let stopping = false;
  let failure: Error | undefined;
  const tell = (message: ToSender): void => {
    if (child.connected) child.send(message, () => undefined);
  };

  const lost = (error: Error): void => {
    failure ??= error;
    opened.reject(failure);
    if (!stopping) hub.onLoss(config.sender, failure);
  };
  // Whoever waits for it sees the rejection; nobody may be waiting when a running sender is lost.
  opened.promise.catch(() => undefined);

  // A sender of our own, started from this very source: its messages are taken as typed.
  child.on('message', (raw) => {
    const message = raw as FromSender;
    if (message.kind === 'alive') tell({ kind: 'open', config });
    else if (message.kind === 'opened') opened.resolve();
    else if (message.kind === 'stopped') {
      // Everything is on the disk: whatever a session may have left open holds up nobody.
      stopping = true;
      child.kill('SIGTERM');
    } else if (message.kind === 'failed') lost(failedError(config.sender, message));
    else hub.onMessage(message);
  });
  const errors = tailOf(child);
  child.on('error', (error) => lost(error));
  child.on('exit', (code, signalName) => {
    if (!stopping) lost(new Error(`the sender ${config.sender} ended (${signalName ?? code}) ${errors()}`.trim()));
    exited.resolve();
  });

  return {
    pid: child.pid ?? 0,
    opened: (signal) => raceAbort(opened.promise, signal),
    start: (startMs) => tell({ kind: 'start', startMs }),
    kill() {
      stopping = true;
      child.kill('SIGKILL');
    },
    async stop() {
      const alreadyLost = failure;
      stopping = true;
      tell({ kind: 'stop' });
      const timeoutMaxMs = Math.max(...config.streams.map((stream) => stream.timeoutMs));
      const grace = deadline(clock, timeoutMaxMs + stopGraceMs, new Error(`sender ${config.sender} did not stop`));
      try {
        await raceAbort(exited.promise, grace.signal);
      } catch (error) {
        child.kill('SIGKILL');
        throw error;
      } finally {
        grace.dispose();
      }
      if (alreadyLost !== undefined) throw alreadyLost;
    },
  };
};

/** In a process group of its own: a Ctrl-C at the keyboard reaches the runner alone, and the last samples count. */
const forkSender = (): ChildProcess => {
  const extension = import.meta.filename.endsWith('.ts') ? 'ts' : 'js';
  const cache = module.getCompileCacheDir();
  const env = cache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: path.dirname(cache) };
  return fork(path.join(import.meta.dirname, `sender.${extension}`), [], {
    execArgv: ['--max-semi-space-size=4'],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    detached: true,
    env,
  });
};

const tailCharactersMax = 2000;

/** The end of what a process wrote on its standard error. */
const tailOf = (child: ChildProcess): (() => string) => {
  let tail = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    tail = (tail + piece).slice(-tailCharactersMax);
  });
  return () => tail.trim();
};

const failedError = (sender: string, message: Extract<FromSender, { kind: 'failed' }>): Error =>
  message.code === null
    ? new Error(`the sender ${sender} failed: ${message.message}`)
    : new BlackstartError(message.code as ErrorCode, message.message, message.hint);

const raceAbort = <T>(promise: Promise<T>, signal: AbortSignal): Promise<T> => {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener('abort', onAbort));
};

const startNullTarget = async (signal: AbortSignal): Promise<{ port: number; close(): Promise<void> }> => {
  const extension = import.meta.filename.endsWith('.ts') ? 'ts' : 'js';
  const worker = new Worker(path.join(import.meta.dirname, `null-target.${extension}`), {
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 16 },
  });
  const ready = Promise.withResolvers<number>();
  worker.once('message', (port: unknown) => ready.resolve(Number(port)));
  worker.once('error', ready.reject);
  const close = async (): Promise<void> => {
    await worker.terminate();
  };
  try {
    return { port: await raceAbort(ready.promise, signal), close };
  } catch (error) {
    await close();
    throw error;
  }
};
