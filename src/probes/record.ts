import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { z } from 'zod';
import { BlackstartError } from '../core/errors.ts';
import { type LedgerLine, ledgerLineSchema, streamOfLedgerFile } from './ledger/line.ts';
import {
  type Blind,
  blindSchema,
  type InstrumentRecord,
  instrumentSchema,
  type Sample,
  sampleSchema,
} from './sample.ts';

/** What the senders of a run wrote. */
export interface SenderRecord {
  /** Per stream, in send order. */
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
  readonly blind: readonly Blind[];
  readonly instrument: readonly InstrumentRecord[];
  /** Per stream that is a ledger: its attempts and reads, as they happened. */
  readonly ledgers: ReadonlyMap<string, readonly LedgerLine[]>;
}

/**
 * Reads the raw samples of a run's folder. A line that was being written when its sender was killed is left out; any
 * other line that does not fit is CORRUPT.
 */
export const readRecord = async (folder: string): Promise<SenderRecord> => {
  const samples = new Map<string, Sample[]>();
  const same = createSame();
  await eachLine(path.join(folder, 'samples'), sampleSchema, (parsed) => {
    const sample = same(parsed);
    const stream = samples.get(sample.stream);
    if (stream === undefined) samples.set(sample.stream, [sample]);
    else stream.push(sample);
  });
  const blind: Blind[] = [];
  await eachLine(path.join(folder, 'blind'), blindSchema, (one) => void blind.push(one));
  const instrument: InstrumentRecord[] = [];
  await eachLine(path.join(folder, 'instrument'), instrumentSchema, (one) => void instrument.push(one));
  return { samples, blind, instrument, ledgers: await readLedgers(path.join(folder, 'ledgers')) };
};

const readLedgers = async (folder: string): Promise<SenderRecord['ledgers']> => {
  const ledgers = new Map<string, LedgerLine[]>();
  for (const name of await namesIn(folder)) {
    const lines: LedgerLine[] = [];
    await eachLineOf(path.join(folder, name), ledgerLineSchema, (line) => void lines.push(line));
    ledgers.set(streamOfLedgerFile(name), lines);
  }
  return ledgers;
};

/** Millions of samples repeat a few dozen texts: each is kept once. */
const createSame = (): ((sample: Sample) => Sample) => {
  const texts = new Map<string, string>();
  const same = (text: string): string => {
    const known = texts.get(text);
    if (known === undefined) texts.set(text, text);
    return known ?? text;
  };
  return (sample) => {
    sample.stream = same(sample.stream);
    sample.code = same(sample.code);
    if (sample.address !== undefined) sample.address = same(sample.address);
    if (sample.region !== undefined) sample.region = same(sample.region);
    if (sample.zone !== undefined) sample.zone = same(sample.zone);
    if (sample.pod !== undefined) sample.pod = same(sample.pod);
    if (sample.epoch !== undefined) sample.epoch = same(sample.epoch);
    if (sample.answer !== undefined) sample.answer = same(sample.answer);
    return sample;
  };
};

const eachLine = async <T>(folder: string, schema: z.ZodType<T>, take: (value: T) => void): Promise<void> => {
  for (const name of await namesIn(folder)) await eachLineOf(path.join(folder, name), schema, take);
};

const eachLineOf = async <T>(file: string, schema: z.ZodType<T>, take: (value: T) => void): Promise<void> => {
  let rest = '';
  let number = 0;
  for await (const piece of createReadStream(file, { encoding: 'utf8', highWaterMark: 1 << 18 })) {
    const lines: string[] = (rest + String(piece)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      number += 1;
      take(parseLine(line, schema, file, number));
    }
  }
};

/** Sorted, so that reading the same folder twice gives the same record. */
const namesIn = async (folder: string): Promise<string[]> => {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith('.ndjson')).sort();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
};

const parseLine = <T>(line: string, schema: z.ZodType<T>, file: string, number: number): T => {
  const parsed = schema.safeParse(jsonOf(line));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new BlackstartError(
    'CORRUPT',
    `${file}:${number} is not a line that a sender wrote: ${issue?.path.join('.')} ${issue?.message}`,
    'Restore the file from a copy; a record that was changed proves nothing.',
  );
};

const jsonOf = (line: string): unknown => {
  try {
    return JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};
