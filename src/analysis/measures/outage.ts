import { z } from 'zod';
import type { FaultWindow } from '../fault-window.ts';
import type { Bracket, StretchedMechanism } from '../record.ts';
import { bracketOf, sum } from '../span.ts';
import type { StreamAnalysis } from '../stream.ts';
import { type Context, defineMeasure, figure, type Measured, none, probeParam } from './measure.ts';
import { causedBy, faultEndMs, longestHiddenMs, requiredStreams, worstOf } from './select.ts';

const budgetDays = 30;

interface Outcome {
  readonly location: string;
  readonly stream: string;
  readonly bracket: Bracket;
  readonly outages: number;
  readonly flaps: number;
  readonly confirmed: boolean;
}

/** First impact to stable recovery; several outages of one fault are added up, which is least favourable. */
const outcomeOf = (one: StreamAnalysis, fault: FaultWindow): Outcome => {
  const outages = causedBy(one, fault);
  const { stream, location } = one.stream;
  const seen = sum(outages.map((outage) => outage.client));
  const bracket = outages.length > 0 ? seen : bracketOf(0, 0, one.floor.freezeMs);
  const flaps = outages.reduce((total, outage) => total + outage.flaps, 0);
  return {
    location,
    stream,
    bracket,
    outages: outages.length,
    flaps,
    confirmed: outages.every((one) => one.confirmed),
  };
};

const worstByLocation = (outcomes: readonly Outcome[]): readonly Outcome[] => {
  const locations = [...new Set(outcomes.map((outcome) => outcome.location))];
  return locations.flatMap((location) => {
    const here = outcomes.filter((outcome) => outcome.location === location);
    return worstOf(here, (outcome) => outcome.bracket) ?? [];
  });
};

/** What the platform waits for before it acts: a lost region is noticed by health checks, a lost writer by its own. */
const waitsOf = ({ faults }: FaultWindow): readonly StretchedMechanism[] => {
  const isA = (area: string): boolean => faults.some((name) => name.startsWith(`${area}.`));
  return [
    ...(isA('region') ? (['health-checks'] as const) : []),
    ...(isA('zone') || isA('database') ? (['database-checks'] as const) : []),
  ];
};

const judgeOutages = (
  { probe, availability }: { readonly probe: string; readonly availability?: number | undefined },
  context: Context,
  fault: FaultWindow,
): Measured => {
  const streams = requiredStreams(context, probe);
  if (streams.length === 0) return none(`no required ${probe} stream was probed`);
  const outcomes = streams.map((one) => outcomeOf(one, fault));
  const worst = worstOf(outcomes, (outcome) => outcome.bracket);
  if (worst === undefined) return none(`no ${probe} stream was measured`);
  const figures = [figure('flaps', worst.flaps, 'count'), figure('outages', worst.outages, 'count')];
  if (availability !== undefined) {
    const budgetMs = (1 - availability) * budgetDays * 86_400_000;
    const burnt = (worst.bracket.estimateMs * context.record.run.timeScale) / budgetMs;
    figures.push(figure(`share of the ${budgetDays}-day error budget at ${availability * 100} %`, burnt, 'share'));
  }
  const notes = worst.outages > 1 ? [`${worst.outages} outages of ${worst.stream} are added up`] : [];
  if (worst.outages === 0)
    notes.push('no outage opened at any location; shorter ones than the upper end would not show');
  return {
    kind: 'duration',
    bracket: worst.bracket,
    location: worst.location,
    locations: worstByLocation(outcomes).map(({ location, bracket }) => ({ location, bracket })),
    waitsFor: waitsOf(fault),
    confirmed: outcomes.every((outcome) => outcome.confirmed),
    hiddenMs: longestHiddenMs(streams, fault.effective.minMs, faultEndMs(context, fault)),
    figures,
    notes,
  };
};

export const outage = defineMeasure({
  name: 'outage',
  summary: 'First client impact to stable recovery of the required streams, worst location (strict: good in time).',
  params: z.strictObject({
    probe: probeParam('chat'),
    /** Availability whose error budget the outage is set against. */
    availability: z.number().min(0.5).max(0.999999).optional(),
  }),
  bound: 'max',
  measure: (params, context, fault) => judgeOutages(params, context, fault),
});
