import { describe, expect, it } from 'vitest';
import { systemClock } from './clock.ts';
import { BlackstartError } from './errors.ts';
import type { Armed, Journal, JournalBody, JournalEvent } from './journal.ts';
import { type Reverter, revertAll, rollbackIncomplete } from './undo.ts';

const memoryJournal = (broken = false): Journal & { readonly bodies: JournalBody[] } => {
  const bodies: JournalBody[] = [];
  return {
    file: 'memory',
    bodies,
    async append(body) {
      if (broken) throw new Error('ENOSPC: no space left on device');
      bodies.push(body);
      const event: JournalEvent = { at: '', atMs: 0, ...body };
      return event;
    },
    close: async () => undefined,
  };
};

const armed = (undoId: string): Armed => ({
  at: '',
  atMs: 0,
  type: 'undo.armed',
  undoId,
  fault: 'pod.kill',
  target: `pod/${undoId}`,
  undo: { id: undoId },
  expiresAtMs: 0,
});

const idOf = (undo: unknown): string => (undo as { id: string }).id;

const run = async (reverter: Partial<Reverter>, ids: readonly string[], journal = memoryJournal()) => {
  const said: string[] = [];
  const outcome = await revertAll(
    {
      journal,
      clock: systemClock,
      reverter: {
        revert: async () => undefined,
        isReverted: async () => ({ state: 'reverted' }),
        ...reverter,
      },
      limits: { revertMs: 50, verifyMs: 300, attemptsMax: 1 },
      onProgress: ({ target, state }) => said.push(`${target}: ${state}`),
    },
    ids.map(armed),
  );
  return { outcome, said, journal };
};

describe('revertAll', () => {
  it('puts everything back in the order it was given, and records each', async () => {
    const order: string[] = [];
    const { outcome, journal } = await run({ revert: async (_fault, undo) => void order.push(idOf(undo)) }, [
      'c',
      'b',
      'a',
    ]);
    expect(order).toEqual(['c', 'b', 'a']);
    expect(outcome.outstanding).toEqual([]);
    expect(journal.bodies.filter((body) => body.type === 'undo.done')).toHaveLength(3);
  });

  it('goes on after one that fails and one that never answers, and names both', async () => {
    const order: string[] = [];
    const { outcome } = await run(
      {
        revert: async (_fault, undo) => {
          order.push(idOf(undo));
          if (idOf(undo) === 'fails') throw new Error('no route to host');
          if (idOf(undo) === 'hangs') await new Promise(() => undefined);
        },
      },
      ['fails', 'hangs', 'fine'],
    );
    expect(order).toEqual(['fails', 'hangs', 'fine']);
    expect(outcome.reverted.map((one) => one.undoId)).toEqual(['fine']);
    expect(outcome.outstanding.map((one) => one.reason)).toEqual([
      'no route to host',
      expect.stringContaining('took longer than 50 ms'),
    ]);
  });

  it('does not believe a revert that returns: it waits until the target is seen back', async () => {
    let looks = 0;
    const isReverted: Reverter['isReverted'] = async () => {
      looks += 1;
      return looks < 3 ? { state: 'pending', detail: 'loading' } : { state: 'reverted' };
    };
    const { outcome, said } = await run({ isReverted }, ['a']);
    expect(outcome.outstanding).toEqual([]);
    expect(said).toContain('pod/a: loading');
  });

  it('hands a difference over instead of overwriting', async () => {
    const { outcome, journal } = await run(
      { isReverted: async () => ({ state: 'conflict', difference: 'acl: was a, is now b' }) },
      ['a'],
    );
    expect(journal.bodies).toContainEqual({ type: 'undo.conflict', undoId: 'a', difference: 'acl: was a, is now b' });
    const error = rollbackIncomplete(outcome, 'run-1');
    expect(error).toMatchObject({ code: 'CONFLICT', exitCode: 3 });
    expect(error?.message).toContain('was a, is now b');
  });

  it('mends even when nothing can be recorded, and says so', async () => {
    const { outcome, said } = await run({}, ['a', 'b'], memoryJournal(true));
    expect(outcome.reverted).toHaveLength(2);
    expect(said.at(-1)).toContain('ENOSPC');
  });

  it('keeps what went wrong first as the cause of an incomplete rollback', async () => {
    const first = new BlackstartError('ABORTED', 'Ctrl-C', 'x');
    const { outcome } = await run({ revert: async () => Promise.reject(new Error('down')) }, ['a']);
    expect(rollbackIncomplete(outcome, 'run-1', first)).toMatchObject({ code: 'ROLLBACK_INCOMPLETE', cause: first });
  });
});
