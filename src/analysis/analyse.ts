import { type Report, reportSchemaVersion } from '../report/model.ts';
import { type BaselineCounts, type BaselineRow, createBaselineCounter, judgeBaseline } from './baseline.ts';
import { contradictionsOf } from './contradictions.ts';
import { dataLossOf } from './data-loss.ts';
import { decompose } from './decomposition.ts';
import { bad, type Evidence, evidenceOf, good, unknown } from './evidence.ts';
import { breakingFaults, type FaultWindow, faultWindowOf, regionByZone } from './fault-window.ts';
import { createStores } from './ledger/store.ts';
import { measures } from './measures/index.ts';
import type { Context, Measured } from './measures/measure.ts';
import { strayReachMs } from './measures/select.ts';
import type { RunRecord, RunVerdict, Target } from './record.ts';
import { reportOf } from './report-of.ts';
import { clockStepped, selfChecks } from './self-checks.ts';
import { analyseEvidence, type StreamAnalysis, separatingWindow } from './stream.ts';
import { type Judged, judge, runVerdict, weaken } from './verdict.ts';
import { defaultLimits, type Limits, singleLook, type Window } from './window.ts';

/** Window of streams whose baseline fixes none: they are reported, and no target is judged by them. */
const plainWindow: Window = singleLook({ probes: 628, toleratedBad: 2, toleratedLate: 22 });

const limitsOf = (record: RunRecord): Limits => ({
  ...defaultLimits,
  ...(record.confirmation?.errorsMax === undefined ? {} : { errorsMax: record.confirmation.errorsMax }),
});

/** When the baseline ended; without such a phase, when the first fault was called. */
const baselineEndMs = (record: RunRecord): number | undefined => {
  const phase = record.phases.find(({ name }) => name === 'baseline');
  if (phase !== undefined) return phase.endMs ?? Number.POSITIVE_INFINITY;
  const calls = record.faults.flatMap(({ effective }) => (effective === null ? [] : [effective.minMs]));
  return calls.length === 0 ? undefined : Math.min(...calls);
};

const baselineCounts = ({ stream, samples, kinds }: Evidence, endMs: number): BaselineCounts => {
  const counter = createBaselineCounter();
  for (let index = 0; index < samples.length; index += 1) {
    const sample = samples[index];
    if (sample === undefined || sample.sentMs > endMs) break;
    const kind = kinds[index] ?? unknown;
    if (kind === unknown || sample.endedMs > endMs) continue;
    counter.push(kind === good ? 'good' : kind === bad ? 'bad' : 'slow');
  }
  return { stream, ...counter.counts() };
};

const baselineOf = (record: RunRecord, evidences: readonly Evidence[]): readonly BaselineRow[] => {
  const endMs = baselineEndMs(record);
  if (endMs === undefined) return [];
  const counts = evidences.map((evidence) => baselineCounts(evidence, endMs));
  return judgeBaseline(counts, limitsOf(record), 1, record.carried);
};

const analyseStreams = (record: RunRecord, evidences: readonly Evidence[], baseline: readonly BaselineRow[]) => {
  const windows = new Map(baseline.map((row) => [row.stream.stream, row.window]));
  const fallback = baseline.length === 0 ? separatingWindow : plainWindow;
  return evidences.map((evidence) => {
    const window = record.confirmation?.window ?? windows.get(evidence.stream.stream) ?? fallback;
    return analyseEvidence(evidence, window);
  });
};

/** A required stream that was down when the fault was called, or since the baseline: by whose doing is unknown. */
const downBefore = (record: RunRecord, streams: readonly StreamAnalysis[]): string | undefined => {
  const calls = breakingFaults(record.faults).flatMap(({ effective }) => effective?.minMs ?? []);
  const calledMs = Math.min(...calls);
  const sinceMs = Math.min(baselineEndMs(record) ?? calledMs, calledMs);
  return streams.find(
    ({ stream, outages }) =>
      stream.required &&
      outages.some(({ down, up }) => down.maxMs < calledMs - strayReachMs(stream) && up.minMs >= sinceMs),
  )?.stream.stream;
};

