import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import type { Fault, FaultContext } from '../experiments/fault.ts';

/** One fault in a world where it can really be injected. */
export interface FaultExample {
  readonly fault: Fault;
  readonly params: Readonly<Record<string, unknown>>;
  /** A fresh context for the run; randomness must be the same each time. */
  context(signal: AbortSignal): FaultContext;
  /**
   * The target's side as plain data, without what changes by itself (versions, timestamps, generated names): equal
   * before and after a fault that was put back, different while it lasts.
   */
  state(): Promise<unknown>;
  /** Whether the fault leaves something by which it is found without a journal. */
  readonly discoverable: boolean;
  stop(): Promise<void>;
}

const withinMs = 60_000;
const lookEveryMs = 50;

/** JSON and back, as a record goes through the journal. */
const journaled = <T>(value: T): T => JSON.parse(JSON.stringify(value));

const eventually = async <T>(what: string, look: () => Promise<T | undefined>): Promise<T> => {
  const lastMs = systemClock.monotonicMs() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (systemClock.monotonicMs() > lastMs) throw new Error(`${what} did not happen within ${withinMs} ms`);
    await systemClock.sleep(lookEveryMs);
  }
};

/**
 * What every fault promises, shown on a real one: planning touches nothing, injecting bites, and the undo record alone,
 * read back from the journal, puts everything back, however often it is used.
 */
export const faultContract = (name: string, start: () => Promise<FaultExample>): void => {
  describe(`${name} keeps the contract of faults`, () => {
    let example: FaultExample;
    beforeAll(async () => {
      example = await start();
    }, withinMs);
    afterAll(async () => {
      await example?.stop();
    }, withinMs);

    const context = (): FaultContext => example.context(AbortSignal.timeout(withinMs));
    const isBack = (undo: unknown) => async () => {
      const { state } = await example.fault.isReverted(undo, context());
      return state === 'reverted' ? true : undefined;
    };

    it('refuses parameters it does not know', async () => {
      const params = { ...example.params, blackstartUnknown: 1 };
      await expect(async () => example.fault.plan(params, context())).rejects.toThrow(/blackstartUnknown/);
    });

    it('says which permissions it needs and how it ends by itself', () => {
      expect(example.fault.permissions(example.params, context().environment).length).toBeGreaterThan(0);
      expect(example.fault.expiry).not.toBe('');
    });

    it('plans without touching anything, and the same again', async () => {
      const before = await example.state();
      const first = await example.fault.plan(example.params, context());
      const second = await example.fault.plan(example.params, context());
      expect(first.length).toBeGreaterThan(0);
      expect(second).toEqual(first);
      expect(journaled(first)).toEqual(first);
      expect(await example.state()).toEqual(before);
    });

    it('changes nothing when an undo is run that was never injected', async () => {
      const before = await example.state();
      for (const { undo } of await example.fault.plan(example.params, context())) {
        await example.fault.revert(journaled(undo), context());
        expect(await example.fault.isReverted(journaled(undo), context())).toEqual({ state: 'reverted' });
      }
      expect(await example.state()).toEqual(before);
    });

    it('bites, and is put back by its record alone, once and twice', { timeout: withinMs * 3 }, async () => {
      const before = await example.state();
      const planned = await example.fault.plan(example.params, context());
      for (const one of planned) await example.fault.inject(journaled(one), example.params, context());
      for (const one of planned) {
        const evidence = await eventually('the proof', () => example.fault.bites(journaled(one), context()));
        expect(evidence).not.toBe('');
      }
      if (example.discoverable) {
        const found = await example.fault.discover(context().runId, context());
        const byText = (left: unknown, right: unknown): number =>
          JSON.stringify(left) < JSON.stringify(right) ? -1 : 1;
        expect(found.toSorted(byText)).toEqual(planned.map(({ undo }) => undo).toSorted(byText));
        expect(await example.fault.discover('another-run', context())).toEqual([]);
      }
      for (const { undo } of planned.toReversed()) await example.fault.revert(journaled(undo), context());
      for (const { undo } of planned) await eventually('the way back', isBack(journaled(undo)));
      await eventually('the state before', async () => {
        const now = await example.state();
        return JSON.stringify(now) === JSON.stringify(before) ? true : undefined;
      });
      for (const { undo } of planned) {
        await example.fault.revert(journaled(undo), context());
        await eventually('the way back', isBack(journaled(undo)));
      }
      expect(await example.state()).toEqual(before);
      expect(await example.fault.discover(context().runId, context())).toEqual([]);
    });
  });
};
