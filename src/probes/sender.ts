import { setPriority } from 'node:os';
import path from 'node:path';
import { setImmediate as afterIo } from 'node:timers/promises';
import { createDnsClient, createSystemDnsClient } from '../adapters/dns.ts';
import { systemClock as clock, deadline } from '../core/clock.ts';
import { isBlackstartError, messageOf } from '../core/errors.ts';
import { createEngine, type EngineOutput, type LiveStream } from './engine.ts';
import { http } from './http.ts';
import { probes } from './index.ts';
import { ledgerFileName } from './ledger/line.ts';
import { type LineFile, openLineFile } from './line-file.ts';
import { createNames } from './names.ts';
import { phaseOf } from './phase.ts';
import type { Probe, ProbeContext, ProbeSession } from './probe.ts';
import type { Blind, InstrumentRecord, Sample, Stream } from './sample.ts';
import { gridFrom } from './schedule.ts';
import { createSelfCheck } from './self-check.ts';
import { type FromSender, type SenderConfig, type StreamCounts, toSenderSchema } from './sender-messages.ts';

/*
 * The process that sends the probes, or writes the ledgers, of one client location. It is started by senders.ts, talks
 * to its parent over Node's IPC channel, and ends, with everything on disk, when the parent says so or is gone.
 */

const flushEveryMs = 100;
const instrumentEveryMs = 1000;
const closeWithinMs = 2000;
const warmUpLooks = 40;

const tell = (message: FromSender): void => {
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
};

