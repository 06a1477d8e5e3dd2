import { z } from 'zod';
import type { Sample } from '../../probes/sample.ts';
import type { FaultWindow } from '../fault-window.ts';
import type { StreamAnalysis } from '../stream.ts';
import { defineMeasure, type Figure, figure, none } from './measure.ts';
import { streamsNamed } from './select.ts';

interface Epoch {
  readonly epoch: string;
  readonly timeline: number;
  acknowledged: number;
  /** Earliest end and latest send of an acknowledged write. */
  firstEndMs: number;
  lastSentMs: number;
}

/** An acknowledgement is one whether or not the instrument was blind just then: unlike a failure, nothing forges it. */
const isAcknowledged = ({ outcome }: Sample): boolean => outcome === 'good' || outcome === 'slow';

/** Acknowledged writes by the server and timeline that acknowledged them; ordered by timeline, then first ack. */
const epochsOf = (streams: readonly StreamAnalysis[]): readonly Epoch[] => {
  const epochs = new Map<string, Epoch>();
  for (const { evidence } of streams) {
    for (const sample of evidence.samples) {
      if (sample.epoch === undefined || !isAcknowledged(sample)) continue;
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
    }
  }
  return [...epochs.values()].toSorted((a, b) => a.timeline - b.timeline || a.firstEndMs - b.firstEndMs);
};

/** Epochs of one database share its system identifier; another database has a primary of its own. */
const systemOf = ({ epoch }: Pick<Epoch, 'epoch'>): string => epoch.split(':')[0] ?? '';

/** Writes acknowledged by an older epoch although sent after a newer one had acknowledged: two primaries, proven. */
const lateAcknowledgements = (streams: readonly StreamAnalysis[], epochs: readonly Epoch[]): readonly Sample[] => {
  const limitOf = new Map(
    epochs.map((epoch, index) => {
      const newer = epochs.slice(index + 1).filter((one) => systemOf(one) === systemOf(epoch));
      return [epoch.epoch, Math.min(...newer.map(({ firstEndMs }) => firstEndMs))];
    }),
  );
  return streams.flatMap(({ evidence }) =>
    evidence.samples.filter(
      (sample) =>
        sample.epoch !== undefined &&
        isAcknowledged(sample) &&
        sample.sentMs > (limitOf.get(sample.epoch) ?? Number.POSITIVE_INFINITY),
    ),
  );
};

/**
 * What a PostgreSQL server says that will not take the write: it is a replica (25006), starting, stopping or in
 * recovery (57P03), or no server listens any more. A time-out or a reset is none of these, nor is having no room for a
 * connection (53300): a primary that is full is still a primary.
 */
const refusals: ReadonlySet<string> = new Set(['25006', '57P03', 'refused']);

/** Writes tried at the old primary itself, from the return of its region until it was made primary again. */
interface Direct {
  readonly attempts: number;
  readonly refused: ReadonlyMap<string, number>;
  readonly unanswered: number;
  /** From the region's return to the first definite refusal. */
  readonly firstRefusedMs: number | undefined;
}

const directOf = (streams: readonly StreamAnalysis[], fault: FaultWindow): Direct => {
  const refused = new Map<string, number>();
  let attempts = 0;
  let unanswered = 0;
  let firstRefusedMs: number | undefined;
  for (const { evidence } of streams) {
    for (const { sentMs, endedMs, outcome, code } of evidence.samples) {
      if (sentMs < fault.reverted.minMs || outcome === 'dropped') continue;
      // An acknowledgement ends the wait, rightly or not: whether it was one too many is told by its epoch.
      if (outcome !== 'bad') break;
      attempts += 1;
      if (refusals.has(code)) {
        refused.set(code, (refused.get(code) ?? 0) + 1);
        firstRefusedMs ??= endedMs - fault.reverted.minMs;
      } else unanswered += 1;
    }
  }
  return { attempts, refused, unanswered, firstRefusedMs };
};

const directFigures = ({ attempts, refused, unanswered, firstRefusedMs }: Direct): readonly Figure[] => [
  figure('writes tried at the old primary itself', attempts, 'count'),
  ...[...refused].toSorted().map(([code, count]) => figure(`refused with ${code}`, count, 'count')),
  figure('neither refused nor acknowledged', unanswered, 'count'),
  ...(firstRefusedMs === undefined ? [] : [figure('first refusal after', firstRefusedMs, 'ms')]),
];

/**
 * From the epochs of all acknowledged writes, and from a stream that writes to the old primary itself, past the DNS
 * name of the database: silence proves nothing, so the old primary must have been heard to refuse.
 */
export const onePrimary = defineMeasure({
  name: 'one-primary',
  summary: 'Writes acknowledged by an old primary after a newer one had acknowledged.',
  params: z.strictObject({
    /** Name of the probe in the experiment file that writes to the old primary itself. */
    direct: z.string().min(1).default('old-primary'),
  }),
  bound: 'maxCount',
  measure({ direct: name }, context, fault) {
    const streams = context.streams.filter(({ evidence }) =>
      evidence.samples.some((sample) => sample.epoch !== undefined),
    );
    const epochs = epochsOf(streams);
    if (epochs.length === 0) return none('no acknowledged write said which database server acknowledged it');
    const tries = streamsNamed(context, name);
    const direct = directOf(tries, fault);
    const refused = [...direct.refused.values()].reduce((total, count) => total + count, 0);
    const late = lateAcknowledgements(streams, epochs);
    const writes = epochs.reduce((total, epoch) => total + epoch.acknowledged, 0);
    const changed = context.record.observations.some((seen) => seen.name === 'database.failover');
    const sole = new Set(epochs.map(systemOf)).size === epochs.length && !changed;
    const heard = refused > 0 && `${refused} of ${direct.attempts} writes tried at the old primary itself were refused`;
    const untried = 'no write was tried at the old primary itself, past the DNS name of the database';
    const unheard = 'the old primary itself was never heard to refuse a write';
    return {
      kind: 'count',
      count: late.length,
      of: `writes acknowledged by an old primary, of ${writes} acknowledged in all`,
      proven: sole ? 'one server acknowledged every write of a database, and no failover was seen' : heard,
      figures: [
        ...epochs.map((epoch) => figure(`acknowledged by ${epoch.epoch}`, epoch.acknowledged, 'count')),
        ...(tries.length === 0 ? [] : directFigures(direct)),
      ],
      notes: sole || heard !== false ? [] : [tries.length === 0 ? untried : unheard],
    };
  },
});
