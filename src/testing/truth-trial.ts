import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parse, stringify } from 'yaml';
import { readJournal } from '../core/journal.ts';
import { startOf } from '../experiments/recover.ts';
import type { Truth } from '../lab/component.ts';
import { readTruth } from '../lab/truth.ts';
import type { Report } from '../report/model.ts';
import { compareRun, type Interval, type OracleSample, type RunComparison, trueOutages } from './truth.ts';

/*
 * Runs of the shipped experiments by the real command line against a real lab, with an independent dense oracle beside
 * the probes, and every figure whose truth is known compared with it.
 */

const root = path.join(import.meta.dirname, '..', '..');

export interface TrialExperiment {
  readonly name: string;
  readonly timeScale: number;
  /** Client location the oracle asks from: one whose service the fault breaks. */
  readonly location: string;
}

/**
 * Probes are as dense as two cores carry beside an oracle of ten times their rate. A window of fewer probes confirms a
 * recovery sooner; it moves no edge of an outage.
 */
const probeEveryMs = 200;
export const oracleEveryMs = 20;
const errorsMax = 0.1;
const steadyFor = '1m';
const timeoutMs = 1000;
/** Documented: the shipped one is held longer for what else it shows. */
const heldFor = '3m';

/** The shipped experiment with the probes that the trial needs, and no more. */
const variantOf = (name: string): string => {
  const shipped = parse(readFileSync(path.join(root, 'experiments', `${name}.yaml`), 'utf8'));
  const from = (): readonly string[] => ['primary', 'failover'];
  const chat = { probe: 'chat', from: from(), every: `${probeEveryMs}ms`, timeout: `${timeoutMs}ms` };
  const write = { probe: 'postgres-ledger', from: from(), every: '200ms', timeout: '1s' };
  const faults = shipped.faults.map((fault: { for: string }) =>
    fault.for === 'until-recovered' ? fault : { ...fault, for: heldFor },
  );
  const covers = shipped.covers.filter((row: string) => /^(az|pod|region)\./.test(row));
  return stringify({
    ...shipped,
    covers,
    faults,
    steadyState: { probes: ['chat'], for: steadyFor },
    confirm: { errorsMax },
    probes: { chat, 'postgres-ledger': write },
  });
};

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface TrialLab {
  /** One run beside the truth. Throws when the run did not come to a report. */
  run(seed: number): Promise<TrialRun>;
  down(): Promise<void>;
}

export interface TrialRun extends RunComparison {
  readonly report: Report;
  /** Most that the estimate of an outage may be off by: one spacing, one latency, what the oracle is unsure of. */
  readonly errorMaxMs: (truth: Interval) => number;
}

const collect = async (child: ChildProcess): Promise<Ran> => {
  const pieces = { out: '', err: '' };
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
    pieces.out += piece;
  });
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    pieces.err += piece;
  });
  const [code] = await once(child, 'close');
  return { code, ...pieces };
};

const firstAfter = (truths: readonly Truth[], atMs: number, is: (truth: Truth) => boolean): Truth | undefined =>
  truths.find((truth) => truth.atMs >= atMs && is(truth));

/** What the lab's log says the fault did first. */
const faultTruth = (report: Report, originMs: number, truths: readonly Truth[]): Truth | undefined => {
  const [fault] = report.faults;
  const calledMs = originMs + (fault?.effective?.minMs ?? 0);
  const pod = fault?.target.split('/').at(-1);
  const events: Readonly<Record<string, (truth: Truth) => boolean>> = {
    'pod.kill': ({ event, subject }) => event === 'process.exited' && subject === pod,
    'pod.hang': ({ event, subject }) => event === 'process.stopped' && subject === pod,
  };
  const isFault = events[fault?.fault ?? ''] ?? (({ event }: Truth) => event === 'link.rule-added');
  // What is read off a process list was done shortly before it was seen, never before the call.
  return firstAfter(truths, calledMs - probeEveryMs, isFault);
};

const durationsOf = (
  report: Report,
  fault: Truth,
  truths: readonly Truth[],
  oracle: readonly OracleSample[],
): Readonly<Record<string, Interval>> => {
  const since = (fromMs: number, toMs: number): Interval => ({
    minMs: Math.max(0, fromMs - fault.atMs),
    maxMs: Math.max(0, toMs - fault.atMs),
  });
  const durations: Record<string, Interval> = {};
  const pod = report.faults[0]?.target.split('/').at(-1);
  // A pod that is deleted leaves rotation before its process dies.
  const out = truths.find(({ event, subject }) => event === 'pod.not-ready' && subject === pod);
  if (out !== undefined) durations['pod.detection'] = since(out.atMs, out.atMs);
  const ready = firstAfter(
    truths,
    fault.atMs,
    ({ event, subject }) => event === 'pod.ready' && subject.startsWith('llm-'),
  );
  const answer = oracle.find((one) => one.ok && one.pod === ready?.subject && one.endedMs >= (ready?.atMs ?? 0));
  if (out !== undefined && ready !== undefined && answer !== undefined) {
    durations['pod.replacement'] = since(ready.atMs, answer.endedMs);
  }
  const promoted = firstAfter(truths, fault.atMs, ({ event }) => event === 'database.promoted');
  const before = oracle.findLast((one) => one.ok && one.endedMs < fault.atMs)?.epoch;
  const acknowledged = oracle.find((one) => one.ok && one.sentMs > fault.atMs && one.epoch !== before);
  if (promoted !== undefined && acknowledged !== undefined) {
    durations['az.database-failover'] = since(promoted.atMs, acknowledged.endedMs);
  }
  return durations;
};

