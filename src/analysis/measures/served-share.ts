import { z } from 'zod';
import { defineMeasure, figure, none } from './measure.ts';
import { affectedStreams, faultEndMs, shareOf, streamsNamed, tally } from './select.ts';

export const servedShare = defineMeasure({
  name: 'served-share',
  summary: 'Share of the requests of one kind of client that were served while the fault lasted.',
  params: z.strictObject({
    /** Name of the probe in the experiment file; for retries, one that models a retrying client. */
    stream: z.string().min(1),
  }),
  bound: 'minShare',
  measure({ stream }, context, fault) {
    const streams = affectedStreams(streamsNamed(context, stream), fault);
    if (streams.length === 0) return none(`no stream named ${stream} was probed in the broken region`);
    const { served, probes } = tally(streams, fault.effective.minMs, faultEndMs(context, fault));
    if (probes === 0) return none(`${stream} sent no probe while the fault lasted`);
    const figures = [figure('requests', probes, 'count'), figure('served', served, 'count')];
    return { kind: 'share', share: shareOf(served, probes), of: probes, figures };
  },
});
