import { toRanges } from '../core/ranges.ts';
import type { LedgerLine } from '../probes/ledger/line.ts';
import { seeded } from './simulated-probes.ts';

/** How a simulated store fails. */
export interface Scenario {
  readonly seed: number;
  readonly writes: number;
  readonly everyMs: number;
  readonly latencyMs: number;
  /** `tail`: a replica that lags takes over. `random`: single writes vanish. `split`: as tail, the old one goes on. */
  readonly loss: 'none' | 'tail' | 'random' | 'split';
  /** Share of the way at which the authority fails; what it acknowledged in the last `lagMs` is gone. */
  readonly failsAt: number;
  readonly lagMs: number;
  /** In a split, for how long the old authority goes on beside the new one. */
  readonly fenceAfterMs: number;
  /** Share of acknowledgements that never arrive although the write is carried out. */
  readonly lostAcks: number;
  readonly duplicates: number;
  readonly resurrections: number;
  readonly phantoms: number;
  /** Share of writes that a replica is asked for by mistake. */
  readonly strays: number;
  /** The authority is restarted once before it fails. */
  readonly restarts: boolean;
  /** The last final read begins before the last acknowledgements. */
  readonly readsEarly: boolean;
}

/** What really happened, by number: the simulation's own book, not computed from the lines. */
export interface LedgerTruth {
  readonly lost: ReadonlySet<number>;
  readonly recovered: ReadonlySet<number>;
  readonly indeterminate: ReadonlySet<number>;
  readonly resurrected: ReadonlySet<number>;
  readonly phantom: ReadonlySet<number>;
  readonly duplicate: ReadonlySet<number>;
  readonly neverRead: ReadonlySet<number>;
  readonly vanished: ReadonlySet<number>;
  readonly dualAcknowledged: ReadonlySet<number>;
  /** Last instant whose commits are all there; the commit of the first lost one when loss is no tail. */
  readonly recoveryPointMs: number;
  /** When the losing authority really stopped. */
  readonly endMs: number;
  /** The epoch that lost, as it is named in the lines. */
  readonly losingEpoch: string;
}

const epochA = '7:00000001:5432:2026-01-01T00:00:00';
const epochRestarted = '7:00000001:5432:2026-01-01T00:01:00';
const epochB = '7:00000002:5433:2026-01-01T00:02:00';

