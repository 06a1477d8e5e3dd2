import { z } from 'zod';
import { bodySchema } from '../core/journal.ts';
import { reportSchema } from './model.ts';

type JsonSchema = Readonly<Record<string, unknown>>;

const jsonSchemaOf = (schema: z.ZodType, title: string, description: string): JsonSchema => ({
  ...z.toJSONSchema(schema, { io: 'input' }),
  title,
  description,
});

/** The shapes of one line of each file that the senders write; they belong to the probes, so they are handed in. */
export interface LineSchemas {
  readonly sample: z.ZodType;
  readonly instrument: z.ZodType;
  readonly blind: z.ZodType;
  readonly ledger: z.ZodType;
}

const clockNote =
  "Instants ending in Ms are real milliseconds on the machine's monotonic clock; the journal's first event gives the " +
  'wall-clock instant of one of them.';

/**
 * The published JSON Schemas, by file name in `docs`: what a run's folder holds, so that anybody can compute every
 * figure again. Derived from the schemas that the program itself reads and writes with.
 */
export const documentedSchemas = (lines: LineSchemas): Readonly<Record<string, JsonSchema>> => ({
  'report.schema.json': jsonSchemaOf(
    reportSchema,
    'blackstart report (report.json)',
    'Durations are real milliseconds and instants real milliseconds since the start of the run, unless a field says ' +
      'otherwise. An upper end that is null was not seen.',
  ),
  'samples.schema.json': jsonSchemaOf(
    lines.sample,
    'One line of samples/<sender>.ndjson',
    `One probe. Lines of one stream come in send order. ${clockNote}`,
  ),
  'instrument.schema.json': jsonSchemaOf(
    lines.instrument,
    'One line of instrument/<sender>.ndjson',
    `What a sender process says of itself, once a second. ${clockNote}`,
  ),
  'blind.schema.json': jsonSchemaOf(
    lines.blind,
    'One line of blind/<sender>.ndjson',
    `A stretch in which a sender could not see. ${clockNote}`,
  ),
  'ledger.schema.json': jsonSchemaOf(
    lines.ledger,
    'One line of ledgers/<stream>.ndjson',
    'A write sent (invoke), what became of it (end), or a read of what is there. In the name of its file the stream ' +
      `has ~ for /. An invoke without an end is a write whose process ended: nobody can know. ${clockNote}`,
  ),
  'events.schema.json': jsonSchemaOf(
    z.intersection(z.object({ at: z.string(), atMs: z.number() }), bodySchema),
    'One line of journal.jsonl',
    `One event of a run; at is for people. ${clockNote}`,
  ),
});

export const schemaText = (schema: JsonSchema): string => `${JSON.stringify(schema, null, 2)}\n`;
