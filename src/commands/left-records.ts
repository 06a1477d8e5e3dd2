import { z } from 'zod';
import { messageOf } from '../core/errors.ts';
import { type Journal, type JournalEvent, readJournal } from '../core/journal.ts';
import { startOf } from '../experiments/recover.ts';
import { finishLedgers } from '../probes/ledger/final.ts';
import { probedStreamSchema } from '../probes/sender-messages.ts';
import { probedServiceOf } from './instrument.ts';
import type { Reached } from './session.ts';

const removeAtMostMs = 15_000;

const isPhase = (type: 'phase.started' | 'phase.finished', phase: string) => (event: JournalEvent) =>
  event.type === type && event.phase === phase;

/** Streams whose records may still lie in the platform's stores: the run began to write and never came to clean up. */
const leftStreams = (events: readonly JournalEvent[]): readonly z.output<typeof probedStreamSchema>[] => {
  const hasWritten = events.some(isPhase('phase.started', 'probing'));
  if (!hasWritten || events.some(isPhase('phase.finished', 'read'))) return [];
  return z.array(probedStreamSchema).parse(startOf(events)?.documents.streams ?? []);
};

/**
 * Takes away what the ledgers of a dead run wrote. What cannot be reached is told, and tried again the next time; that
 * never keeps anybody from hearing what became of the undo.
 */
export const removeRecords = async (...parts: Parameters<typeof removeThem>): Promise<void> => {
  const [, , , note] = parts;
  try {
    await removeThem(...parts);
  } catch (error) {
    note(`records of this run are left: ${messageOf(error)}`);
  }
};

const removeThem = async (
  { session, addresses }: Reached,
  folder: string,
  journal: Journal,
  note: (text: string) => void,
): Promise<void> => {
  const events = await readJournal(journal.file);
  const started = startOf(events);
  const streams = leftStreams(events);
  if (started === undefined || streams.length === 0) return;
  let left = 0;
  await finishLedgers({
    mode: 'remove',
    runId: started.runId,
    streams,
    resolvers: addresses.resolvers,
    service: probedServiceOf(session.environment, addresses),
    database: addresses.database,
    awsCredentialsFile: addresses.awsCredentialsFile,
    folder,
    clock: session.clock,
    atMostMs: removeAtMostMs,
    note: (text) => {
      left += 1;
      note(`records of ${text}`);
    },
  });
  if (left === 0) await journal.append({ type: 'phase.finished', phase: 'read' });
};
