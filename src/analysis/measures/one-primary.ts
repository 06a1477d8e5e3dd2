import { z } from 'zod';
import type { Sample } from '../../probes/sample.ts';
import type { StreamAnalysis } from '../stream.ts';
import { isServed } from '../stream.ts';
import { defineMeasure, figure, none } from './measure.ts';

interface Epoch {
  readonly epoch: string;
  readonly timeline: number;
  acknowledged: number;
  /** Earliest end and latest send of an acknowledged write. */
  firstEndMs: number;
  lastSentMs: number;
}

/** Acknowledged writes by the server and timeline that acknowledged them; ordered by timeline, then first ack. */
const epochsOf = (streams: readonly StreamAnalysis[]): readonly Epoch[] => {
  const epochs = new Map<string, Epoch>();
  for (const { evidence } of streams) {
    evidence.samples.forEach((sample, index) => {
      if (sample.epoch === undefined || !isServed(evidence.kinds[index])) return;
      const timeline = Number.parseInt(sample.epoch.split(':')[1] ?? '', 16);
      const epoch = epochs.get(sample.epoch) ?? {
        epoch: sample.epoch,
        timeline: Number.isNaN(timeline) ? 0 : timeline,
        acknowledged: 0,
        firstEndMs: sample.endedMs,
        lastSentMs: sample.sentMs,
      };
      epoch.acknowledged += 1;
      epoch.firstEndMs = Math.min(epoch.firstEndMs, sample.endedMs);
      epoch.lastSentMs = Math.max(epoch.lastSentMs, sample.sentMs);
      epochs.set(sample.epoch, epoch);
    });
  }
  return [...epochs.values()].toSorted((a, b) => a.timeline - b.timeline || a.firstEndMs - b.firstEndMs);
};

/** Writes acknowledged by an older epoch although sent after a newer one had acknowledged: two primaries, proven. */
const lateAcknowledgements = (streams: readonly StreamAnalysis[], epochs: readonly Epoch[]): readonly Sample[] => {
  const limitOf = new Map(
    epochs.map((epoch, index) => [epoch.epoch, Math.min(...epochs.slice(index + 1).map((newer) => newer.firstEndMs))]),
  );
  return streams.flatMap(({ evidence }) =>
    evidence.samples.filter(
      (sample, index) =>
        sample.epoch !== undefined &&
        isServed(evidence.kinds[index]) &&
        sample.sentMs > (limitOf.get(sample.epoch) ?? Number.POSITIVE_INFINITY),
    ),
  );
};

/**
 * From the epochs of all acknowledged writes, and the facts `old-primary.writes-refused` and
 * `old-primary.writes-acknowledged`: writes tried at the old primary itself after it came back.
 */
export const onePrimary = defineMeasure({
  name: 'one-primary',
  summary: 'Writes acknowledged by an old primary after a newer one had acknowledged.',
  params: z.strictObject({}),
  bound: 'maxCount',
  measure(_params, context) {
    const streams = context.streams.filter(({ evidence }) =>
      evidence.samples.some((sample) => sample.epoch !== undefined),
    );
    const epochs = epochsOf(streams);
    if (epochs.length === 0) return none('no acknowledged write said which database server acknowledged it');
    const { facts, observations } = context.record;
    const direct = Number(facts['old-primary.writes-acknowledged'] ?? 0);
    const refused = Number(facts['old-primary.writes-refused'] ?? 0);
    const late = lateAcknowledgements(streams, epochs);
    const writes = epochs.reduce((total, epoch) => total + epoch.acknowledged, 0);
    const changed = observations.some((seen) => seen.name === 'database.failover');
    const sole = epochs.length === 1 && !changed;
    const tried = refused > 0 && `${refused} writes tried at the old primary itself were refused`;
    return {
      kind: 'count',
      count: late.length + direct,
      of: `writes acknowledged by an old primary, of ${writes} acknowledged in all`,
      proven: sole ? 'one server acknowledged every write, and no failover was seen' : tried,
      figures: epochs.map((epoch) => figure(`acknowledged by ${epoch.epoch}`, epoch.acknowledged, 'count')),
      notes: sole || tried ? [] : ['no write was tried at the old primary itself, past the DNS name of the database'],
    };
  },
});
