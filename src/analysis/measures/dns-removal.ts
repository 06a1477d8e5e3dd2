import { z } from 'zod';
import { elapsed } from '../span.ts';
import { defineMeasure, figure, none } from './measure.ts';
import { longestHiddenMs, removals, streamsOfProbe, worstOf } from './select.ts';

/** Which kind of dead endpoint a fault leaves: one that refuses, or one that swallows everything. */
export const endpointKind = (faults: readonly string[]): 'refused' | 'black-holed' =>
  faults.some((name) => name.endsWith('.kill') || name.endsWith('.refuse')) ? 'refused' : 'black-holed';

export const dnsRemoval = defineMeasure({
  name: 'dns-removal',
  summary: 'Fault effective to the broken region out of the DNS answers, worst of the locations it served.',
  params: z.strictObject({}),
  bound: 'max',
  measure(_params, context, fault) {
    const streams = streamsOfProbe(context, 'dns');
    if (streams.length === 0) return none('no dns stream was probed');
    const found = removals(context, fault);
    const locations = found.map(({ location, span }) => ({ location, bracket: elapsed(fault.effective, span) }));
    const worst = worstOf(locations, ({ bracket }) => bracket);
    if (worst === undefined) return none('the broken region was in no DNS answer before the fault');
    const kind = endpointKind(fault.faults);
    const other = kind === 'refused' ? 'black-holed' : 'refused';
    return {
      kind: 'duration',
      bracket: worst.bracket,
      location: worst.location,
      locations,
      waitsFor: kind === 'refused' ? [] : ['health-checks'],
      confirmed: Number.isFinite(worst.bracket.maxMs),
      hiddenMs: longestHiddenMs(streams, fault.effective.minMs, context.endMs),
      figures: [figure('endpoint', kind, 'text')],
      notes: [`for a ${kind} endpoint; a ${other} one was not part of this run`],
    };
  },
});
