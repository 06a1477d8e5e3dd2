import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CarriedBaseline } from '../analysis/baseline.ts';
import { createSteadyState } from '../analysis/confirmation.ts';
import { defaultLimits } from '../analysis/window.ts';
import { BlackstartError, exitCodes, isBlackstartError, messageOf } from '../core/errors.ts';
import type { RunEnd, RunRequest } from '../experiments/harness.ts';
import { newRunId, reportsFolder } from '../experiments/run-folder.ts';
import type { Ask } from '../experiments/running.ts';
import type { Scenario } from '../experiments/scenario.ts';
import { startWatchdog } from '../experiments/watchdog.ts';
import type { Stream } from '../probes/sample.ts';
import type { Cli, Format } from './command.ts';
import { probedServiceOf, startInstrument, streamsFor } from './instrument.ts';
import { type Drawing, type PlannedPhase, plainDrawing, terminalDrawing } from './live.ts';
import { type Made, makeReport } from './reporting.ts';
import type { Reached } from './session.ts';
import { versions } from './version.ts';

/** What a command wants to be run. */
export interface Execution {
  readonly reached: Reached;
  readonly scenario: Scenario;
  readonly seed: number;
  /** What this run follows at once, in the same invocation: the platform is as it was left. */
  readonly after?: readonly Executed[];
  readonly approve: 'ask' | 'auto';
  readonly format: Format;
  readonly phases: readonly PlannedPhase[];
  readonly engine: (request: RunRequest) => Promise<RunEnd>;
}

export interface Executed extends Made {
  readonly folder: string;
  readonly exitCode: number;
}

export const experimentPhases: readonly PlannedPhase[] = [
  { phase: 'plan', title: 'what is to be broken is chosen' },
  { phase: 'warm-up', title: 'the instrument warms up' },
  { phase: 'baseline', title: 'the steady state must hold' },
  { phase: 'wait', title: 'waiting for the moment' },
  { phase: 'inject', title: 'injecting the fault' },
  { phase: 'fault', title: 'the fault lasts' },
  { phase: 'revert', title: 'ending the fault' },
  { phase: 'confirm', title: 'the service must be steady again' },
  { phase: 'settle', title: 'redundancy must be back' },
  { phase: 'rollback', title: 'putting back whatever is not back yet' },
  { phase: 'report', title: 'computing the report' },
];

const askOnTerminal: Ask = async (question, signal) => {
  const { input } = await import('@inquirer/prompts');
  return await input({ message: `${question} (yes/no)` }, { signal });
};

const nobodyToAsk: Ask = async (question) => {
  throw new BlackstartError(
    'USAGE',
    `nobody is at the keyboard to answer: ${question}`,
    'Run it in a terminal, or with "--approve auto".',
  );
};

/** A prompt and a list that redraws itself cannot share the screen: with people in it, progress is plain lines. */
const drawingFor = (cli: Cli, { approve, format, phases }: Execution): Drawing =>
  cli.terminal.isInteractive && approve === 'auto' && format === 'text'
    ? terminalDrawing(cli.clock, phases)
    : plainDrawing(cli.clock, cli.terminal.note);

const verdictCodes = {
  PASS: exitCodes.pass,
  FAIL: exitCodes.fail,
  INCONCLUSIVE: exitCodes.inconclusive,
  VOID: exitCodes.inconclusive,
} as const;

/** What a report says for the shell: what is still broken outranks the verdict. */
export const verdictExitCode = ({ report }: Made): number =>
  report.undo.outstanding.length > 0 ? exitCodes.rollbackIncomplete : verdictCodes[report.verdict];

/** What kept a run from its end comes between the two; a check that does not hold says so by its verdict. */
const exitCodeOf = (error: unknown, made: Made): number => {
  if (made.report.undo.outstanding.length > 0) return exitCodes.rollbackIncomplete;
  const isVerdict = made.report.run.kind === 'check' && isBlackstartError(error) && error.code === 'BASELINE';
  return isBlackstartError(error) && !isVerdict ? error.exitCode : verdictExitCode(made);
};

/**
 * Baselines that held, of runs that ended with everything back, and only of streams judged by the same limits:
 * what counts as bad under a shorter time-out is another population.
 */
