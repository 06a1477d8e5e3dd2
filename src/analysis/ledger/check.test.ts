import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Scenario, simulateLedger } from '../../testing/simulated-ledger.ts';
import * as check from './check.ts';
import { epochsOf } from './epochs.ts';
import { historyOf, idOf } from './history.ts';
import * as recovery from './recovery.ts';
import { splitBrainOf } from './split.ts';

const stream = 'postgres-ledger/west/fresh';

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  seed: fc.integer(),
  writes: fc.integer({ min: 20, max: 60 }),
  everyMs: fc.constantFrom(5, 20, 50),
  latencyMs: fc.constantFrom(1, 4, 30),
  loss: fc.constantFrom('none', 'tail', 'random', 'split'),
  failsAt: fc.double({ min: 0.4, max: 0.7, noNaN: true }),
  lagMs: fc.double({ min: 0, max: 400, noNaN: true }),
  fenceAfterMs: fc.double({ min: 0, max: 500, noNaN: true }),
  lostAcks: fc.constantFrom(0, 0, 0.1, 0.4),
  duplicates: fc.constantFrom(0, 0, 0.1),
  resurrections: fc.constantFrom(0, 0, 0.2),
  phantoms: fc.constantFrom(0, 0, 2),
  strays: fc.constantFrom(0, 0.1),
  restarts: fc.boolean(),
  readsEarly: fc.constantFrom(false, false, true),
});

type Checker = Pick<typeof check, 'checkLedger' | 'finalRead' | 'isRead' | 'holesOf'> &
  Pick<typeof recovery, 'handoverOf'>;
const product: Checker = { ...check, ...recovery };

const numbersOf = (ids: ReadonlySet<string>): readonly number[] =>
  [...ids].map((id) => Number(id.split('#')[1])).sort((a, b) => a - b);
const sorted = (numbers: ReadonlySet<number>): readonly number[] => [...numbers].sort((a, b) => a - b);

const kinds = [
  'lost',
  'recovered',
  'indeterminate',
  'resurrected',
  'phantom',
  'duplicate',
  'neverRead',
  'vanished',
] as const;

/** Throws where the checker's account differs from what really happened. */
const agrees = (checker: Checker, scenario: Scenario): void => {
  const { lines, truth } = simulateLedger(scenario);
  const history = historyOf(stream, lines);
  const last = checker.finalRead(history);
  if (!checker.isRead(last)) throw new Error(last.missing);
  const sets = checker.checkLedger(history, last);
  for (const kind of kinds) {
    const found = JSON.stringify(numbersOf(sets[kind]));
    const real = JSON.stringify(sorted(truth[kind]));
    if (found !== real) throw new Error(`${kind}: ${found}, really ${real}`);
  }
  const holes = checker.holesOf(history.writes, sets);
  for (const id of holes) if (sets.lost.has(id)) throw new Error(`${id} is a hole and lost`);
  const isTail = scenario.loss === 'tail' || scenario.loss === 'split';
  for (const epoch of epochsOf(history.writes)) {
    const handover = checker.handoverOf(epoch, history.writes, sets, holes);
    if (handover.recoveryPoint === null) continue;
    // An epoch before the losing one ended otherwise; a random loss has no one losing epoch.
    if (isTail && epoch.name !== truth.losingEpoch) continue;
    const first = Math.min(...handover.lost.map(({ invokedMs }) => invokedMs));
    if (!isTail && handover.lost[0]?.seq !== sorted(truth.lost)[0]) continue;
    const { minMs, maxMs } = handover.recoveryPoint;
    const inside = minMs <= truth.recoveryPointMs && truth.recoveryPointMs <= maxMs;
    if (!inside) throw new Error(`recovery point ${truth.recoveryPointMs} outside [${minMs}, ${maxMs}] ${first}`);
    const realMs = truth.endMs - truth.recoveryPointMs;
    const isDense = scenario.lostAcks + scenario.strays === 0 && !scenario.restarts && scenario.loss === 'tail';
    const slackMs = 2 * (1.2 * scenario.everyMs + 2 * scenario.latencyMs);
    if (isDense && truth.recoveryPointMs > slackMs && handover.rpo.minMs < realMs - slackMs) {
      throw new Error(`RPO ${realMs} is at least ${handover.rpo.minMs} only`);
    }
    if (isTail && (handover.rpo.minMs > realMs + 1e-6 || handover.rpo.maxMs < realMs - 1e-6)) {
      throw new Error(`RPO ${realMs} outside [${handover.rpo.minMs}, ${handover.rpo.maxMs}]`);
    }
  }
};

