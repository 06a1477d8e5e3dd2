import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { openJournal } from '../core/journal.ts';
import { journalFile } from '../experiments/recover.ts';
import { removeRecords } from './left-records.ts';
import type { Reached } from './session.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'blackstart-records-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('says that records are left where a journal does not say of what streams, and hinders no recovery', async () => {
  const journal = await openJournal(journalFile(folder), systemClock);
  await journal.append({
    type: 'run.started',
    runId: 'run-1',
    kind: 'experiment',
    name: 'x',
    title: 'X',
    environment: 'small',
    timeScale: 1,
    seed: 1,
    versions: {},
    documents: { environment: {}, document: {}, targets: [], streams: [{ stream: 'of an older version' }] },
  });
  await journal.append({ type: 'phase.started', phase: 'probing' });
  const notes: string[] = [];
  await removeRecords({} as Reached, folder, journal, (text) => void notes.push(text));
  await journal.close();
  expect(notes).toEqual([expect.stringContaining('records of this run are left')]);
});