/** Why nothing can be concluded from the run; `undefined` when something can. */
const voidReason = (
  record: RunRecord,
  baseline: readonly BaselineRow[],
  disturbed: string | undefined,
  stepped: boolean,
): string | undefined => {
  if (record.run.kind === 'observe')
    return 'nothing was injected and no target is judged: outages are measured, that is all';
  const failed = baseline.find((row) => row.stream.required && (row.failed ?? row.missing) !== undefined);
  if (failed !== undefined) {
    return `the baseline did not hold: ${failed.stream.stream}: ${failed.failed ?? failed.missing}`;
  }
  const unproven = breakingFaults(record.faults).filter(({ effective }) => effective === null);
  if (record.faults.length === 0) return `nothing was broken: ${record.ended.message ?? 'no fault was injected'}`;
  if (unproven.length > 0) {
    const names = unproven.map(({ fault, target }) => `${fault} on ${target}`);
    return `nothing shows that the fault had an effect: ${names.join(', ')}`;
  }
  if (disturbed !== undefined) return `${disturbed} was down already when the fault was injected`;
  const [left] = record.undo.outstanding;
  if (left !== undefined) return `the rollback is incomplete: ${left.fault} on ${left.target}: ${left.reason}`;
  return stepped ? 'the clock of a prober was stepped or its machine suspended' : undefined;
};

const measured = (target: Target, context: Context, fault: FaultWindow | undefined): Measured => {
  const measure = measures.find(({ name }) => name === target.measure);
  if (measure === undefined) return { kind: 'none', reason: `no measure is called ${target.measure}` };
  if (fault === undefined && target.measure !== 'not-yet') {
    return { kind: 'none', reason: 'no fault was shown to have an effect in this run' };
  }
  return measure.measure(target.with, context, fault ?? noFault, target);
};

const nowhere = { minMs: Number.POSITIVE_INFINITY, maxMs: Number.POSITIVE_INFINITY };
const noFault: FaultWindow = {
  faults: [],
  effective: nowhere,
  reverted: nowhere,
  targets: [],
  regions: new Set(),
  zones: new Set(),
  pods: new Set(),
};

const judgeAll = (context: Context, fault: FaultWindow | undefined, isVoid: string | undefined): readonly Judged[] => {
  const { record } = context;
  const { reason, message } = record.ended;
  const cut = reason === 'finished' ? undefined : `the run was ${reason === 'aborted' ? 'aborted' : 'cut short'}`;
  const why = isVoid ?? (cut === undefined ? undefined : `${cut}${message === null ? '' : `: ${message}`}`);
  const conditions = { ...record, timeScale: record.run.timeScale };
  return record.targets.map((target) => {
    const row = judge(target, measured(target, context, fault), conditions);
    return why === undefined ? row : weaken(row, why);
  });
};

/** A check breaks nothing: it passes when the steady state held. */
const checkVerdict = (
  baseline: readonly BaselineRow[],
  streams: readonly StreamAnalysis[],
): { readonly verdict: RunVerdict; readonly reason: string } => {
  const required = baseline.filter((row) => row.stream.required);
  const down = streams.find(({ stream, outages }) => stream.required && outages.length > 0);
  if (down !== undefined) return { verdict: 'FAIL', reason: `${down.stream.stream} was down during the check` };
  const failed = required.find((row) => row.failed !== undefined);
  if (failed !== undefined) return { verdict: 'FAIL', reason: `${failed.stream.stream}: ${failed.failed}` };
  const missing = required.find((row) => row.missing !== undefined);
  if (missing !== undefined) return { verdict: 'INCONCLUSIVE', reason: `${missing.stream.stream}: ${missing.missing}` };
  if (required.length === 0) return { verdict: 'INCONCLUSIVE', reason: 'no stream was required to be steady' };
  return { verdict: 'PASS', reason: `the steady state held on ${required.length} streams` };
};

const lastSendMs = (evidences: readonly Evidence[]): number =>
  evidences.reduce((last, { samples }) => Math.max(last, samples.at(-1)?.sentMs ?? 0), 0);

/** The whole report, from the record alone: the same record gives the same report, to the byte. */
export const analyse = (record: RunRecord): Report => {
  const evidences = record.streams.map((stream) =>
    evidenceOf(stream, record.samples.get(stream.stream) ?? [], record.blind),
  );
  const baseline = baselineOf(record, evidences);
  const streams: readonly StreamAnalysis[] = analyseStreams(record, evidences, baseline);
  const fault = faultWindowOf(record, streams);
  const context: Context = {
    record,
    streams,
    baseline,
    endMs: lastSendMs(evidences),
    regionByZone: regionByZone(record, streams),
    stores: createStores(record),
  };
  const checks = selfChecks(streams, record.instrument);
  const isCheck = record.run.kind === 'check';
  const isVoid = isCheck ? undefined : voidReason(record, baseline, downBefore(record, streams), clockStepped(checks));
  const judged = judgeAll(context, fault, isVoid);
  return reportOf({
    schemaVersion: reportSchemaVersion,
    context,
    fault,
    judged,
    checks,
    decomposition: fault === undefined ? [] : decompose(context, fault),
    dataLoss: dataLossOf(context, fault),
    contradictions: contradictionsOf(record),
    ...(isCheck ? checkVerdict(baseline, streams) : runVerdict(judged, isVoid)),
  });
};
