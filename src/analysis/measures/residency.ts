import { z } from 'zod';
import { looksAt } from '../ledger/lag.ts';
import { defineMeasure, figure, none, probeParam } from './measure.ts';

/** Where records that a location wrote can be read: nothing is assumed of a copy that nobody looked at. */
export const residency = defineMeasure({
  name: 'residency',
  summary: 'Regions in which the records of one location can be read.',
  params: z.strictObject({
    ledger: probeParam('postgres-ledger'),
    /** The client location whose records are marked. */
    location: z.string().min(1),
    /** The region that they are promised to stay in. */
    region: z.string().min(1),
  }),
  bound: 'none',
  measure({ ledger, location, region }, context) {
    const marked = new Set(
      context.record.streams
        .filter((stream) => stream.probe === ledger && stream.location === location)
        .map(({ stream }) => stream),
    );
    const histories = context.stores(ledger).histories.filter(({ stream }) => marked.has(stream));
    if (histories.length === 0) return none(`no ${ledger} was written from ${location}`);
    const named = new Set(histories.flatMap(({ reads }) => reads.flatMap(({ copy }) => copy ?? [])));
    // A copy that did not answer one look says nothing of what is in it.
    const copies = [...named].filter((copy) => histories.some((history) => looksAt(history, copy).length > 0));
    const counts = copies.toSorted().map((copy) => {
      const shown = histories.reduce(
        (total, history) => total + new Set(looksAt(history, copy).flatMap(({ seen }) => [...seen])).size,
        0,
      );
      return { copy, shown };
    });
    if (counts.length === 0) return none('no copy could be looked at');
    if (counts.every(({ copy }) => copy === region)) return none(`no copy outside ${region} was looked at`);
    const elsewhere = counts.filter(({ copy, shown }) => copy !== region && shown > 0).map(({ copy }) => copy);
    const figures = counts.map(({ copy, shown }) => figure(`read in ${copy}`, shown, 'count'));
    const isHome = counts.some(({ copy, shown }) => copy === region && shown > 0);
    if (elsewhere.length === 0 && !isHome) return none(`no record was seen in ${region}, nor anywhere else`);
    return elsewhere.length > 0
      ? {
          kind: 'judged',
          verdict: 'FAIL',
          reason: `records written from ${location} can be read in ${elsewhere.join(', ')}, not in ${region} alone`,
          figures,
        }
      : { kind: 'judged', verdict: 'PASS', reason: `read in ${region} alone, of ${copies.length} copies`, figures };
  },
});
