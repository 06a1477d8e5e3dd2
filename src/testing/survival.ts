import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../core/clock.ts';
import { type Ended, eventually, type Going, isRunning, type LabCli, type Platform } from './lab-cli.ts';

/**
 * Ends runs and drills in every way there is, and looks what is left. The files are like the shipped ones, with a
 * steady state that is proven in seconds and holds whatever breaks: what is tested is the way back, not the measuring.
 */

const probes = `
steadyState: { probes: [dns], for: 10s }
probes:
  dns: { probe: dns, from: [primary], every: 5ms, timeout: 2s }
  health: { probe: health, from: [primary], every: 500ms, timeout: 1s }
`;

/** Faults that a run is ended in, as an experiment file names them. A lost index is not: it takes hours to rebuild. */
const faultsEnded = {
  'zone.blackhole': 'fault: zone.blackhole, with: { zone: us-west-2a }',
  'traffic.shift': 'fault: traffic.shift, with: { region: failover, percent: 40 }',
  'pod.network-latency': 'fault: pod.network-latency, with: { region: primary, workload: llm, count: 2 }',
  'database.kill': 'fault: database.kill',
  'replication.delay': 'fault: replication.delay, with: { region: failover }',
  'replication.pause/postgres': 'fault: replication.pause, with: { store: postgres }',
  'replication.pause/objects': 'fault: replication.pause, with: { store: objects }',
  'replication.pause/vectors': 'fault: replication.pause, with: { store: vectors }',
  'object.delete': 'fault: object.delete, with: { region: primary, key: handbook/first-steps.txt }',
  'vector.drift': 'fault: vector.drift, with: { region: failover }',
} as const;
export type FaultEnded = keyof typeof faultsEnded;
export const faultNames = Object.keys(faultsEnded) as readonly FaultEnded[];

export interface RunFile {
  readonly fault?: FaultEnded;
  /** Whether writes are counted meanwhile. */
  readonly ledger?: true;
  /** Documented time the fault lasts, and after which the target's side ends it. */
  readonly holds: string;
  readonly atMost: string;
}

const ledgerProbe =
  '  writes: { probe: postgres-ledger, from: [primary], every: 100ms, timeout: 1s, connection: kept }';

export const runFile = ({ fault = 'zone.blackhole', holds, atMost, ledger }: RunFile): string => `
apiVersion: blackstart/v1
kind: Experiment
name: survive-run
title: A fault whose run is ended in every way
covers: [health.period]
faults:
  - { ${faultsEnded[fault]}, for: ${holds}, atMost: ${atMost} }
${probes}${ledger ? ledgerProbe : ''}
`;

/** The shipped runbook with shorter pauses. */
export const drillFile = `
apiVersion: blackstart/v1
kind: Drill
name: survive-drill
title: A region is lost, and the drill is ended in every way
covers: [health.period]
steps:
  - { step: inject, with: { fault: region.blackhole, with: { region: primary }, atMost: 1h } }
  - { step: wait-detected, with: { region: primary, atMost: 10m } }
  - { step: hold-traffic, with: { region: primary } }
  - { step: ask-person, with: { question: Promote?, autoAfter: 20s } }
  - { step: promote, with: { region: failover } }
  - { step: point-database, with: { region: failover } }
  - { step: verify, with: { atMost: 60m } }
  - { step: hold, with: { for: 20s } }
  - { step: revert, with: { fault: region.blackhole } }
  - { step: resync }
  - { step: shift-traffic, with: { region: primary, percent: [25, 50, 100], every: 20s } }
  - { step: fail-back }
${probes}`;

export const runPhases = [
  'plan',
  'warm-up',
  'baseline',
  'wait',
  'inject',
  'fault',
  'revert',
  'confirm',
  'settle',
] as const;
export const drillPhases = [
  'plan',
  'warm-up',
  'baseline',
  'inject',
  'wait-detected',
  'hold-traffic',
  'ask-person',
  'promote',
  'point-database',
  'verify',
  'hold',
  'revert',
  'resync',
  'shift-traffic',
  'fail-back',
  'confirm',
  'settle',
] as const;

export interface Outcome {
  readonly what: string;
  readonly code: number | null;
  /** Real milliseconds until the changes are taken back, and until the platform is whole again. */
  readonly backMs: number;
  readonly wholeMs: number;
  /** What is not as it was before. */
  readonly residue: readonly string[];
  readonly notes: string;
}

/** How the platform differs from what it was, part by part. */
export const differences = (before: Platform, after: Platform): readonly string[] =>
  (Object.keys(before) as (keyof Platform)[]).flatMap((part) =>
    isDeepStrictEqual(before[part], after[part])
      ? []
      : [`${part}: was ${JSON.stringify(before[part])}, is ${JSON.stringify(after[part])}`],
  );

/** The platform as it is when it is whole; nothing may be begun before. */
export const whole = async (lab: LabCli): Promise<Platform> => {
  let mending: readonly string[] = [];
  try {
    await eventually('a whole platform', async () => {
      mending = await lab.mending();
      return mending.length === 0 ? true : undefined;
    });
  } catch (cause) {
    throw new Error(`the platform is not whole: ${mending.join('; ')}`, { cause });
  }
  return await lab.platform();
};

