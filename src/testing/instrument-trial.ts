import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Outage } from '../analysis/outages.ts';
import type { Bracket, RunRecord } from '../analysis/record.ts';
import { analyseStream, type StreamAnalysis } from '../analysis/stream.ts';
import { systemClock as clock } from '../core/clock.ts';
import { observe, streamsOfUrls } from '../probes/observe.ts';
import { type PhysicalOutage, startBreakable, type WayToBreak } from './breakable.ts';

/** One physical outage beside what the instrument made of it. */
export interface TrialRow {
  readonly way: WayToBreak;
  readonly truthMs: number;
  readonly interruption: Bracket | null;
  readonly client: Bracket | null;
  readonly kind: string | null;
  readonly errorMs: number | null;
  readonly contained: boolean;
}

export interface Trial {
  readonly rows: readonly TrialRow[];
  readonly missed: number;
  /** Outages reported where nothing was broken, or a second one for the same break. */
  readonly invented: number;
  readonly record: RunRecord;
  readonly analysis: StreamAnalysis;
}

export interface TrialOptions {
  readonly ways: readonly WayToBreak[];
  readonly everyMs: number;
  readonly timeoutMs: number;
  readonly connection: 'fresh' | 'kept';
  /** Of one break. */
  readonly lastsMs: { readonly minMs: number; readonly maxMs: number };
  /** Up between two breaks. */
  readonly apartMs: { readonly minMs: number; readonly maxMs: number };
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly onBreak?: (truth: PhysicalOutage) => void;
}

const between = ({ minMs, maxMs }: { minMs: number; maxMs: number }, random: () => number): number =>
  minMs + random() * (maxMs - minMs);

/** Observes a server that is broken for known times, and compares. */
export const runTrial = async (options: TrialOptions): Promise<Trial> => {
  const folder = await mkdtemp(path.join(tmpdir(), 'blackstart-trial-'));
  const target = await startBreakable(clock);
  try {
    const [stream] = streamsOfUrls([target.url], options);
    if (stream === undefined) throw new Error('no stream');
    const end = new AbortController();
    const observing = observe({
      runId: 'trial',
      folder,
      streams: [stream],
      forMs: null,
      seed: Math.floor(options.random() * 2 ** 31),
      versions: {},
      clock,
      signal: end.signal,
    });
    const truths: PhysicalOutage[] = [];
    // The sender needs a moment to start, and the first break a healthy time before it.
    await clock.sleep(1500);
    for (const way of options.ways) {
      await clock.sleep(between(options.apartMs, options.random));
      const truth = await target.breakFor(way, between(options.lastsMs, options.random));
      truths.push(truth);
      options.onBreak?.(truth);
    }
    await clock.sleep(options.apartMs.minMs + options.timeoutMs);
    end.abort(new Error('the trial is over'));
    const record = await observing;
    const { params: _params, ...plain } = stream;
    const analysis = analyseStream(record.samples.get(stream.stream) ?? [], record.blind, plain);
    return { ...compare(truths, analysis.outages), record, analysis };
  } finally {
    await target.close();
    await rm(folder, { recursive: true, force: true });
  }
};

const overlaps = (outage: Outage, truth: PhysicalOutage): boolean =>
  outage.down.minMs <= truth.upMs && outage.up.maxMs >= truth.downMs;

const compare = (truths: readonly PhysicalOutage[], outages: readonly Outage[]) => {
  const rows = truths.map((truth): TrialRow => {
    const [found] = outages.filter((outage) => overlaps(outage, truth));
    const truthMs = truth.upMs - truth.downMs;
    const { interruption = null, client = null, kind = null } = found ?? {};
    return {
      way: truth.way,
      truthMs,
      interruption,
      client,
      kind,
      errorMs: interruption === null ? null : interruption.estimateMs - truthMs,
      contained: interruption !== null && interruption.minMs <= truthMs && truthMs <= interruption.maxMs,
    };
  });
  const missed = rows.filter((row) => row.interruption === null).length;
  return { rows, missed, invented: outages.length - (truths.length - missed) };
};
