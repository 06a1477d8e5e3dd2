import { z } from 'zod';
import { good } from '../evidence.ts';
import { defineMeasure, figure, none } from './measure.ts';
import { affectedStreams, causedBy, faultEndMs, shareOf, streamsNamed } from './select.ts';

export const serves = defineMeasure({
  name: 'serves',
  summary: 'Whether a stream is answered from another region after the switch, while the broken one is still gone.',
  params: z.strictObject({
    /** Name of the probe in the experiment file. */
    stream: z.string().min(1),
    /** What the stream stands for, for the reason. */
    proves: z.string().min(1),
  }),
  bound: 'none',
  measure({ stream, proves }, context, fault) {
    const all = streamsNamed(context, stream);
    if (all.length === 0) return none(`no probe named ${stream} reads it in this experiment`);
    const streams = affectedStreams(all, fault);
    const endMs = faultEndMs(context, fault);
    let answers = 0;
    let elsewhere = 0;
    const regions = new Set<string>();
    for (const one of streams) {
      const upMs = Math.max(fault.effective.maxMs, ...causedBy(one, fault).map((outage) => outage.up.maxMs));
      one.evidence.samples.forEach((sample, index) => {
        if (sample.sentMs < upMs || sample.sentMs > endMs || one.evidence.kinds[index] === 0) return;
        answers += 1;
        if (one.evidence.kinds[index] !== good || sample.region === undefined || fault.regions.has(sample.region))
          return;
        elsewhere += 1;
        regions.add(sample.region);
      });
    }
    const share = shareOf(elsewhere, answers);
    const figures = [figure('answers', answers, 'count'), figure('good and from elsewhere', elsewhere, 'count')];
    const where = [...regions].toSorted().join(', ');
    if (answers === 0) {
      const failing = streams.some((one) => causedBy(one, fault).some((outage) => !outage.confirmed));
      if (!failing) return none(`${stream} sent no probe after the switch`);
      return {
        kind: 'judged',
        verdict: 'FAIL',
        reason: `${stream} was not answered again while the fault lasted`,
        figures,
      };
    }
    if (share.min >= 0.9) {
      return { kind: 'judged', verdict: 'PASS', reason: `${proves}: answered from ${where}`, figures };
    }
    const verdict = share.max < 0.9 ? 'FAIL' : 'INCONCLUSIVE';
    return {
      kind: 'judged',
      verdict,
      reason: `${elsewhere} of ${answers} answers were good and from elsewhere`,
      figures,
    };
  },
});
