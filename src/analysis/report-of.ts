import type { Report } from '../report/model.ts';
import type { dataLossOf, StoreLoss } from './data-loss.ts';
import type { Decomposition } from './decomposition.ts';
import { good, unknown } from './evidence.ts';
import type { FaultWindow } from './fault-window.ts';
import type { Context } from './measures/measure.ts';
import type { Episode, Outage } from './outages.ts';
import type { Bracket, RunVerdict } from './record.ts';
import type { SelfCheck } from './self-checks.ts';
import { elapsed, type Span } from './span.ts';
import { latenciesOf, type StreamAnalysis } from './stream.ts';
import type { Judged } from './verdict.ts';

export interface Findings {
  readonly schemaVersion: Report['schemaVersion'];
  readonly context: Context;
  readonly fault: FaultWindow | undefined;
  readonly judged: readonly Judged[];
  readonly checks: readonly SelfCheck[];
  readonly decomposition: readonly Decomposition[];
  readonly dataLoss: ReturnType<typeof dataLossOf>;
  readonly contradictions: readonly string[];
  readonly verdict: RunVerdict;
  readonly reason: string;
}

type ReportBracket = Report['outages'][number]['client'];
type ReportSpan = NonNullable<Report['faults'][number]['effective']>;

/** Microseconds are finer than any clock here, and round to the same text everywhere. */
const rounded = (value: number): number => Math.round(value * 1000) / 1000;
const finite = (value: number): number | null => (Number.isFinite(value) ? rounded(value) : null);

const bracket = ({ estimateMs, minMs, maxMs }: Bracket): ReportBracket => ({
  estimateMs: rounded(Number.isFinite(estimateMs) ? estimateMs : minMs),
  minMs: rounded(minMs),
  maxMs: finite(maxMs),
});

const bracketOrNull = (value: Bracket | null): ReportBracket | null => (value === null ? null : bracket(value));

/** Instants of the report count from the start of the run. */
const sinceOrigin = (context: Context) => {
  const { originMs, startedAt } = context.record.run;
  const startMs = Date.parse(startedAt);
  return {
    at: (atMs: number): number => rounded(atMs - originMs),
    open: (atMs: number): number | null => finite(atMs - originMs),
    span: ({ minMs, maxMs }: Span): ReportSpan => ({
      minMs: finite(minMs - originMs),
      maxMs: finite(maxMs - originMs),
    }),
    label: (atMs: number): string => new Date(startMs + atMs - originMs).toISOString(),
  };
};
type Origin = ReturnType<typeof sinceOrigin>;

const targetOf = (row: Judged, timeScale: number): Report['targets'][number] => {
  const { id, promise, text, source, maxMs, minShare, maxShare, maxCount } = row.target;
  return {
    id,
    verdict: row.verdict,
    reason: row.reason,
    documented: {
      promise,
      text,
      source,
      ...(maxMs === undefined ? {} : { maxMs }),
      ...(minShare === undefined ? {} : { minShare }),
      ...(maxShare === undefined ? {} : { maxShare }),
      ...(maxCount === undefined ? {} : { maxCount }),
      also: [...row.also],
    },
    observed: bracketOrNull(row.observed),
    real: bracketOrNull(row.real),
    share: row.share,
    count: row.count,
    location: row.location,
    locations: row.locations.map(({ location, verdict, bracket: real }) => ({
      location,
      verdict,
      observed: bracket({
        estimateMs: real.estimateMs * timeScale,
        minMs: real.minMs * timeScale,
        maxMs: real.maxMs * timeScale,
      }),
      real: bracket(real),
    })),
    figures: row.figures.map((one) => ({
      ...one,
      value: typeof one.value !== 'number' ? one.value : (finite(one.value) ?? 'not seen'),
      unit: typeof one.value === 'number' && !Number.isFinite(one.value) ? 'text' : one.unit,
    })),
    notes: [...row.notes],
  };
};

const lengthsOf = ({ client, interruption }: Episode) => ({
  client: bracket(client),
  interruption: bracket(interruption),
});

const outageOf = (outage: Outage, required: boolean, origin: Origin): Report['outages'][number] => ({
  stream: outage.stream,
  location: outage.location,
  required,
  startedAt: origin.label(outage.down.maxMs),
  startMs: origin.at(outage.down.maxMs),
  kind: outage.kind,
  flaps: outage.flaps,
  confirmed: outage.confirmed,
  ...lengthsOf(outage),
  firstRecovery: bracket(elapsed(outage.down, outage.firstUp)),
  downtimeMs: rounded(outage.downtimeMs),
  notGood: outage.notGood,
  episodes: outage.episodes.map((episode) => ({
    kind: episode.kind,
    startMs: origin.at(episode.down.maxMs),
    ...lengthsOf(episode),
  })),
});

