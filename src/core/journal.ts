import { constants, type FileHandle, open, readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Clock } from './clock.ts';
import { BlackstartError } from './errors.ts';
import { observationSchema } from './observation.ts';

const instantMs = z.number();
const json = z.json();

/** What a run's journal may hold; the run is this list, and every report and every recovery is computed from it. */
export const bodySchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('run.started'),
    runId: z.string(),
    kind: z.enum(['experiment', 'drill', 'check', 'observe']),
    name: z.string(),
    title: z.string(),
    environment: z.string(),
    timeScale: z.number(),
    seed: z.int(),
    versions: z.record(z.string(), z.string()),
    /** The environment, the document and the targets as they were read: recovery and report need no other file. */
    documents: z.strictObject({
      environment: json,
      document: json,
      targets: json,
      streams: json,
      carried: json.optional(),
    }),
  }),
  /** A process began to write: the run itself, its watchdog, or `recover`. */
  z.strictObject({ type: z.literal('process.opened'), role: z.enum(['run', 'watchdog', 'recover']), pid: z.int() }),
  z.strictObject({ type: z.literal('phase.started'), phase: z.string() }),
  z.strictObject({ type: z.literal('phase.finished'), phase: z.string() }),
  /** Durable before the change it undoes. */
  z.strictObject({
    type: z.literal('undo.armed'),
    undoId: z.string(),
    fault: z.string(),
    target: z.string(),
    undo: json,
    /** When the target's side ends the fault by itself. */
    expiresAtMs: instantMs,
  }),
  z.strictObject({ type: z.literal('fault.injected'), undoId: z.string(), startedMs: instantMs }),
  z.strictObject({
    type: z.literal('fault.effective'),
    undoId: z.string(),
    minMs: instantMs,
    maxMs: instantMs,
    evidence: z.string(),
  }),
  z.strictObject({ type: z.literal('undo.started'), undoId: z.string() }),
  z.strictObject({ type: z.literal('undo.done'), undoId: z.string(), minMs: instantMs, maxMs: instantMs }),
  z.strictObject({ type: z.literal('undo.failed'), undoId: z.string(), message: z.string() }),
  z.strictObject({ type: z.literal('undo.conflict'), undoId: z.string(), difference: z.string() }),
  z.strictObject({ type: z.literal('observation'), observation: observationSchema }),
  z.strictObject({
    type: z.literal('fact'),
    name: z.string(),
    value: z.union([z.string(), z.number(), z.boolean()]),
  }),
  z.strictObject({
    type: z.literal('run.ended'),
    reason: z.enum(['finished', 'aborted', 'failed']),
    message: z.string().nullable(),
  }),
]);

export type JournalBody = z.output<typeof bodySchema>;
const eventSchema = z.intersection(z.object({ at: z.string(), atMs: instantMs }), z.unknown());

/** One line of the journal: a body, its instant on the machine's monotonic clock, and the same instant for people. */
export type JournalEvent = JournalBody & { readonly at: string; readonly atMs: number };
export type Armed = Extract<JournalEvent, { type: 'undo.armed' }>;

export interface Journal {
  readonly file: string;
  /** Durable (on the disk) when it resolves. Rejects when the record does not fit its schema or cannot be written. */
  append(body: JournalBody): Promise<JournalEvent>;
  close(): Promise<void>;
}

const parseLine = (line: string, where: string): JournalEvent => {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw corrupt(where, 'is not JSON', cause);
  }
  const stamp = eventSchema.safeParse(value);
  if (!stamp.success || typeof value !== 'object' || value === null)
    throw corrupt(where, 'has no instant', stamp.error);
  const { at, atMs, ...rest } = value as { at: string; atMs: number };
  const body = bodySchema.safeParse(rest);
  if (!body.success) throw corrupt(where, 'does not fit the schema', body.error);
  return { ...body.data, at, atMs };
};

const corrupt = (where: string, what: string, cause: unknown): BlackstartError =>
  new BlackstartError(
    'CORRUPT',
    `${where} ${what}`,
    'The journal was changed or damaged. "blackstart recover --discover" finds what is left by its tags.',
    { cause },
  );

/**
 * The events of a journal's text. A last line without its newline is what a crash left of a record that was never
 * acknowledged: it is ignored. Any other line that does not fit throws CORRUPT.
 */
export const parseJournal = (text: string, file = 'journal'): readonly JournalEvent[] => {
  const lines = text.split('\n');
  lines.pop();
  return lines.map((line, index) => parseLine(line, `${file}:${index + 1}`));
};

export const readJournal = async (file: string): Promise<readonly JournalEvent[]> =>
  parseJournal(await readFile(file, 'utf8'), file);

/** Cuts a torn last line off, or the next record would be glued to the fragment and both be lost. */
const truncateTornTail = async (handle: FileHandle): Promise<void> => {
  const { size } = await handle.stat();
  const chunkBytes = 64 * 1024;
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - chunkBytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - start), 0, end - start, start);
    const newline = buffer.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (newline >= 0) {
      if (start + newline + 1 < size) await handle.truncate(start + newline + 1);
      return;
    }
    end = start;
  }
  if (size > 0) await handle.truncate(0);
};

/** Opens a journal for appending, creating it if need be. One writer at a time: the environment's lock sees to that. */
export const openJournal = async (file: string, clock: Clock): Promise<Journal> => {
  const handle = await open(file, constants.O_RDWR | constants.O_CREAT, 0o600);
  await truncateTornTail(handle);
  let position = (await handle.stat()).size;
  let last: Promise<unknown> = Promise.resolve();

  const write = async (body: JournalBody): Promise<JournalEvent> => {
    const checked = bodySchema.parse(body);
    const event: JournalEvent = { at: new Date(clock.nowMs()).toISOString(), atMs: clock.monotonicMs(), ...checked };
    const bytes = Buffer.from(`${JSON.stringify(event)}\n`);
    // Written at a known position: a short write is overwritten by the next record instead of tearing it.
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
    await handle.datasync();
    position += bytes.length;
    return event;
  };

  return {
    file,
    append(body) {
      const next = last.then(() => write(body));
      last = next.catch(() => undefined);
      return next;
    },
    async close() {
      await last;
      await handle.close();
    },
  };
};

/** What is still to be put back, newest first. Pure. */
export const outstanding = (events: readonly JournalEvent[]): readonly Armed[] => {
  const armed = new Map<string, Armed>();
  for (const event of events) {
    if (event.type === 'undo.armed') armed.set(event.undoId, event);
    if (event.type === 'undo.done') armed.delete(event.undoId);
  }
  return [...armed.values()].reverse();
};
