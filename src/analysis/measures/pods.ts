import { z } from 'zod';
import type { Observation } from '../../core/observation.ts';
import { good } from '../evidence.ts';
import type { FaultWindow } from '../fault-window.ts';
import type { StretchedMechanism } from '../record.ts';
import { bracketOf, elapsed, type Span } from '../span.ts';
import type { StreamAnalysis } from '../stream.ts';
import { firstSentFrom, isServed, latenciesOf } from '../stream.ts';
import { type Context, defineMeasure, figure, type Measured, none, probeParam } from './measure.ts';
import { affectedStreams, requiredStreams, streamsOfProbe } from './select.ts';

/** When the broken pod was seen out of rotation: not ready, deleted, or restarted between two looks. */
export const outOfRotation = (context: Context, fault: FaultWindow): Observation | undefined =>
  context.record.observations
    .filter((seen) => seen.name === 'pod.not-ready' || seen.name === 'pod.deleted')
    .filter((seen) => fault.pods.has(seen.subject) && seen.maxMs >= fault.effective.minMs)
    .toSorted((a, b) => a.maxMs - b.maxMs)[0];

/** A process that hangs is found by time-outs; one that died refuses at once. */
const waitsOf = (fault: FaultWindow, ...mechanisms: readonly StretchedMechanism[]): readonly StretchedMechanism[] =>
  fault.faults.some((name) => name.endsWith('.hang')) ? mechanisms : [];

export const podDetection = defineMeasure({
  name: 'pod-detection',
  summary: 'Fault effective to the broken pod out of rotation, as the Kubernetes API shows it.',
  params: z.strictObject({}),
  bound: 'max',
  measure(_params, context, fault) {
    if (fault.pods.size === 0) return none('no pod was broken in this run');
    const kind = fault.faults.some((name) => name.endsWith('.hang')) ? 'hung' : 'dead';
    const other = kind === 'hung' ? 'dead' : 'hung';
    const seen = outOfRotation(context, fault);
    const span = seen ?? { minMs: context.endMs, maxMs: Number.POSITIVE_INFINITY };
    return {
      kind: 'duration',
      bracket: elapsed(fault.effective, span),
      waitsFor: waitsOf(fault, 'liveness'),
      confirmed: seen !== undefined,
      figures: [figure('process', kind, 'text')],
      notes: [`for a ${kind} process; a ${other} one was not part of this run`],
    };
  },
});

interface Exposed {
  count: number;
  inFlight: number;
  failed: number;
  delayed: number;
  extraMs: number;
  location: string | undefined;
}

/** Requests that were in flight at the fault, or sent until the pod was out of rotation. */
const exposedRequests = (streams: readonly StreamAnalysis[], fault: FaultWindow, untilMs: number): Exposed => {
  const exposed: Exposed = { count: 0, inFlight: 0, failed: 0, delayed: 0, extraMs: 0, location: undefined };
  for (const { evidence, stream } of streams) {
    const normal = latenciesOf(evidence, 'whole', Number.NEGATIVE_INFINITY, fault.effective.minMs);
    if (normal === null) continue;
    const { samples, kinds } = evidence;
    for (
      let index = firstSentFrom(samples, fault.effective.minMs - stream.timeoutMs);
      index < samples.length;
      index += 1
    ) {
      const sample = samples[index];
      if (sample === undefined || sample.sentMs > untilMs) break;
      if (sample.endedMs < fault.effective.minMs || kinds[index] === 0) continue;
      exposed.count += 1;
      if (sample.sentMs <= fault.effective.maxMs) exposed.inFlight += 1;
      if (!isServed(kinds[index])) {
        exposed.failed += 1;
        exposed.location ??= stream.location;
        continue;
      }
      const extraMs = Math.max(0, sample.endedMs - sample.sentMs - normal.p50Ms);
      if (extraMs > normal.maxMs) exposed.delayed += 1;
      if (extraMs > exposed.extraMs) {
        exposed.extraMs = extraMs;
        if (exposed.failed === 0) exposed.location = stream.location;
      }
    }
  }
  return exposed;
};