const availabilityWindowsMs = [10_000, 60_000, 300_000];

/** Least share of good probes in any window of this length that begins at a probe; two pointers, linear. */
export const worstAvailability = ({ evidence }: StreamAnalysis, windowMs: number): number | undefined => {
  const { samples, kinds } = evidence;
  const lastMs = samples.at(-1)?.sentMs ?? 0;
  let worst: number | undefined;
  let end = 0;
  let probes = 0;
  let goods = 0;
  for (let start = 0; start < samples.length; start += 1) {
    const fromMs = samples[start]?.sentMs ?? 0;
    if (lastMs - fromMs < windowMs) break;
    for (; end < samples.length && (samples[end]?.sentMs ?? 0) < fromMs + windowMs; end += 1) {
      if (kinds[end] !== unknown) probes += 1;
      if (kinds[end] === good) goods += 1;
    }
    if (probes > 0) worst = Math.min(worst ?? 1, goods / probes);
    if (kinds[start] !== unknown) probes -= 1;
    if (kinds[start] === good) goods -= 1;
  }
  return worst;
};

const totalMs = (outages: readonly Outage[]): number =>
  rounded(outages.reduce((total, outage) => total + outage.downtimeMs, 0));

const quantiles = (found: ReturnType<typeof latenciesOf>): Report['streams'][number]['latency'] =>
  found === null
    ? null
    : {
        count: found.count,
        p50Ms: rounded(found.p50Ms),
        p95Ms: rounded(found.p95Ms),
        p99Ms: rounded(found.p99Ms),
        maxMs: rounded(found.maxMs),
      };

const streamOf = (one: StreamAnalysis): Report['streams'][number] => {
  const { stream, probe, location, connection, required, everyMs, timeoutMs, slowAfterMs } = one.stream;
  return {
    stream,
    probe,
    location,
    connection,
    required,
    everyMs,
    timeoutMs,
    slowAfterMs,
    probes: { ...one.counts },
    latency: quantiles(one.latency),
    firstByte: quantiles(latenciesOf(one.evidence, 'first')),
    window: [...one.window.looks],
    outages: one.outages.length,
    downtimeMs: totalMs(one.outages),
    reachableDowntimeMs: totalMs(one.reachable),
    notGoodMs: rounded(one.notGoodMs),
    blindMs: rounded(one.evidence.blindMs),
    hiddenMs: rounded(one.hidden.reduce((longest, place) => Math.max(longest, place.toMs - place.fromMs), 0)),
    floor: { ...one.floor },
    blips: {
      count: one.blips.length,
      longest: one.blips.reduce((longest, blip) => Math.max(longest, blip.probes), 0),
    },
    worstAvailability: availabilityWindowsMs.flatMap((windowMs) => {
      const share = worstAvailability(one, windowMs);
      return share === undefined ? [] : [{ windowMs, share }];
    }),
  };
};

type Event = Report['timeline'][number];

/** What happened, in order: what the fault did, what the platform did, and what clients noticed. */
const timelineOf = (context: Context, fault: FaultWindow | undefined, origin: Origin): readonly Event[] => {
  const { record, streams } = context;
  const event = (span: Span, name: string, subject: string, source: string, data: Event['data'] = {}): Event => ({
    ...origin.span(span),
    name,
    subject,
    source,
    data,
  });
  // Checks that come every few seconds are figures, not events.
  const told = record.observations.filter(({ name }) => name !== 'health.checked');
  const seen = told.map((one) => event(one, one.name, one.subject, one.source, { ...one.data }));
  const faults = record.faults.flatMap(({ fault: name, target, effective, reverted }) => [
    ...(effective === null ? [] : [event(effective, 'fault.effective', target, 'runner', { fault: name })]),
    ...(reverted === null ? [] : [event(reverted, 'fault.reverted', target, 'runner', { fault: name })]),
  ]);
  const narrowed =
    fault === undefined ? [] : [event(fault.effective, 'fault.bites', fault.targets.join(', '), 'probes')];
  const noticed = streams
    .filter(({ stream }) => stream.required)
    .flatMap(({ outages }) =>
      outages.flatMap((outage) => [
        event(outage.down, 'client.down', outage.stream, 'probes', { kind: outage.kind }),
        ...(outage.confirmed ? [event(outage.up, 'client.stable', outage.stream, 'probes')] : []),
      ]),
    );
  const isTold = new Set(
    seen.filter(({ name }) => name.startsWith('fault.')).map(({ name, subject }) => name + subject),
  );
  const own = faults.filter(({ name, subject }) => !isTold.has(name + subject));
  const key = (one: Event): number => one.maxMs ?? one.minMs ?? 0;
  const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return [...seen, ...own, ...narrowed, ...noticed].toSorted(
    (a, b) => key(a) - key(b) || order(a.name, b.name) || order(a.subject, b.subject),
  );
};

