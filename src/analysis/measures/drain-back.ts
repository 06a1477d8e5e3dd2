import { z } from 'zod';
import { lowerShare, upperShare } from '../binomial.ts';
import { bad, unknown } from '../evidence.ts';
import type { StreamAnalysis } from '../stream.ts';
import { firstSentFrom } from '../stream.ts';
import { defineMeasure, type Figure, figure, none, probeParam } from './measure.ts';
import { affectedStreams, requiredStreams } from './select.ts';

interface Bin {
  readonly fromMs: number;
  probes: number;
  bad: number;
  readonly zones: Map<string, number>;
}

/** The probes of a bin are enough to prove a share of 1 % with two strays among them. */
const binProbes = 628;

/** Probes of several streams after an instant, in send order, in bins of equally many. The last one may be fuller. */
const binsOf = (streams: readonly StreamAnalysis[], fromMs: number): readonly Bin[] => {
  const probes = streams.flatMap(({ evidence: { samples, kinds } }) => {
    const found: { readonly atMs: number; readonly isBad: boolean; readonly zone: string | undefined }[] = [];
    for (let index = firstSentFrom(samples, fromMs); index < samples.length; index += 1) {
      const sample = samples[index];
      if (sample === undefined || kinds[index] === unknown) continue;
      found.push({ atMs: sample.sentMs, isBad: kinds[index] === bad, zone: sample.zone });
    }
    return found;
  });
  probes.sort((a, b) => a.atMs - b.atMs);
  const bins: Bin[] = [];
  const count = Math.max(1, Math.floor(probes.length / binProbes));
  probes.forEach((probe, index) => {
    const at = Math.min(count - 1, Math.floor(index / binProbes));
    const bin = bins[at] ?? { fromMs: probe.atMs, probes: 0, bad: 0, zones: new Map<string, number>() };
    bin.probes += 1;
    if (probe.isBad) bin.bad += 1;
    if (probe.zone !== undefined) bin.zones.set(probe.zone, (bin.zones.get(probe.zone) ?? 0) + 1);
    bins[at] = bin;
  });
  return bins;
};

const zonesText = (bin: Bin): string => {
  const served = [...bin.zones.values()].reduce((total, count) => total + count, 0);
  return [...bin.zones]
    .toSorted((a, b) => a[0].localeCompare(b[0]))
    .map(([zone, count]) => `${zone} ${Math.round((count / served) * 100)} %`)
    .join(', ');
};

export const drainBack = defineMeasure({
  name: 'drain-back',
  summary:
    'Worst share of errors in any stretch of 628 probes after the fault was ended; share of each zone over time.',
  params: z.strictObject({ probe: probeParam('chat') }),
  bound: 'maxShare',
  measure({ probe }, context, fault) {
    if (!Number.isFinite(fault.reverted.minMs)) return none('the fault was not ended, so nothing came back');
    const streams = affectedStreams(requiredStreams(context, probe), fault);
    if (streams.length === 0) return none(`no required ${probe} stream was served by the broken region`);
    const bins = binsOf(streams, fault.reverted.minMs);
    const worst = bins.reduce<Bin | undefined>(
      (found, bin) => (found === undefined || bin.bad / bin.probes > found.bad / found.probes ? bin : found),
      undefined,
    );
    if (worst === undefined) return none('no probe was sent after the fault was ended');
    const shares = bins
      .slice(0, 40)
      .map(
        (bin): Figure =>
          figure(`zones ${Math.round(bin.fromMs - fault.reverted.minMs)} ms after the revert`, zonesText(bin), 'text'),
      );
    const returned = bins.some((bin) => [...fault.zones].some((zone) => (bin.zones.get(zone) ?? 0) > 0));
    const missing = fault.zones.size > 0 && !returned;
    return {
      kind: 'share',
      share: {
        estimate: worst.bad / worst.probes,
        min: lowerShare(worst.bad, worst.probes),
        max: missing ? 1 : upperShare(worst.bad, worst.probes),
      },
      of: worst.probes,
      figures: shares,
      notes: missing
        ? ['no answer came from the zone after the revert: traffic has not returned while it was watched']
        : [],
    };
  },
});