export const retryDelay = defineMeasure({
  name: 'retry-delay',
  summary: 'Extra delay of the requests that were in flight at the fault, or sent until the pod was out of rotation.',
  params: z.strictObject({ probe: probeParam('chat') }),
  bound: 'max',
  measure({ probe }, context, fault): Measured {
    const streams = affectedStreams(requiredStreams(context, probe), fault);
    if (streams.length === 0) return none(`no required ${probe} stream was served by the broken pod's region`);
    const untilMs = outOfRotation(context, fault)?.maxMs ?? fault.effective.maxMs;
    const exposed = exposedRequests(streams, fault, untilMs);
    if (exposed.count === 0)
      return none('no request was in flight at the fault, nor sent before the pod left rotation');
    const figures = [
      figure('requests exposed', exposed.count, 'count'),
      figure('of them in flight at the fault', exposed.inFlight, 'count'),
      figure('clearly delayed', exposed.delayed, 'count'),
      figure('failed', exposed.failed, 'count'),
    ];
    const { location } = exposed;
    if (exposed.failed > 0) {
      const reason = `${exposed.failed} of ${exposed.count} exposed requests did not complete`;
      return { kind: 'judged', verdict: 'FAIL', reason, location, figures };
    }
    const notes =
      exposed.delayed === 0 ? ['none of them was clearly delayed: retries cost less than normal variation'] : [];
    return {
      kind: 'duration',
      bracket: bracketOf(exposed.extraMs, exposed.extraMs, exposed.extraMs),
      waitsFor: waitsOf(fault, 'first-token'),
      location,
      figures,
      notes,
    };
  },
});

/** Pods that answered before the fault: what answers afterwards and is not among them is new. */
const podsBefore = (streams: readonly StreamAnalysis[], fault: FaultWindow): ReadonlySet<string> => {
  const pods = new Set<string>();
  for (const { evidence } of streams) {
    for (const { pod, sentMs } of evidence.samples) {
      if (sentMs >= fault.effective.minMs) break;
      if (pod !== undefined) pods.add(pod);
    }
  }
  return pods;
};

/** The pods that may stand in for a broken one, each with when it was seen ready. */
const replacements = (context: Context, fault: FaultWindow): ReadonlyMap<string, Span> => {
  const ready = context.record.observations.filter(
    (seen) => seen.name === 'pod.ready' && seen.maxMs >= fault.effective.minMs,
  );
  return new Map(ready.map((seen) => [seen.subject, { minMs: seen.minMs, maxMs: seen.maxMs }]));
};

export const replacement = defineMeasure({
  name: 'replacement',
  summary: 'Fault effective to the first good answer of the pod that takes its place.',
  params: z.strictObject({ probe: probeParam('chat') }),
  bound: 'max',
  measure({ probe }, context, fault): Measured {
    if (fault.pods.size === 0) return none('no pod was broken in this run');
    const streams = streamsOfProbe(context, probe);
    const known = podsBefore(streams, fault);
    const ready = replacements(context, fault);
    let first: { endedMs: number; pod: string; location: string } | undefined;
    for (const { evidence, stream } of streams) {
      evidence.samples.forEach((sample, index) => {
        const { pod } = sample;
        if (pod === undefined || evidence.kinds[index] !== good || sample.sentMs < fault.effective.maxMs) return;
        const readySpan = ready.get(pod);
        // Where no pod was watched, one that never answered before is taken for the new one.
        const isNew = readySpan === undefined ? ready.size === 0 && !known.has(pod) : sample.endedMs >= readySpan.minMs;
        if (!isNew || (known.has(pod) && !fault.pods.has(pod))) return;
        if (first === undefined || sample.endedMs < first.endedMs) {
          first = { endedMs: sample.endedMs, pod, location: stream.location };
        }
      });
    }
    if (first !== undefined) {
      const minMs = Math.min(ready.get(first.pod)?.minMs ?? fault.effective.maxMs, first.endedMs);
      const bracket = elapsed(fault.effective, { minMs, maxMs: first.endedMs });
      // The probes' own first answer is what was seen; somebody else may have had one since the pod was ready.
      const seenMs = first.endedMs - (fault.effective.minMs + fault.effective.maxMs) / 2;
      const estimated = bracketOf(seenMs, bracket.minMs, bracket.maxMs);
      return {
        kind: 'duration',
        bracket: estimated,
        waitsFor: waitsOf(fault, 'liveness'),
        location: first.location,
        notes: [`${first.pod} took its place`],
      };
    }
    const [podName, span] = [...ready][0] ?? [];
    const minMs = span?.minMs ?? context.endMs;
    return {
      kind: 'duration',
      bracket: elapsed(fault.effective, { minMs, maxMs: Number.POSITIVE_INFINITY }),
      confirmed: false,
      notes: [
        podName === undefined ? 'no pod took its place' : `${podName} became ready, but no answer of it was seen`,
      ],
    };
  },
});