/** Messages one after another, so that a `start` right behind an `open` is not lost. */
const inbox = (): { next(): Promise<unknown>; readonly gone: AbortSignal; readonly stopped: AbortSignal } => {
  const waiting: unknown[] = [];
  const gone = new AbortController();
  const stopped = new AbortController();
  let wake: (() => void) | undefined;
  process.on('message', (message: unknown) => {
    if (typeof message === 'object' && message !== null && 'kind' in message && message.kind === 'stop')
      stopped.abort();
    waiting.push(message);
    wake?.();
  });
  process.on('disconnect', () => {
    gone.abort();
    stopped.abort();
    wake?.();
  });
  return {
    gone: gone.signal,
    stopped: stopped.signal,
    async next() {
      while (waiting.length === 0 && !gone.signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return waiting.shift() ?? { kind: 'stop' };
    },
  };
};

interface Opened {
  readonly stream: Stream;
  readonly session: ProbeSession;
  readonly control: boolean;
}

const openStreams = async (config: SenderConfig): Promise<{ opened: Opened[]; closeNames(): void }> => {
  const timeoutMaxMs = Math.max(...config.streams.map((stream) => stream.timeoutMs));
  const resolver =
    config.resolver === null ? createSystemDnsClient(timeoutMaxMs) : createDnsClient(config.resolver, clock);
  const { runId, service, database, awsCredentialsFile = null } = config;
  const open = async (probe: Probe, stream: Stream, params: unknown, control: boolean): Promise<Opened> => {
    // A ledger asks anew for each write: what it counts is the authority, which a cached answer may not name.
    const names = createNames(resolver, probe.openLedger === undefined ? stream.connection : 'fresh', clock);
    const ledgerFile = path.join(config.ledgersFolder, ledgerFileName(stream.stream));
    const context: ProbeContext = { runId, stream, service, database, awsCredentialsFile, ledgerFile, names, clock };
    return { stream, session: await probe.open(params, context), control };
  };
  const opened = await Promise.all(
    config.streams.map(({ params, ...stream }) => {
      const probe = probes.find((candidate) => candidate.name === stream.probe);
      if (probe === undefined) throw new Error(`no probe is registered as ${stream.probe}`);
      return open(probe, stream, params, false);
    }),
  );
  const url = `http://127.0.0.1:${config.nullTargetPort}/`;
  opened.push(await open(http, controlStream(config), { url }, true));
  return { opened, closeNames: () => resolver.close() };
};

/** The same engine against a target that cannot fail: what goes wrong here is the instrument's own. */
const controlStream = ({ sender, streams }: SenderConfig): Stream => ({
  stream: `control/${sender}/fresh`,
  name: 'control',
  probe: 'http',
  location: sender,
  sender,
  connection: 'fresh',
  everyMs: 100,
  timeoutMs: 1000,
  slowAfterMs: Math.max(50, Math.min(1000, ...streams.map((stream) => stream.slowAfterMs)) / 2),
  required: false,
});

/** The first requests of a process are slow (code not compiled yet): they go to the null target, not the platform. */
const warmUp = async (opened: readonly Opened[]): Promise<void> => {
  const control = opened.find((one) => one.control);
  for (let index = 0; index < warmUpLooks; index += 1) {
    const limit = deadline(clock, 1000, new Error('the null target does not answer'));
    await control?.session.look({ index, sentMs: clock.monotonicMs(), signal: limit.signal, seen: {} });
    limit.dispose();
  }
};

const noCounts: StreamCounts = { good: 0, slow: 0, bad: 0, dropped: 0, goodInARow: 0, last: null };

const countOne = (before: StreamCounts, sample: Sample): StreamCounts => ({
  ...before,
  [sample.outcome]: before[sample.outcome] + 1,
  goodInARow: sample.outcome === 'good' ? before.goodInARow + 1 : 0,
  last: sample,
});

interface Files {
  readonly samples: LineFile;
  readonly instrument: LineFile;
  readonly blind: LineFile;
}

/** Collects what the engine says and hands it on in batches: to the files first, then to the parent. */
const createOutlet = (config: SenderConfig, files: Files) => {
  const counts: Record<string, StreamCounts> = {};
  for (const { stream } of config.streams) counts[stream] = noCounts;
  let samples: Sample[] = [];
  let blind: Blind[] = [];
  let instrument: InstrumentRecord | null = null;
  const output: EngineOutput = {
    onSample(sample) {
      files.samples.push(sample);
      samples.push(sample);
    },
    onOutcome(sample) {
      counts[sample.stream] = countOne(counts[sample.stream] ?? noCounts, sample);
    },
    onBlind(one) {
      files.blind.push(one);
      blind.push(one);
    },
    onTrouble: (stream, message) => tell({ kind: 'trouble', stream, message }),
  };
  return {
    output,
    onInstrument(record: InstrumentRecord) {
      files.instrument.push(record);
      instrument = record;
    },
    async flush() {
      tell({ kind: 'progress', samples, counts, blind, instrument });
      samples = [];
      blind = [];
      instrument = null;
      await Promise.all([files.samples.flush(), files.instrument.flush(), files.blind.flush()]);
    },
  };
};

const sendAll = async (config: SenderConfig, opened: readonly Opened[], startMs: number, stop: AbortSignal) => {
  const files: Files = {
    samples: await openLineFile(config.samplesFile),
    instrument: await openLineFile(config.instrumentFile),
    blind: await openLineFile(config.blindFile),
  };
  const outlet = createOutlet(config, files);
  const streams = opened.map(
    (one): LiveStream => ({
      ...one,
      grid: gridFrom(startMs, one.stream.everyMs, phaseOf(config.seed, one.stream.stream)),
    }),
  );
  const engine = createEngine({ clock, afterIo, sender: config.sender, streams, output: outlet.output });
  const selfCheck = createSelfCheck(config.sender, engine.meter, clock);
  const ended = new AbortController();
  const handOn = async (): Promise<void> => {
    let checkedMs = clock.monotonicMs();
    while (!ended.signal.aborted) {
      await clock.sleep(flushEveryMs);
      if (clock.monotonicMs() - checkedMs >= instrumentEveryMs) {
        checkedMs = clock.monotonicMs();
        outlet.onInstrument(selfCheck.look());
      }
      await outlet.flush();
    }
  };
  const sending = engine.run(stop).finally(() => ended.abort());
  await Promise.all([sending, handOn()]);
  await outlet.flush();
  await Promise.all([files.samples.close(), files.instrument.close(), files.blind.close()]);
};

/** A session that does not close cleanly (its target may be dead) is reported and holds up nothing. */
const closeAll = async (opened: readonly Opened[]): Promise<void> => {
  const limit = deadline(clock, closeWithinMs, new Error('closing took too long'));
  await Promise.all(
    opened.map(({ stream, session }) =>
      session.close(limit.signal).catch((error: unknown) => {
        tell({ kind: 'trouble', stream: stream.stream, message: `closing: ${messageOf(error)}` });
      }),
    ),
  );
  limit.dispose();
};

/** The instrument must not wait for what it measures on the same machine. Only root may ask for that. */
const askForPriority = (): void => {
  try {
    setPriority(-10);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_SYSTEM_ERROR')) throw error;
  }
};

const main = async (): Promise<void> => {
  askForPriority();
  const box = inbox();
  tell({ kind: 'alive' });
  const first = toSenderSchema.parse(await box.next());
  if (first.kind !== 'open') return;
  const { opened, closeNames } = await openStreams(first.config);
  await warmUp(opened);
  tell({ kind: 'opened' });
  const second = toSenderSchema.parse(await box.next());
  if (second.kind === 'start') await sendAll(first.config, opened, second.startMs, box.stopped);
  await closeAll(opened);
  closeNames();
  tell({ kind: 'stopped' });
};

try {
  await main();
} catch (error) {
  const known = isBlackstartError(error);
  tell({
    kind: 'failed',
    code: known ? error.code : null,
    message: known ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error),
    hint: known ? error.hint : '',
  });
}
if (process.connected) process.disconnect();