const fails = (checker: Checker): boolean => {
  try {
    fc.assert(
      fc.property(scenarios, (scenario) => agrees(checker, scenario)),
      { numRuns: 3000, seed: 7, endOnFailure: true },
    );
    return false;
  } catch {
    // Whatever the mutant did wrong, it was noticed.
    return true;
  }
};

describe('the account of a ledger', () => {
  it('equals what really happened in 20,000 histories, and the recovery point lies in its bracket', () => {
    fc.assert(
      fc.property(scenarios, (scenario) => agrees(product, scenario)),
      { numRuns: 20_000, seed: 1 },
    );
  }, 120_000);

  it('finds every acknowledgement of an old authority beside a new one, and nothing else', () => {
    const split = scenarios.filter(({ loss }) => loss === 'split' || loss === 'tail');
    fc.assert(
      fc.property(split, (scenario) => {
        const { lines, truth } = simulateLedger({ ...scenario, restarts: false, readsEarly: false });
        const history = historyOf(stream, lines);
        const last = product.finalRead(history);
        if (!product.isRead(last)) throw new Error(last.missing);
        const found = splitBrainOf([history], product.checkLedger(history, last).lost);
        expect(found.dualAcknowledged.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(
          sorted(truth.dualAcknowledged),
        );
        // What it acknowledged then never reached the new one.
        expect(found.divergent.length).toBe(found.dualAcknowledged.length);
        expect(found.overlap === null).toBe(truth.dualAcknowledged.size === 0);
      }),
      { numRuns: 2000, seed: 2 },
    );
  }, 60_000);

  it('does not change with the clock or the name, and thinned out still contains the truth', () => {
    fc.assert(
      fc.property(scenarios, fc.integer({ min: -1_000_000, max: 1_000_000 }), (scenario, shiftMs) => {
        const { lines } = simulateLedger({ ...scenario, loss: 'tail', restarts: false, readsEarly: false });
        const shifted = lines.map((line) =>
          line.kind === 'read'
            ? { ...line, startMs: line.startMs + shiftMs, endMs: line.endMs + shiftMs }
            : { ...line, atMs: line.atMs + shiftMs },
        );
        const lostOf = (name: string, some: typeof lines) => {
          const history = historyOf(name, some);
          const last = product.finalRead(history);
          if (!product.isRead(last)) throw new Error(last.missing);
          return { history, sets: product.checkLedger(history, last) };
        };
        const one = lostOf(stream, lines);
        const other = lostOf('another', shifted);
        expect(numbersOf(other.sets.lost)).toEqual(numbersOf(one.sets.lost));
        const thinned = lostOf(
          stream,
          lines.filter((line) => line.kind === 'read' || line.seq % 2 === 0),
        );
        expect(numbersOf(thinned.sets.lost)).toEqual(numbersOf(one.sets.lost).filter((seq) => seq % 2 === 0));
      }),
      { numRuns: 1000, seed: 3 },
    );
  }, 60_000);
});

describe('what cannot be concluded', () => {
  const lines = simulateLedger({
    seed: 1,
    writes: 40,
    everyMs: 20,
    latencyMs: 4,
    loss: 'tail',
    failsAt: 0.5,
    lagMs: 100,
    fenceAfterMs: 0,
    lostAcks: 0,
    duplicates: 0,
    resurrections: 0,
    phantoms: 0,
    strays: 0,
    restarts: false,
    readsEarly: false,
  }).lines;
  const missing = (some: typeof lines) => {
    const found = product.finalRead(historyOf(stream, some));
    return product.isRead(found) ? 'read' : found.missing;
  };

  it('is said, when nothing was read, only once, in vain, or not at rest', () => {
    const writes = lines.filter(({ kind }) => kind !== 'read');
    const reads = lines.filter((line) => line.kind === 'read');
    expect(missing(lines)).toBe('read');
    expect(missing(writes)).toContain('was not read');
    expect(missing([...writes, ...reads.slice(1)])).toContain('only once');
    expect(missing([...writes, ...reads.map((read) => ({ ...read, code: 'timeout' }))])).toContain('timeout');
    const changed = reads.map((read, index) => (index === 1 ? { ...read, seen: '0-3' } : read));
    expect(missing([...writes, ...changed])).toContain('not at rest');
    const failedLast = [...reads, ...reads.slice(1).map((read) => ({ ...read, code: 'reset' }))];
    expect(missing([...writes, ...failedLast])).toContain('not at rest');
  });

  it('a killed ledger process leaves its last attempt open, not lost', () => {
    const cut = lines.filter((line) => !(line.kind === 'end' && line.seq === 30));
    const history = historyOf(stream, cut);
    expect(history.writes.find(({ seq }) => seq === 30)).toMatchObject({ out: 'info', code: 'process-ended' });
    const last = product.finalRead(history);
    if (!product.isRead(last)) throw new Error(last.missing);
    const sets = product.checkLedger(history, last);
    expect(sets.recovered.has(idOf(stream, 30)) || sets.indeterminate.has(idOf(stream, 30))).toBe(true);
  });
});

/** Each is a slip somebody could make: file, what it is, from, to. The account above must notice every one. */
const mutants: readonly (readonly ['check' | 'recovery', string, string, string])[] = [
  ['check', 'a duplicate is counted only below one', 'count > 1)', 'count < 1)'],
  ['check', 'a read at the very instant of an acknowledgement proves loss', 'Ms > endedMs ?', 'Ms >= endedMs ?'],
  ['check', 'concurrent absence is loss', 'last.startMs > endedMs ? lost', 'last.startMs >= 0 ? lost'],
  ['check', 'sent and acknowledged change places', 'last.startMs > endedMs', 'last.startMs > invokedMs'],
  ['check', 'what failed counts as unknown', "out === 'info') (isThere", "out !== 'ok') (isThere"],
  ['check', 'what is unknown counts as acknowledged', "out === 'ok' && !isThere", "out !== 'fail' && !isThere"],
  ['check', 'what is unknown counts as failed', "out === 'fail' && isThere", "out !== 'ok' && isThere"],
  ['check', 'the last read is dropped', 'return agree ? last', 'return agree ? before'],
  ['check', 'looks before the end are forgotten', 'for (const read of reads) if', 'for (const read of [last]) if'],
  ['check', 'presence is turned round', 'isThere = there.has(seq)', 'isThere = !there.has(seq)'],
  ['check', 'what was attempted is called phantom', '!attempted.has(seq)', 'attempted.has(seq)'],
  ['check', 'reads never agree', 'one.size === other.size && [...one].every((seq) => other.has(seq))', 'false'],
  ['check', 'what vanished is what recovered', '!isThere && seenOnce', 'isThere && seenOnce'],
  [
    'recovery',
    'the first lost is placed by its sending',
    'smallest(lost.map(({ endedMs }) => endedMs))',
    'firstLostMs',
  ],
  ['recovery', 'the last survivor is not looked at', 'if (!isPrefix) return', 'if (isPrefix) return'],
  ['recovery', 'the newest of the lost counts', 'firstLostMs = smallest(', 'firstLostMs = greatest('],
  ['recovery', 'a refusal before the last acknowledgement ends it', 'write.invokedMs > minMs)', 'true)'],
  ['recovery', 'the end counts from the first acknowledged', 'minMs = epoch.lastInvokedMs', 'minMs = epoch.firstAckMs'],
  ['recovery', 'a refusal by anybody ends it', 'epoch.servers.has(write.by) && served', 'served'],
];

describe('mutants of the checker', () => {
  const sourceOf = (file: string): string => readFileSync(path.join(import.meta.dirname, `${file}.ts`), 'utf8');

  const load = async (text: string): Promise<Partial<Checker>> => {
    const absolute = (_whole: string, specifier: string): string =>
      `from '${pathToFileURL(path.join(import.meta.dirname, specifier)).href}'`;
    const code = stripTypeScriptTypes(text).replaceAll(/from '(\.[^']+)'/g, absolute);
    return await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(code)}`);
  };

  it.each(['check', 'recovery'])(
    'the original of %s lives',
    async (file) => {
      expect(fails({ ...product, ...(await load(sourceOf(file))) })).toBe(false);
    },
    60_000,
  );

  it.each(mutants)(
    'of %s: %s',
    async (file, _what, from, to) => {
      const source = sourceOf(file);
      expect(source.split(from).length, `"${from}" is in the source once`).toBe(2);
      expect(fails({ ...product, ...(await load(source.replace(from, to))) })).toBe(true);
    },
    60_000,
  );
});