const decompositionOf = (one: Decomposition, origin: Origin): Report['decomposition'][number] => {
  const { instants, durations } = one;
  const at = (span: Span | null): ReportSpan | null => (span === null ? null : origin.span(span));
  return {
    location: one.location,
    stream: one.stream,
    instants: {
      faultEffective: at(instants.faultEffective),
      firstImpact: at(instants.firstImpact),
      detected: at(instants.detected),
      decided: at(instants.decided),
      newAuthority: at(instants.newAuthority),
      routeChanged: at(instants.routeChanged),
      firstGood: at(instants.firstGood),
      stable: at(instants.stable),
      redundant: at(instants.redundant),
    },
    durations: {
      outage: bracketOrNull(durations.outage),
      sinceFault: bracketOrNull(durations.sinceFault),
      detect: bracketOrNull(durations.detect),
      failOver: bracketOrNull(durations.failOver),
      propagate: bracketOrNull(durations.propagate),
      settle: bracketOrNull(durations.settle),
      redundancy: bracketOrNull(durations.redundancy),
    },
  };
};

/** When in the cycle of periodic mechanisms the fault was injected, from the facts of the run. */
const phaseOf = ({ facts }: Context['record'], fault: FaultWindow | undefined): Report['phase'] => {
  const numberOf = (name: string): number | undefined => {
    const value = facts[name];
    return typeof value === 'number' ? value : undefined;
  };
  const offsetMs = numberOf('phase.offsetMs');
  if (offsetMs === undefined) return null;
  const at = facts['phase.at'];
  const whole = { at: typeof at === 'number' ? at : String(at ?? 'random'), offsetMs: rounded(offsetMs) };
  const periodMs = numberOf('phase.periodMs');
  if (periodMs === undefined) return { ...whole, mechanism: null };
  const durationMs = numberOf('phase.durationMs') ?? 0;
  const takenMs = numberOf('phase.takenMs');
  const afterMs = numberOf('phase.takenAfterMs');
  const taken = takenMs === undefined ? undefined : { minMs: takenMs, maxMs: takenMs };
  return {
    ...whole,
    mechanism: {
      name: String(facts['phase.mechanism']),
      region: String(facts['phase.region']),
      periodMs: rounded(periodMs),
      durationMs: rounded(durationMs),
      positionMs: rounded(numberOf('phase.positionMs') ?? 0),
      age: taken === undefined || fault === undefined ? null : bracket(elapsed(taken, fault.effective)),
      // Instants of one state differ by how long the questions took, those of two by a period.
      passEnded: takenMs !== undefined && afterMs !== undefined && afterMs - takenMs > periodMs / 2,
    },
  };
};

const baselineOf = ({ baseline }: Context): Report['baseline'] => {
  if (baseline.length === 0) return null;
  const wrong = baseline.find((row) => row.stream.required && (row.failed ?? row.missing) !== undefined);
  return {
    holds: wrong === undefined,
    reason: wrong === undefined ? 'the steady state held' : `${wrong.stream.stream}: ${wrong.failed ?? wrong.missing}`,
    streams: baseline.map(({ stream, probes, bad, late, window }) => ({
      stream: stream.stream,
      probes,
      bad,
      late,
      window: [...(window?.looks ?? [])],
    })),
  };
};

const handoverReport = (one: StoreLoss['handovers'][number], origin: Origin) => ({
  epoch: one.epoch.name,
  acknowledged: one.epoch.writes.length,
  lost: one.lost.length,
  isPrefix: one.isPrefix,
  recoveryPoint: one.recoveryPoint === null ? null : origin.span(one.recoveryPoint),
  end: origin.span(one.end),
  endKnownBy: one.end.by,
  rpo: bracket(one.rpo),
  spanOfLostMs: rounded(one.spanOfLostMs),
});

