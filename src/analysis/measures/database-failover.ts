import { z } from 'zod';
import { elapsed } from '../span.ts';
import { defineMeasure, figure, none, probeParam } from './measure.ts';
import { causedBy, newAuthority, streamsOfProbe } from './select.ts';

const waitsFor = ['database-checks'] as const;

export const databaseFailover = defineMeasure({
  name: 'database-failover',
  summary: 'Fault effective to the first write acknowledged by a new primary (a new epoch).',
  params: z.strictObject({ probe: probeParam('postgres-ledger') }),
  bound: 'max',
  measure({ probe }, context, fault) {
    const streams = streamsOfProbe(context, probe);
    if (streams.length === 0) return none(`no ${probe} stream was probed`);
    const found = newAuthority(streams, fault);
    if (found !== undefined) {
      const notes = [`${found.stream} saw it first: ${found.epoch} after ${found.previous}`];
      const location = streams.find(({ stream }) => stream.stream === found.stream)?.stream.location;
      return { kind: 'duration', bracket: elapsed(fault.effective, found.span), waitsFor, location, notes };
    }
    const failing = streams.find((one) => causedBy(one, fault).length > 0);
    if (failing === undefined) return none('the database did not change hands in this run');
    const span = { minMs: context.endMs, maxMs: Number.POSITIVE_INFINITY };
    const recovered = causedBy(failing, fault).every((outage) => outage.confirmed);
    if (recovered) return none('writes failed and came back, but from the same database server: nothing failed over');
    return {
      kind: 'duration',
      bracket: elapsed(fault.effective, span),
      location: failing.stream.location,
      waitsFor,
      confirmed: false,
      figures: [figure('writes that failed', failing.counts.bad, 'count')],
    };
  },
});
