import path from 'node:path';
import { createDnsClient, createSystemDnsClient } from '../../adapters/dns.ts';
import { type Clock, deadline } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { probes } from '../index.ts';
import { createNames } from '../names.ts';
import type { ProbeContext } from '../probe.ts';
import type { SendersOptions } from '../senders.ts';
import { type LedgerFile, openLedgerFile } from './attempts.ts';
import { type LedgerRead, ledgerFileName } from './line.ts';
import { readLine } from './read.ts';
import type { LedgerSession } from './store.ts';

type Options = Omit<SendersOptions, 'seed' | 'signal'>;
type LedgerStream = Options['streams'][number];

export interface FinalOptions extends Options {
  /** `remove` takes the ledgers' records away without reading them: nothing is to be judged. */
  readonly mode: 'read' | 'remove';
  /** Real milliseconds for all of it. */
  readonly atMostMs: number;
  /** Ends the reading, not the taking away. */
  readonly stop?: AbortSignal;
  /** What could not be done, for people. */
  note(text: string): void;
}

const readTimeoutMs = 10_000;
const betweenReadsMs = 250;
/** Who pressed Ctrl-C waits no longer for the records to be taken away. */
const stoppedMs = 2000;

const isSame = (one: LedgerRead | undefined, other: LedgerRead): boolean =>
  one !== undefined &&
  one.code === 'ok' &&
  other.code === 'ok' &&
  one.seen === other.seen &&
  JSON.stringify(one.repeated ?? {}) === JSON.stringify(other.repeated ?? {});

/** Full reads of the authority, each kept, until two in a row agree or the time is up. */
const readUntilAgreed = async (
  session: LedgerSession,
  file: LedgerFile,
  clock: Clock,
  signal: AbortSignal,
): Promise<string | undefined> => {
  let before: LedgerRead | undefined;
  while (!signal.aborted) {
    const limit = deadline(clock, readTimeoutMs, new Error('the read timed out'), signal);
    try {
      const { line } = await readLine({ session, copy: null, since: 0, final: true, clock, signal: limit.signal });
      file.push(line);
      if (isSame(before, line)) return undefined;
      before = line;
    } finally {
      limit.dispose();
    }
    await clock.sleep(betweenReadsMs, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
  return before === undefined || before.code === 'ok'
    ? 'two reads in a row did not agree in time'
    : `it could not be read: ${before.code}`;
};

/**
 * The end of every ledger, once its writers have stopped and the platform is at rest: what is there is read from the
 * surviving authority until two full reads agree, and then taken away.
 */
export const finishLedgers = async (options: FinalOptions): Promise<void> => {
  const { streams, clock, note } = options;
  const limit = deadline(clock, options.atMostMs, new Error('reading the ledgers took too long'));
  try {
    await Promise.all(
      streams.map(async (stream) => {
        try {
          await finishOne(stream, options, limit.signal);
        } catch (error) {
          note(`${stream.stream}: ${messageOf(error)}`);
        }
      }),
    );
  } finally {
    limit.dispose();
  }
};

const finishOne = async (stream: LedgerStream, options: FinalOptions, signal: AbortSignal): Promise<void> => {
  const probe = probes.find(({ name }) => name === stream.probe);
  if (probe?.openLedger === undefined) return;
  const { clock, note } = options;
  const resolverAddress = options.resolvers[stream.location];
  const resolver =
    resolverAddress === undefined ? createSystemDnsClient(stream.timeoutMs) : createDnsClient(resolverAddress, clock);
  const { params = {}, ...named } = stream;
  const context: ProbeContext = {
    runId: options.runId,
    stream: named,
    service: options.service,
    database: options.database,
    awsCredentialsFile: options.awsCredentialsFile ?? null,
    names: createNames(resolver, 'fresh', clock),
    clock,
  };
  const file = openLedgerFile(path.join(options.folder, 'ledgers', ledgerFileName(stream.stream)));
  try {
    const session = await probe.openLedger(params, context);
    try {
      const reading = options.stop === undefined ? signal : AbortSignal.any([signal, options.stop]);
      const trouble = options.mode === 'read' ? await readUntilAgreed(session, file, clock, reading) : undefined;
      if (trouble !== undefined) note(`${stream.stream}: ${trouble}`);
      const isStopped = options.stop?.aborted === true;
      const limit = deadline(clock, isStopped ? stoppedMs : options.atMostMs, new Error('it took too long'), signal);
      try {
        await session.remove(limit.signal);
      } finally {
        limit.dispose();
      }
    } finally {
      await session.close(signal);
    }
  } finally {
    file.close();
    resolver.close();
  }
};