/** A ledger's lines and what is true of them. The same scenario gives the same, whatever runs beside it. */
export const simulateLedger = (scenario: Scenario): { lines: readonly LedgerLine[]; truth: LedgerTruth } => {
  const random = seeded(scenario.seed);
  const { writes, everyMs, latencyMs, loss, lagMs } = scenario;
  const failsMs = Math.round(writes * everyMs * scenario.failsAt);
  const takesOverMs = failsMs + 3 * latencyMs + everyMs;
  const endMs = loss === 'split' ? takesOverMs + scenario.fenceAfterMs : failsMs;
  const restartMs = scenario.restarts ? failsMs / 2 : -1;
  const recoveryPointMs = failsMs - lagMs;
  const changesHands = loss === 'tail' || loss === 'split';

  const lines: LedgerLine[] = [];
  const there: number[] = [];
  const seenOnce = new Set<number>();
  const book = {
    lost: new Set<number>(),
    recovered: new Set<number>(),
    indeterminate: new Set<number>(),
    resurrected: new Set<number>(),
    phantom: new Set<number>(),
    duplicate: new Set<number>(),
    neverRead: new Set<number>(),
    vanished: new Set<number>(),
    dualAcknowledged: new Set<number>(),
  };
  const lastMs = writes * everyMs + 2 * latencyMs;
  const readMs = scenario.readsEarly ? lastMs - 4 * everyMs : lastMs + 10;
  let firstLostCommitMs = Number.POSITIVE_INFINITY;
  let firstAckOfBMs = Number.POSITIVE_INFINITY;
  const acksOfA: { readonly seq: number; readonly invokedMs: number }[] = [];

  for (let seq = 0; seq < writes; seq += 1) {
    // Whole milliseconds, so that instants coincide as they do in life.
    const invokedMs = Math.round(seq * everyMs + random() * everyMs * 0.2);
    const commitMs = Math.round(invokedMs + random() * latencyMs);
    const endedMs = Math.round(commitMs + random() * latencyMs);
    lines.push({ kind: 'invoke', seq, atMs: invokedMs });
    // Refusals that end no authority: by a replica that was asked by mistake, or by a server that is starting again.
    const isStarting = restartMs >= 0 && invokedMs > restartMs && invokedMs < restartMs + everyMs * 1.5;
    if (isStarting || random() < scenario.strays) {
      const refusal = isStarting ? { code: '57P03', by: 'old' } : { code: '25006', by: 'replica' };
      lines.push({ kind: 'end', seq, atMs: endedMs, out: 'fail', ...refusal });
      continue;
    }
    const atNew = changesHands && invokedMs >= takesOverMs && (loss === 'tail' || commitMs > endMs || random() < 0.5);
    const atOld = !atNew && (!changesHands || commitMs <= endMs);
    if (!atNew && !atOld) {
      // Nobody takes it: refused for certain, or cut off before anyone could tell; none of it is carried out.
      const refused = invokedMs > endMs && random() < 0.7;
      const out = refused ? 'fail' : 'info';
      const code = refused ? 'refused' : 'timeout';
      lines.push({ kind: 'end', seq, atMs: endedMs + latencyMs, out, code, by: 'old' });
      if (out === 'info') book.indeterminate.add(seq);
      else if (random() < scenario.resurrections) {
        book.resurrected.add(seq);
        there.push(seq);
      }
      continue;
    }
    const destroyed = atOld && (loss === 'random' ? random() < 0.1 : changesHands && commitMs > recoveryPointMs);
    const acknowledged = random() >= scenario.lostAcks;
    const epoch = atNew ? epochB : commitMs > restartMs && restartMs >= 0 ? epochRestarted : epochA;
    if (acknowledged) {
      lines.push({
        kind: 'end',
        seq,
        atMs: endedMs,
        out: 'ok',
        code: 'ok',
        epoch,
        by: atNew ? 'new' : 'old',
      });
      if (atNew) firstAckOfBMs = Math.min(firstAckOfBMs, endedMs);
      else acksOfA.push({ seq, invokedMs });
    } else if (random() < 0.5) lines.push({ kind: 'end', seq, atMs: endedMs, out: 'info', code: 'reset', by: 'old' });
    if (!destroyed) {
      there.push(seq);
      if (!acknowledged) book.recovered.add(seq);
      if (random() < scenario.duplicates) {
        there.push(seq);
        book.duplicate.add(seq);
      }
    } else if (acknowledged) {
      const target = readMs > endedMs ? book.lost : book.neverRead;
      target.add(seq);
      if (target === book.lost) firstLostCommitMs = Math.min(firstLostCommitMs, commitMs);
    } else {
      book.indeterminate.add(seq);
      // A look at the old authority before it failed saw what nobody had acknowledged.
      if (random() < 0.3) {
        book.vanished.add(seq);
        seenOnce.add(seq);
      }
    }
  }
  for (const { seq, invokedMs } of acksOfA) if (invokedMs > firstAckOfBMs) book.dualAcknowledged.add(seq);
  for (let index = 0; index < scenario.phantoms; index += 1) {
    there.push(writes + 5 + index);
    book.phantom.add(writes + 5 + index);
  }
  const read = (startMs: number, seqs: readonly number[], final: boolean): LedgerLine => {
    const counts = new Map<number, number>();
    for (const seq of seqs) counts.set(seq, (counts.get(seq) ?? 0) + 1);
    const repeated = [...counts].filter(([, count]) => count > 1).map(([seq, count]) => [`${seq}`, count] as const);
    return {
      kind: 'read',
      copy: final ? null : 'elsewhere',
      final,
      startMs,
      endMs: startMs + 5,
      code: 'ok',
      since: 0,
      seen: toRanges(seqs),
      ...(repeated.length === 0 ? {} : { repeated: Object.fromEntries(repeated) }),
    };
  };
  if (seenOnce.size > 0) lines.push(read(failsMs, [...seenOnce], false));
  lines.push(read(readMs - 8, there, true), read(readMs, there, true));
  const isTail = changesHands;
  return {
    lines,
    truth: {
      ...book,
      recoveryPointMs: isTail ? recoveryPointMs : firstLostCommitMs,
      endMs,
      losingEpoch: scenario.restarts ? epochRestarted : epochA,
    },
  };
};
