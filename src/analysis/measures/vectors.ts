import { z } from 'zod';
import { durationMs, formatDuration } from '../../core/duration.ts';
import type { Observation } from '../../core/observation.ts';
import type { Bracket, InjectedFault } from '../record.ts';
import { elapsed, type Span } from '../span.ts';
import { type Context, defineMeasure, figure, type Measured, none } from './measure.ts';

interface Broken {
  readonly region: string;
  readonly effective: Span;
  readonly reverted: InjectedFault['reverted'];
}

/** The regions whose stores a fault was shown to bite. */
const brokenBy = ({ record }: Context, name: string): readonly Broken[] =>
  record.faults.flatMap(({ fault, target, effective, reverted }) =>
    fault === name && effective !== null ? [{ region: target.split('/')[1] ?? '', effective, reverted }] : [],
  );

const seenOf = ({ record }: Context, name: Observation['name'], region: string): readonly Observation[] =>
  record.observations
    .filter((one) => one.name === name && one.subject === region)
    .toSorted((one, other) => one.maxMs - other.maxMs);

const numberIn = ({ data }: Observation, key: string): number => Number(data[key] ?? 0);
const open = (context: Context): Span => ({ minMs: context.endMs, maxMs: Number.POSITIVE_INFINITY });

/** What was loaded is older than the loss by this much: so much of what was written is not in it. */
const lossOf = (rebuilt: Observation | undefined, { effective }: Broken): Bracket | undefined => {
  const takenMs = rebuilt?.data['takenMs'];
  return typeof takenMs === 'number' ? elapsed({ minMs: takenMs, maxMs: takenMs }, effective) : undefined;
};

export const vectorRebuild = defineMeasure({
  name: 'vector-rebuild',
  summary: 'Loss of an index to recall equal again, from a snapshot that is not older than promised.',
  params: z.strictObject({
    /** Documented: how old what is loaded may be. */
    lossMax: durationMs.default(24 * 3_600_000),
  }),
  bound: 'max',
  measure({ lossMax }, context): Measured {
    const [broken] = brokenBy(context, 'vector.lose');
    if (broken === undefined) return none('no vector store lost its index in this run');
    const { region, effective } = broken;
    const recalls = seenOf(context, 'vector.recall', region);
    const before = recalls.findLast((one) => one.maxMs <= effective.minMs);
    if (before === undefined || numberIn(before, 'of') === 0) {
      return none(`nobody had asked the vector store of ${region} for what it holds before it was lost`);
    }
    const after = recalls.filter((one) => one.maxMs > effective.minMs && one !== before);
    const fell = after.findIndex((one) => numberIn(one, 'found') < numberIn(before, 'found'));
    if (fell < 0) return none(`the vector store of ${region} was never seen without its index`);
    const equal = after.slice(fell).find((one) => numberIn(one, 'found') >= numberIn(before, 'found'));
    const rebuilt = seenOf(context, 'vector.rebuilt', region).find((one) => one.maxMs > effective.minMs);
    const loss = lossOf(rebuilt, broken);
    const last = after.at(-1) ?? before;
    const figures = [
      figure('recall before', `${numberIn(before, 'found')} of ${numberIn(before, 'of')}`, 'text'),
      figure('recall at the end', `${numberIn(last, 'found')} of ${numberIn(last, 'of')}`, 'text'),
      ...(loss === undefined ? [] : [figure('age of what was loaded, at the loss', loss.estimateMs, 'ms' as const)]),
    ];
    const notes = rebuilt === undefined ? [] : [`rebuilt from its ${String(rebuilt.data['from'])}`];
    const bracket = elapsed(effective, equal ?? open(context));
    const beside = { figures, notes, location: region };
    const scale = context.record.run.timeScale;
    if (loss !== undefined && loss.maxMs * scale > lossMax) {
      const verdict = loss.minMs * scale > lossMax ? 'FAIL' : 'INCONCLUSIVE';
      const age = formatDuration(loss.maxMs * scale);
      const reason = `what was loaded was ${age} old at the loss, promised at most ${formatDuration(lossMax)}`;
      return { kind: 'judged', verdict, reason, bracket, ...beside };
    }
    return { kind: 'duration', bracket, confirmed: equal !== undefined, ...beside };
  },
});

export const vectorFullSync = defineMeasure({
  name: 'vector-full-sync',
  summary: 'Drift of a copy to when a full sync has made it equal to its source again.',
  params: z.strictObject({}),
  bound: 'max',
  measure(_params, context): Measured {
    const [broken] = brokenBy(context, 'vector.drift');
    if (broken === undefined) return none('no copy was made to differ from its source in this run');
    const { region, effective, reverted } = broken;
    const diverged = seenOf(context, 'vector.diverged', region).find((one) => one.maxMs >= effective.minMs);
    if (diverged === undefined) return none(`the copy in ${region} was never seen to differ`);
    const converged = seenOf(context, 'vector.converged', region).find((one) => one.maxMs > diverged.maxMs);
    const undoneMs = reverted?.minMs ?? context.endMs;
    const wasUndone = converged === undefined || converged.maxMs > undoneMs;
    // What blackstart put right itself says that until then no sync had.
    const span = wasUndone ? { minMs: undoneMs, maxMs: Number.POSITIVE_INFINITY } : converged;
    const by = wasUndone ? 'not seen' : String(converged.data['by'] ?? 'unknown');
    return {
      kind: 'duration',
      bracket: elapsed(effective, span),
      confirmed: !wasUndone,
      location: region,
      figures: [figure('sync that ended it', by, 'text')],
      notes: ['a delta sync carries upserts alone: it leaves strays, and what was changed at the copy'],
    };
  },
});