/** Brings a lab up for trials of one experiment. It has a home of its own: another lab of this user is not touched. */
export const startTrialLab = async ({ name, timeScale, location }: TrialExperiment): Promise<TrialLab> => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'blackstart-truth-'));
  const home = path.join(folder, 'home');
  const reports = path.join(folder, 'reports');
  const env = { ...process.env, BLACKSTART_LAB_HOME: home, BLACKSTART_REPORTS: reports, NO_COLOR: '1' };
  const start = (args: readonly string[]): ChildProcess =>
    spawn(process.execPath, [path.join(root, 'bin', 'blackstart.mjs'), ...args], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const blackstart = async (...args: readonly string[]): Promise<Ran> => await collect(start(args));
  const file = path.join(folder, `${name}.yaml`);
  writeFileSync(file, variantOf(name));
  const down = async (): Promise<void> => {
    await blackstart('lab', 'down');
    rmSync(folder, { recursive: true, force: true });
  };
  const up = await blackstart('lab', 'up', '--time-scale', String(timeScale), '--format', 'json');
  if (up.code !== 0) {
    await down();
    throw new Error(`the lab did not come up: ${up.err}`);
  }
  const { stateDir } = JSON.parse(up.out);
  const status = JSON.parse((await blackstart('lab', 'status', '--format', 'json')).out);
  const { service } = parse(readFileSync(path.join(root, 'experiments', 'environments', 'lab.yaml'), 'utf8'));

  const startOracle = (samplesFile: string): ChildProcess => {
    const config = {
      resolver: status.addresses.resolvers[`client/${location}`] ?? status.addresses.resolvers[location],
      host: service.host,
      model: service.model,
      everyMs: oracleEveryMs,
      timeoutMs,
      file: samplesFile,
    };
    const script = path.join(import.meta.dirname, 'oracle.ts');
    return spawn(process.execPath, [script, JSON.stringify(config)], { stdio: ['ignore', 'ignore', 'inherit'] });
  };

  return {
    down,
    async run(seed) {
      const samplesFile = path.join(folder, `oracle-${seed}.ndjson`);
      const oracle = startOracle(samplesFile);
      const ran = await blackstart('run', file, '--seed', String(seed), '--format', 'json');
      const gone = once(oracle, 'close');
      oracle.kill('SIGTERM');
      await gone;
      if (!ran.out.startsWith('{')) throw new Error(`run ${seed} of ${name} made no report: ${ran.err.slice(-2000)}`);
      const report: Report = JSON.parse(ran.out);
      const events = await readJournal(path.join(reports, report.run.id, 'journal.jsonl'));
      const originMs = startOf(events)?.atMs ?? Number.NaN;
      const truths = readTruth(stateDir).filter((truth) => truth.atMs >= originMs);
      const samples = readFileSync(samplesFile, 'utf8').trimEnd().split('\n');
      const seen = samples.map((line): OracleSample => JSON.parse(line)).toSorted((a, b) => a.endedMs - b.endedMs);
      const fault = faultTruth(report, originMs, truths);
      if (fault === undefined)
        throw new Error(`run ${seed} of ${name}: the lab's log knows of no fault: ${report.reason}`);
      // The report speaks of the time from the end of its warm-up on: as its senders start, two cores may be full.
      const warm = events.find((event) => event.type === 'phase.finished' && event.phase === 'warm-up');
      const during = seen.filter((sample) => sample.sentMs >= (warm?.atMs ?? originMs));
      const truth = {
        location,
        outages: trueOutages(during, timeoutMs),
        faultMs: fault.atMs,
        durations: durationsOf(report, fault, truths, during),
      };
      const stream = report.streams.find((one) => one.required && one.location === location);
      const latencyMs = stream?.latency?.p50Ms ?? 0;
      const errorMaxMs = ({ minMs, maxMs }: Interval): number => probeEveryMs + latencyMs + (maxMs - minMs) / 2;
      return { ...compareRun(report, originMs, truth), report, errorMaxMs };
    },
  };
};
