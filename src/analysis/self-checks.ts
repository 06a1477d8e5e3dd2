import type { InstrumentRecord } from '../probes/sample.ts';
import { wasSent } from './evidence.ts';
import { quantilesOf, type StreamAnalysis } from './stream.ts';

/** One check of the instrument on itself. It never makes an outage when it trips; it says how far to trust the rest. */
export interface SelfCheck {
  readonly name: string;
  readonly location: string | null;
  readonly value: number;
  readonly limit: number;
  readonly unit: 'ms' | 'share' | 'count' | 'cores';
  readonly tripped: boolean;
  readonly detail: string;
}

const check = (
  name: string,
  location: string | null,
  value: number,
  limit: number,
  unit: SelfCheck['unit'],
  detail: string,
): SelfCheck => ({ name, location, value, limit, unit, tripped: value > limit, detail });

export const clockStepLimitMs = 50;
const loopUtilizationMax = 0.7;
const cpuCoresMax = 0.8;
const clientPorts = 28_000;

const sendLagsOf = (streams: readonly StreamAnalysis[]): Float64Array => {
  const total = streams.reduce((sum, { evidence }) => sum + evidence.samples.length, 0);
  const lags = new Float64Array(total);
  let count = 0;
  for (const { evidence } of streams) {
    for (const sample of evidence.samples) {
      if (!wasSent(sample)) continue;
      lags[count] = sample.sentMs - sample.scheduledMs;
      count += 1;
    }
  }
  return lags.subarray(0, count);
};

/** Longest that an instrument record's value was, and where in time; records come once a second. */
const most = (records: readonly InstrumentRecord[], readingOf: (record: InstrumentRecord) => number): number =>
  records.reduce((found, record) => Math.max(found, readingOf(record)), 0);

const checksOf = (
  location: string,
  streams: readonly StreamAnalysis[],
  records: readonly InstrumentRecord[],
): readonly SelfCheck[] => {
  const spacingMs = Math.min(...streams.map(({ stream }) => stream.everyMs));
  const lags = quantilesOf(sendLagsOf(streams));
  const dropped = streams.reduce((sum, { counts }) => sum + counts.dropped, 0);
  const blindMs = streams.reduce((longest, { evidence }) => Math.max(longest, evidence.blindMs), 0);
  const controlSent = records.reduce((sum, record) => sum + record.controlSent, 0);
  const controlBad = records.reduce((sum, record) => sum + record.controlBad, 0);
  const inFlight = streams.reduce((sum, { stream }) => sum + stream.timeoutMs / stream.everyMs, 0);
  const meanOf = (readingOf: (record: InstrumentRecord) => number): number =>
    records.length === 0 ? 0 : records.reduce((sum, record) => sum + readingOf(record), 0) / records.length;
  const lagMs = Math.min(10, spacingMs / 10);
  const checks = [
    check('send lag p99', location, lags?.p99Ms ?? 0, lagMs, 'ms', 'actual send after scheduled send'),
    check('send lag max', location, lags?.maxMs ?? 0, spacingMs, 'ms', 'a later probe is dropped, not sent in a burst'),
    check('dropped probes', location, dropped, 0, 'count', 'the gaps they leave widen the brackets'),
    check(
      'blind time',
      location,
      blindMs,
      Number.POSITIVE_INFINITY,
      'ms',
      'neither up nor down; it widens the brackets',
    ),
    check('ports in use', location, 2 * inFlight, clientPorts, 'count', 'twice the most probes in flight'),
  ];
  if (records.length === 0) return checks;
  return [
    ...checks,
    check(
      'event loop utilization',
      location,
      meanOf((one) => one.eventLoopUtilization),
      loopUtilizationMax,
      'share',
      'mean',
    ),
    check(
      'event loop delay',
      location,
      most(records, (one) => one.eventLoopDelayMaxMs),
      Number.POSITIVE_INFINITY,
      'ms',
      'longest',
    ),
    check(
      'CPU',
      location,
      meanOf((one) => one.cpuCores),
      cpuCoresMax,
      'cores',
      'mean of the sender process',
    ),
    check(
      'clock step',
      location,
      most(records, (one) => one.clockStepMs),
      clockStepLimitMs,
      'ms',
      'wall clock against monotonic clock, in a second',
    ),
    check(
      'control failures',
      location,
      controlBad,
      0,
      'count',
      `of ${controlSent} probes of a target next door; their seconds are blind`,
    ),
  ];
};

/** The self-checks of every sender. Pure; the raw figures are in the run's folder. */
export const selfChecks = (
  streams: readonly StreamAnalysis[],
  instrument: readonly InstrumentRecord[],
): readonly SelfCheck[] => {
  const senders = [...new Set(streams.map(({ stream }) => stream.sender))].toSorted();
  return senders.flatMap((sender) =>
    checksOf(
      sender,
      streams.filter(({ stream }) => stream.sender === sender),
      instrument.filter((record) => record.sender === sender),
    ),
  );
};

/** A stepped clock or a suspended machine: no duration of the run can be trusted. */
export const clockStepped = (checks: readonly SelfCheck[]): boolean =>
  checks.some(({ name, tripped }) => name === 'clock step' && tripped);
