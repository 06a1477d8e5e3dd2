import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from './clock.ts';
import { type JournalBody, openJournal, outstanding, parseJournal, readJournal } from './journal.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'blackstart-journal-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const armed = (undoId: string): JournalBody => ({
  type: 'undo.armed',
  undoId,
  fault: 'zone.blackhole',
  target: `zone/${undoId}`,
  undo: { before: ['acl-1'], nested: { text: 'a\nb "quoted" ⚡' } },
  expiresAtMs: 12.5,
});

const write = async (file: string, bodies: readonly JournalBody[]): Promise<void> => {
  const journal = await openJournal(file, systemClock);
  for (const body of bodies) await journal.append(body);
  await journal.close();
};

describe('journal', () => {
  it('reads back exactly what was appended, in order, across openings', async () => {
    const file = path.join(folder, 'order.jsonl');
    await write(file, [armed('a'), { type: 'fault.injected', undoId: 'a', startedMs: 1 }]);
    await write(file, [{ type: 'undo.done', undoId: 'a', minMs: 2, maxMs: 3 }]);
    const events = await readJournal(file);
    expect(events.map((event) => event.type)).toEqual(['undo.armed', 'fault.injected', 'undo.done']);
    expect(events[0]).toMatchObject(armed('a'));
  });

  it('keeps the order of appends that were not awaited one by one', async () => {
    const file = path.join(folder, 'parallel.jsonl');
    const journal = await openJournal(file, systemClock);
    await Promise.all(Array.from({ length: 50 }, (_, index) => journal.append(armed(String(index)))));
    await journal.close();
    const ids = (await readJournal(file)).map((event) => (event.type === 'undo.armed' ? event.undoId : ''));
    expect(ids).toEqual(Array.from({ length: 50 }, (_, index) => String(index)));
  });

  it('cut at any byte, keeps every whole record and takes further ones', async () => {
    const whole = path.join(folder, 'whole.jsonl');
    await write(whole, ['a', 'b', 'c'].map(armed));
    const bytes = await readFile(whole);
    const file = path.join(folder, 'torn.jsonl');
    for (let cut = 0; cut <= bytes.length; cut += 7) {
      const kept = bytes.subarray(0, cut).toString('utf8').split('\n').length - 1;
      await writeFile(file, bytes.subarray(0, cut));
      await write(file, [armed('after')]);
      const events = await readJournal(file);
      expect(events).toHaveLength(kept + 1);
      expect(events.at(-1)).toMatchObject({ undoId: 'after' });
    }
  });

  it('refuses to write what does not fit its schema, and goes on', async () => {
    const file = path.join(folder, 'refuse.jsonl');
    const journal = await openJournal(file, systemClock);
    const wrong = { type: 'undo.done', undoId: 'x', minMs: Number.NaN, maxMs: 1 } satisfies JournalBody;
    await expect(journal.append(wrong)).rejects.toThrow();
    await journal.append(armed('fine'));
    await journal.close();
    expect(await readJournal(file)).toHaveLength(1);
  });

  it('names the line that was damaged', () => {
    const good = `${JSON.stringify({ at: 'now', atMs: 1, ...armed('a') })}\n`;
    expect(() => parseJournal(`${good}{"at":"now","atMs":2,"type":"nonsense"}\n`, 'j')).toThrow(/^j:2 /);
    expect(() => parseJournal(`${good}not json\n${good}`, 'j')).toThrow(/^j:2 is not JSON/);
  });

  it('leaves outstanding exactly what is armed and not done, newest first', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 8 }), fc.boolean()), { maxLength: 40 }), (acts) => {
        const expected: string[] = [];
        const text = acts
          .map(([id, arm]): JournalBody => {
            const undoId = String(id);
            const at = expected.indexOf(undoId);
            if (arm && at < 0) expected.unshift(undoId);
            if (!arm && at >= 0) expected.splice(at, 1);
            return arm ? armed(undoId) : { type: 'undo.done', undoId, minMs: 0, maxMs: 0 };
          })
          .map((body) => `${JSON.stringify({ at: '', atMs: 0, ...body })}\n`)
          .join('');
        expect(outstanding(parseJournal(text)).map((one) => one.undoId)).toEqual(expected);
      }),
    );
  });
});
