import { z } from 'zod';
import { good } from '../evidence.ts';
import type { RunRecord } from '../record.ts';
import type { Span } from '../span.ts';
import { type Context, defineMeasure, figure, none } from './measure.ts';

interface Change extends Span {
  readonly region: string;
  readonly healthy: boolean;
}

/**
 * The region that the documented list gives for these healthy ones; names that are in no region list are skipped.
 * `null` when none of the list is healthy: then any healthy region will do.
 */
export const expectedRegion = (prefers: readonly string[], healthy: ReadonlySet<string>): string | null =>
  prefers.find((region) => healthy.has(region)) ?? null;

const regionsOf = (context: Context): readonly string[] => {
  const known = context.record.places?.regions.map(({ name }) => name);
  if (known !== undefined) return known;
  const answers = context.streams.flatMap(({ stream, evidence }) =>
    stream.probe === 'dns' ? evidence.samples.flatMap(({ answer }) => (answer === undefined ? [] : [answer])) : [],
  );
  return [...new Set(answers)].toSorted();
};

const changesOf = (record: RunRecord): readonly Change[] =>
  record.observations
    .filter((seen) => seen.name === 'health.failed' || seen.name === 'health.restored')
    .map((seen) => ({
      region: seen.subject,
      healthy: seen.name === 'health.restored',
      minMs: seen.minMs,
      maxMs: seen.maxMs,
    }))
    .toSorted((a, b) => a.minMs - b.minMs);

/** While a drill holds or returns traffic by weight, an answer need not follow the list: that time is left out. */
const steeredSpans = (record: RunRecord): readonly Span[] =>
  record.faults
    .filter(({ fault }) => fault === 'traffic.shift')
    .map(({ effective, reverted }) => ({
      minMs: effective?.minMs ?? Number.NEGATIVE_INFINITY,
      maxMs: reverted?.maxMs ?? Number.POSITIVE_INFINITY,
    }));

interface Seen {
  probes: number;
  wrong: number;
  example: string | undefined;
}

/** Answers of one location by the set of healthy regions at the time; answers near a change are left out. */
const answersByState = (
  context: Context,
  location: string,
  prefers: readonly string[],
  regions: readonly string[],
): ReadonlyMap<string, Seen> => {
  const changes = changesOf(context.record);
  const steered = steeredSpans(context.record);
  const states = new Map<string, Seen>();
  for (const { stream, evidence } of context.streams) {
    if (stream.probe !== 'dns' || stream.location !== location) continue;
    const settleMs = stream.timeoutMs;
    const healthy = new Set(regions);
    let next = 0;
    evidence.samples.forEach((sample, index) => {
      if (evidence.kinds[index] !== good || sample.answer === undefined) return;
      for (let change = changes[next]; change !== undefined && change.maxMs <= sample.sentMs; change = changes[next]) {
        if (change.healthy) healthy.add(change.region);
        else healthy.delete(change.region);
        next += 1;
      }
      const nearChange = changes.some((one) => sample.endedMs > one.minMs && sample.sentMs < one.maxMs + settleMs);
      if (nearChange || steered.some((one) => sample.endedMs > one.minMs && sample.sentMs < one.maxMs)) return;
      const state = regions.map((region) => `${healthy.has(region) ? '' : 'no '}${region}`).join(', ');
      const seen = states.get(state) ?? { probes: 0, wrong: 0, example: undefined };
      seen.probes += 1;
      const expected = expectedRegion(prefers, healthy);
      const right = expected === null ? regions.includes(sample.answer) : sample.answer === expected;
      if (!right) {
        seen.wrong += 1;
        seen.example ??= `${sample.answer} instead of ${expected ?? 'any region'} (${state})`;
      }
      states.set(state, seen);
    });
  }
  return states;
};

/** From dns samples and the observations `health.failed` and `health.restored` (subject: region). */
export const route = defineMeasure({
  name: 'route',
  summary: 'DNS answers of a location against its documented preference list, for each combination of healthy regions.',
  params: z.strictObject({
    location: z.string().min(1),
    /** Documented list in order, separated by commas. */
    prefers: z.string().min(1),
  }),
  bound: 'none',
  measure({ location, prefers }, context) {
    const list = prefers.split(',').map((region) => region.trim());
    const regions = regionsOf(context);
    const states = answersByState(context, location, list, regions);
    if (states.size === 0) return none(`no DNS answer of ${location} was probed in a settled state`);
    const figures = [...states].map(([state, seen]) =>
      figure(state, `${seen.probes - seen.wrong} of ${seen.probes}`, 'text'),
    );
    const ghosts = list.filter((region) => !regions.includes(region));
    const notes = ghosts.map((region) => `${region} is in the list but is no region of this environment`);
    const total = 2 ** regions.length;
    notes.push(`${states.size} of ${total} combinations of healthy regions occurred; the others are not judged`);
    const wrong = [...states.values()].find((seen) => seen.wrong > 0);
    if (wrong !== undefined) {
      return { kind: 'judged', verdict: 'FAIL', reason: `answered ${wrong.example}`, location, figures, notes };
    }
    const probes = [...states.values()].reduce((sum, seen) => sum + seen.probes, 0);
    const reason = `${probes} answers as the list says, over ${states.size} of ${total} combinations`;
    return { kind: 'judged', verdict: 'PASS', reason, location, figures, notes };
  },
});