/** What is left of a run that is over, on the platform, in its journal, and as "status" tells it. */
export const residueOf = async (lab: LabCli, before: Platform): Promise<readonly string[]> => {
  const residue = [...differences(before, await lab.platform())];
  for (const runId of lab.runIds()) {
    for (const { target } of await lab.left(runId)) residue.push(`journal of ${runId}: ${target}`);
    const watchdog = lab.watchdogOf(runId);
    if (watchdog === undefined) continue;
    const isGone = await eventually('its end', () => (isRunning(watchdog) ? undefined : true), 10_000).catch(
      () => false,
    );
    if (!isGone) residue.push(`the watchdog of ${runId} (pid ${watchdog}) still runs`);
  }
  const status = await lab.run('status');
  if (status.code !== 0 || status.out.trim() !== 'nothing is going on in lab') {
    residue.push(`status ends with ${status.code} and says: ${status.out.trim()}`);
  }
  return residue;
};

const conclude = async (
  lab: LabCli,
  what: string,
  { before, sinceMs, ended }: { readonly before: Platform; readonly sinceMs: number; readonly ended: Ended },
): Promise<Outcome> => {
  const backMs = systemClock.monotonicMs() - sinceMs;
  const residue = await residueOf(lab, before);
  const mended = await whole(lab).then(
    () => [],
    (error: Error) => [error.message],
  );
  const wholeMs = systemClock.monotonicMs() - sinceMs;
  return { what, code: ended.code, backMs, wholeMs, residue: [...residue, ...mended], notes: ended.notes };
};

/** A line of progress that says that a phase or step has begun. */
export const begins = (phase: string): RegExp => new RegExp(`^\\[[^\\]]*\\] ${phase}: `, 'm');

export const commandFor = (file: string): readonly string[] =>
  /drill/.test(file) ? ['drill', file, '--approve', 'auto'] : ['run', file];

/** Ctrl-C as soon as the phase begins, or some time into it. Everything must be back when the command ends. */
export const interruptIn = async (lab: LabCli, file: string, phase: string, intoMs = 0): Promise<Outcome> => {
  const before = await whole(lab);
  const going = lab.start(...commandFor(file));
  await going.said(begins(phase));
  if (intoMs > 0) await systemClock.sleep(intoMs);
  const sinceMs = systemClock.monotonicMs();
  going.press('SIGINT');
  const ended = await going.ended;
  return await conclude(lab, `Ctrl-C in ${phase}`, { before, sinceMs, ended });
};

/** The run that a command has begun. */
export const runIdOf = async (lab: LabCli, known: readonly string[]): Promise<string> =>
  await eventually('a run', () => lab.runIds().find((one) => !known.includes(one)));

/** SIGKILL to the watchdog, so that nobody is left, and then to the run. */
export const killBoth = async (lab: LabCli, going: Going, runId: string): Promise<void> => {
  const watchdog = lab.watchdogOf(runId);
  if (watchdog !== undefined && isRunning(watchdog)) process.kill(watchdog, 'SIGKILL');
  going.kill();
  await going.ended;
};

/**
 * SIGKILL to everything of ours some time after the first change may be made, wherever the run is then; "recover" must
 * put everything back.
 */
export const killAndRecover = async (lab: LabCli, file: string, afterMs: number): Promise<Outcome> => {
  const before = await whole(lab);
  const known = lab.runIds();
  const going = lab.start(...commandFor(file));
  await going.said(begins('inject'));
  await Promise.race([systemClock.sleep(afterMs), going.ended]);
  const runId = await runIdOf(lab, known);
  const phase = [...going.notes().matchAll(/^\[[^\]]*\] ([a-z-]+): /gm)].at(-1)?.[1] ?? 'start';
  await killBoth(lab, going, runId);
  const left = (await lab.left(runId)).length;
  const sinceMs = systemClock.monotonicMs();
  const ended = await lab.run('recover');
  const what = `SIGKILL ${Math.round(afterMs)} ms after inject, in ${phase}, ${left} left; recover`;
  return await conclude(lab, what, { before, sinceMs, ended });
};

/** SIGKILL to the run alone, once the phase has begun; its watchdog must put everything back. */
export const killToWatchdog = async (lab: LabCli, file: string, phase: string, intoMs = 0): Promise<Outcome> => {
  const before = await whole(lab);
  const known = lab.runIds();
  const going = lab.start(...commandFor(file));
  await going.said(begins(phase));
  if (intoMs > 0) await systemClock.sleep(intoMs);
  const sinceMs = systemClock.monotonicMs();
  going.kill();
  const ended = await going.ended;
  const runId = await runIdOf(lab, known);
  await eventually('the end of what was outstanding', async () =>
    (await lab.left(runId)).length === 0 ? true : undefined,
  );
  return await conclude(lab, `SIGKILL in ${phase}; watchdog`, { before, sinceMs, ended });
};
