import { z } from 'zod';
import { good, unknown } from '../evidence.ts';
import type { FaultWindow } from '../fault-window.ts';
import type { StreamAnalysis } from '../stream.ts';
import { defineMeasure, type Figure, figure, none } from './measure.ts';
import { affectedStreams, faultEndMs, shareOf, streamsNamed } from './select.ts';

interface Served {
  /** Send of the first good answer from elsewhere; `undefined` when there was none. */
  readonly switchedMs: number | undefined;
  /** Evidence probes after that one; all of them since the fault when there was none. */
  readonly answers: number;
  readonly elsewhere: number;
  readonly regions: ReadonlySet<string>;
}

/**
 * What was seen of one stream while the fault lasted. The switch is the first good answer from elsewhere, not a
 * confirmed recovery: a stream of one probe a second would need many minutes of fault to have one confirmed.
 */
const servedOf = ({ evidence }: StreamAnalysis, fault: FaultWindow, endMs: number): Served => {
  let switchedMs: number | undefined;
  let answers = 0;
  let elsewhere = 0;
  const regions = new Set<string>();
  evidence.samples.forEach((sample, index) => {
    const kind = evidence.kinds[index];
    if (sample.sentMs < fault.effective.maxMs || sample.sentMs > endMs || kind === unknown) return;
    const isElsewhere = kind === good && sample.region !== undefined && !fault.regions.has(sample.region);
    if (isElsewhere && sample.region !== undefined) regions.add(sample.region);
    if (isElsewhere && switchedMs === undefined) {
      // It defines the switch, so it proves nothing about what comes after: the count begins behind it.
      switchedMs = sample.sentMs;
      answers = 0;
      return;
    }
    answers += 1;
    if (isElsewhere) elsewhere += 1;
  });
  return { switchedMs, answers, elsewhere, regions };
};

/** Share of good answers after the switch that counts as being served. */
const servedShare = 0.9;

export const serves = defineMeasure({
  name: 'serves',
  summary: 'Whether a stream is answered from another region after the switch, while the broken one is still gone.',
  params: z.strictObject({
    /** Name of the probe in the experiment file. */
    stream: z.string().min(1),
    /** What the stream stands for, for the reason. */
    proves: z.string().min(1),
    /** Part of the promise that the stream says nothing about; noted beside the row. */
    leaves: z.string().min(1).optional(),
  }),
  bound: 'none',
  measure({ stream, proves, leaves }, context, fault) {
    const all = streamsNamed(context, stream);
    if (all.length === 0) return none(`no probe named ${stream} reads it in this experiment`);
    const streams = affectedStreams(all, fault);
    const seen = streams.map((one) => ({ one, ...servedOf(one, fault, faultEndMs(context, fault)) }));
    const answers = seen.reduce((total, one) => total + one.answers, 0);
    const elsewhere = seen.reduce((total, one) => total + one.elsewhere, 0);
    if (answers === 0) return none(`${stream} sent no probe that counts after the switch`);
    const figures: Figure[] = seen.flatMap(({ one, switchedMs }) =>
      switchedMs === undefined
        ? []
        : [figure(`${one.stream.location} answered from elsewhere after`, switchedMs - fault.effective.minMs, 'ms')],
    );
    figures.push(figure('answers after that', answers, 'count'), figure('good and from elsewhere', elsewhere, 'count'));
    const notes = leaves === undefined ? [] : [leaves];
    const never = seen.filter(({ switchedMs }) => switchedMs === undefined).map(({ one }) => one.stream.location);
    if (never.length > 0) {
      const reason = `${stream} was never answered from elsewhere while the fault lasted: ${never.join(', ')}`;
      return { kind: 'judged', verdict: 'FAIL', reason, figures, notes };
    }
    const where = [...new Set(seen.flatMap(({ regions }) => [...regions]))].toSorted().join(', ');
    const counted = `${elsewhere} of ${answers} answers after the switch were good and from elsewhere`;
    const share = shareOf(elsewhere, answers);
    if (share.min >= servedShare) {
      const reason = `${proves}: answered from ${where}; ${counted}`;
      return { kind: 'judged', verdict: 'PASS', reason, figures, notes };
    }
    const verdict = share.max < servedShare ? 'FAIL' : 'INCONCLUSIVE';
    return { kind: 'judged', verdict, reason: counted, figures, notes };
  },
});