const storeReport = (one: StoreLoss, origin: Origin): Report['dataLoss']['stores'][number] => {
  const { store, power } = one;
  const { sets } = store;
  const withOut = (out: string): number => store.writes.filter((write) => write.out === out).length;
  return {
    ledger: store.kind,
    missing: [...store.missing],
    writes: { acknowledged: withOut('ok'), failed: withOut('fail'), unknown: withOut('info') },
    lost: sets.lost.size,
    lostWeak: sets.lostWeak.size,
    recovered: sets.recovered.size,
    indeterminate: sets.indeterminate.size,
    resurrected: sets.resurrected.size,
    phantom: sets.phantom.size,
    duplicate: sets.duplicate.size,
    stale: sets.stale.size,
    neverRead: sets.neverRead.size,
    vanished: sets.vanished.size,
    holes: store.holes.size,
    power: power === null ? null : { smallestLossMs: finite(power.smallestLossMs), atRisk: power.atRisk },
    handovers: one.handovers.map((handover) => handoverReport(handover, origin)),
    copies: one.copies.map(({ copy, writes, longest }) => ({ copy, writes, longest: bracket(longest) })),
    splitBrain: {
      dualAcknowledged: one.dualAcknowledged,
      divergent: one.divergent,
      overlap: bracketOrNull(one.overlap),
    },
  };
};

const dataLossReport = ({ stores, cut }: Findings['dataLoss'], origin: Origin): Report['dataLoss'] => ({
  stores: stores.map((store) => storeReport(store, origin)),
  consistentCut:
    cut === null
      ? null
      : { ledgers: [...cut.stores], rpo: bracket(cut.rpo), dangling: cut.dangling.map((one) => ({ ...one })) },
});

/** Passing runs needed to claim a percentile with 95 % confidence: the least n with share^n ≤ 5 %. */
export const runsForPercentile = (share: number): number => Math.ceil(Math.log(0.05) / Math.log(share));

const certifies = (verdict: RunVerdict): string => {
  if (verdict !== 'PASS') return 'Nothing is certified by this run.';
  const claims = [0.5, 0.8, 0.9, 0.95, 0.99].map((share) => `${share * 100} %: ${runsForPercentile(share)}`);
  return (
    'This PASS certifies this one run. To claim with 95 % confidence that a share of all such failures meets the ' +
    `targets takes as many passing runs: ${claims.join(', ')}.`
  );
};

export const reportOf = (findings: Findings): Report => {
  const { context, judged, checks, verdict, reason } = findings;
  const { record, streams } = context;
  const { run } = record;
  const origin = sinceOrigin(context);
  return {
    schemaVersion: findings.schemaVersion,
    run: {
      id: run.id,
      kind: run.kind ?? 'experiment',
      name: run.name,
      title: run.title,
      environment: run.environment,
      timeScale: run.timeScale,
      seed: run.seed,
      startedAt: run.startedAt,
      versions: { ...run.versions },
      ended: record.ended,
    },
    verdict,
    reason,
    certifies: certifies(verdict),
    targets: judged.map((row) => targetOf(row, run.timeScale)),
    phases: record.phases.map(({ name, startMs, endMs }) => ({
      name,
      startMs: origin.at(startMs),
      endMs: endMs === null ? null : origin.at(endMs),
    })),
    faults: record.faults.map(({ fault, target, effective, reverted }) => ({
      fault,
      target,
      effective: effective === null ? null : origin.span(effective),
      reverted: reverted === null ? null : origin.span(reverted),
    })),
    phase: phaseOf(record, findings.fault),
    timeline: [...timelineOf(context, findings.fault, origin)],
    outages: streams.flatMap((one) => one.outages.map((outage) => outageOf(outage, one.stream.required, origin))),
    decomposition: findings.decomposition.map((one) => decompositionOf(one, origin)),
    baseline: baselineOf(context),
    streams: streams.map(streamOf),
    dataLoss: dataLossReport(findings.dataLoss, origin),
    instrument: {
      trusted: checks.every(({ tripped }) => !tripped),
      checks: checks.map((one) => ({ ...one, value: rounded(one.value), limit: finite(one.limit) })),
    },
    contradictions: [...findings.contradictions],
    undo: { ...record.undo, outstanding: record.undo.outstanding.map((one) => ({ ...one })) },
  };
};