export const carriedFrom = (after: readonly Made[], streams: readonly Stream[]): readonly CarriedBaseline[] => {
  const limitsOf = ({ probe, timeoutMs, slowAfterMs }: Pick<Stream, 'probe' | 'timeoutMs' | 'slowAfterMs'>): string =>
    `${probe} ${timeoutMs} ${slowAfterMs}`;
  const wanted = new Map(streams.map((one) => [one.stream, limitsOf(one)]));
  return after.flatMap(({ report }) => {
    const { baseline, verdict, undo } = report;
    if (baseline === null || !baseline.holds || verdict === 'VOID' || undo.outstanding.length > 0) return [];
    const limits = new Map(report.streams.map((one) => [one.stream, limitsOf(one)]));
    return baseline.streams.flatMap(({ stream, probes, bad, late }) =>
      limits.has(stream) && limits.get(stream) === wanted.get(stream) ? [{ stream, probes, bad, late }] : [],
    );
  });
};

const requestOf = (cli: Cli, execution: Execution, drawing: Drawing): RunRequest => {
  const { reached, scenario, seed, approve } = execution;
  const { session, addresses } = reached;
  const { clock } = cli;
  const runId = newRunId(clock, scenario.name);
  const { streams, leftOut } = streamsFor(scenario, probedServiceOf(session.environment, addresses));
  const carried = carriedFrom(execution.after ?? [], streams);
  const steady = createSteadyState(streams, { ...defaultLimits, errorsMax: scenario.errorsMax }, carried);
  const note = (text: string): void => drawing.live({ type: 'note', text });
  for (const { stream, why } of leftOut) note(`${stream} is left out: ${why}`);
  cli.undoing(runId, undefined);
  return {
    session,
    scenario,
    runId,
    seed,
    reports: reportsFolder(),
    versions: versions(),
    approve,
    ask: cli.terminal.isInteractive ? askOnTerminal : nobodyToAsk,
    signal: cli.signal,
    live: (event) => {
      if (event.type === 'note' && event.undoing !== undefined) cli.undoing(runId, event.undoing);
      drawing.live(event);
    },
    streams,
    carried,
    startInstrument: async (folder) => {
      const parts = {
        environment: session.environment,
        addresses,
        clock,
        runId,
        seed,
        streams,
        signal: cli.signal,
        note,
      };
      const instrument = await startInstrument(parts, folder);
      instrument.onBlind((blind) => steady.addBlind(blind));
      return instrument;
    },
    steadyState: () => steady,
    startWatchdog: (folder) => startWatchdog(clock, folder, cli.launcher, cli.signal),
  };
};

/** Runs, computes the report into the run's folder, and says what the exit code is. Throws when it could not begin. */
export const execute = async (cli: Cli, execution: Execution): Promise<Executed> => {
  const drawing = drawingFor(cli, execution);
  let end: RunEnd;
  let made: Made;
  try {
    end = await execution.engine(requestOf(cli, execution, drawing));
  } catch (error) {
    await drawing.end(error);
    throw error;
  }
  try {
    made = await makeReport(end.folder);
    for (const [name, text] of Object.entries(made.files)) await writeFile(path.join(end.folder, name), text);
  } catch (error) {
    await drawing.end(error);
    if (end.error === undefined) throw error;
    // How the run ended outranks that nobody can read of it: something may still be broken.
    cli.terminal.note(`the report of ${end.folder} could not be made: ${messageOf(error)}`);
    throw end.error;
  }
  await drawing.end(end.error);
  const { error, folder } = end;
  if (error !== undefined && !isBlackstartError(error)) throw error;
  if (isBlackstartError(error)) {
    cli.terminal.note(`blackstart: ${error.message}`);
    cli.terminal.note(error.hint);
  }
  return { ...made, folder, exitCode: exitCodeOf(error, made) };
};

/** The most serious of several exit codes. */
export const worstExitCode = (codes: readonly number[]): number => {
  const order = [
    exitCodes.rollbackIncomplete,
    exitCodes.bug,
    exitCodes.aborted,
    exitCodes.usage,
    exitCodes.fail,
    exitCodes.inconclusive,
  ];
  return order.find((code) => codes.includes(code)) ?? exitCodes.pass;
};

/**
 * A demonstration has succeeded when every scenario was measured and everything is back: that a documented target is
 * missed, or cannot be told apart from its bound at this time scale, is what it is there to show.
 */
export const demoExitCode = (executed: readonly Pick<Executed, 'exitCode' | 'report'>[]): number => {
  const shown: readonly number[] = [exitCodes.fail, exitCodes.inconclusive];
  return worstExitCode(
    executed.map(({ exitCode, report }) =>
      report.verdict !== 'VOID' && shown.includes(exitCode) ? exitCodes.pass : exitCode,
    ),
  );
};
