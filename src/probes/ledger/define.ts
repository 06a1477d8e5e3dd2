import { z } from 'zod';
import { type Clock, deadline } from '../../core/clock.ts';
import { durationMs } from '../../core/duration.ts';
import { messageOf } from '../../core/errors.ts';
import type { Attempt, Look, Probe, ProbeContext } from '../probe.ts';
import { type LedgerFile, noLedgerFile, openLedgerFile } from './attempts.ts';
import { readLine, roundMs } from './read.ts';
import type { LedgerSession, LedgerStore, Written } from './store.ts';

/** Parameters of every ledger. */
const commonParams = z.strictObject({
  copies: z
    .union([z.enum(['all', 'others']), z.array(z.string().min(1))])
    .default([])
    .meta({
      description:
        'Regions whose copy is looked at while the ledger is written: their names, primary and failover, ' +
        'all of them, or all others than the primary; several of these in a list.',
    }),
  lookEvery: durationMs.default(200).meta({ description: 'Real time between two looks at a copy.' }),
});

/** A look at a copy that takes longer has found nothing out. */
const lookTimeoutMs = 5000;
/** Numbers so far behind the newest are not asked for again: what is lost for good must not lengthen every look. */
const lookBackMax = 5000;

const commonOf = (params: Record<string, unknown>): z.output<typeof commonParams> => {
  const { copies, lookEvery } = params;
  return commonParams.parse({
    ...(copies === undefined ? {} : { copies }),
    ...(lookEvery === undefined ? {} : { lookEvery }),
  });
};

const ownOf = (params: Record<string, unknown>): Record<string, unknown> => {
  const { copies: _copies, lookEvery: _lookEvery, ...own } = params;
  return own;
};

const regionsMeant = (wanted: string, { service }: ProbeContext): readonly string[] =>
  wanted === 'all' || wanted === 'others'
    ? (service?.regions ?? []).flatMap(({ name, role }) => (wanted === 'all' || role !== 'primary' ? [name] : []))
    : [wanted];

/** Writes once; the attempt is in the file before its first byte is sent, its outcome as soon as it is known. */
const writeKept = async (
  session: LedgerSession,
  file: LedgerFile,
  attempt: Attempt,
  clock: Clock,
): Promise<Written & { readonly endedMs: number; readonly trouble?: unknown }> => {
  file.push({ kind: 'invoke', seq: attempt.index, atMs: roundMs(attempt.sentMs) });
  let written: Written & { readonly trouble?: unknown };
  try {
    written = await session.write(attempt);
  } catch (error) {
    // A bug of the store's own code: whether anything was sent is unknown.
    written = { out: 'info', code: 'probe-error', unsent: true, trouble: error };
  }
  const { endedMs = clock.monotonicMs(), unsent: _unsent, trouble: _trouble, ...kept } = written;
  file.push({ kind: 'end', seq: attempt.index, atMs: roundMs(endedMs), ...kept });
  return { ...written, endedMs };
};

/** Looks at a copy again and again, until stopped; every look is kept, one that found nothing out too. */
const lookAtCopy = async (
  look: (signal: AbortSignal) => Promise<void>,
  everyMs: number,
  clock: Clock,
  stop: AbortSignal,
): Promise<void> => {
  let nextMs = clock.monotonicMs();
  while (!stop.aborted) {
    const limit = deadline(clock, lookTimeoutMs, new Error('the look timed out'), stop);
    try {
      await look(limit.signal);
    } finally {
      limit.dispose();
    }
    // On a fixed grid; a look that took longer than its period skips those it missed.
    const nowMs = clock.monotonicMs();
    while (nextMs <= nowMs) nextMs += everyMs;
    await clock.sleep(nextMs - nowMs, stop).catch((error: unknown) => {
      if (!stop.aborted) throw error;
    });
  }
};

/** A ledger as a probe: each look is one numbered write, whose attempt is kept from before its first byte. */
export const defineLedger = <Params extends z.ZodObject>(store: LedgerStore<Params>): Probe => ({
  name: store.name,
  summary: store.summary,
  required: false,
  defaults: store.defaults,
  params: z.strictObject({ ...store.params.shape, ...commonParams.shape }),
  ...(store.absent === undefined ? {} : { absent: store.absent }),
  async open(params, context) {
    const given = z.record(z.string(), z.unknown()).parse(params);
    const { copies: wanted, lookEvery } = commonOf(given);
    const copies = [...new Set([wanted].flat().flatMap((one) => regionsMeant(one, context)))];
    const { clock } = context;
    const session = await store.open(store.params.parse(ownOf(given)), context);
    const file = context.ledgerFile === undefined ? noLedgerFile : openLedgerFile(context.ledgerFile);
    const stop = new AbortController();
    let newest = -1;
    let looking: Promise<unknown> | undefined;

    const startLooking = (): Promise<unknown> =>
      Promise.all(
        copies.map((copy) => {
          const shown = new Set<number>();
          let since = 0;
          return lookAtCopy(
            async (signal) => {
              const { line, seqs } = await readLine({ session, copy, since, final: false, clock, signal });
              if (!stop.signal.aborted) file.push(line);
              for (const seq of seqs) shown.add(seq);
              while (shown.delete(since)) since += 1;
              since = Math.max(since, newest - lookBackMax);
            },
            lookEvery,
            clock,
            stop.signal,
          );
        }),
      );

    return {
      async look(attempt): Promise<Look> {
        looking ??= startLooking();
        newest = Math.max(newest, attempt.index);
        const { out, code, endedMs, unsent, epoch, by, trouble } = await writeKept(session, file, attempt, clock);
        if (trouble !== undefined) throw new Error(messageOf(trouble), { cause: trouble });
        if (epoch !== undefined) attempt.seen.epoch = epoch;
        if (by !== undefined && attempt.seen.address === undefined) attempt.seen.address = by;
        return { code: out === 'ok' ? 'ok' : code, endedMs, ...(unsent === true ? { unsent } : {}) };
      },
      async close(signal) {
        stop.abort();
        await looking;
        file.close();
        await session.close(signal);
      },
    };
  },
  openLedger: (params, context) =>
    store.open(store.params.parse(ownOf(z.record(z.string(), z.unknown()).parse(params))), context),
});
