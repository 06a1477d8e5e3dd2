import type { Clock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { type ActionContext, beginAction, type Effect } from './fis-actions.ts';
import { isoDurationMs } from './fis-catalogue.ts';
import { type Resource, resolveTarget } from './fis-targets.ts';
import type { StopCondition, TemplateAction, TemplateTarget } from './fis-template.ts';
import type { RegionWorld, Tags } from './world.ts';

export type ExperimentStatus =
  | 'pending'
  | 'initiating'
  | 'running'
  | 'completed'
  | 'stopping'
  | 'stopped'
  | 'failed'
  | 'cancelled';

interface State<Status extends string> {
  readonly status: Status;
  readonly reason: string;
  readonly error?: { readonly accountId: string; readonly code: string; readonly location: string };
}

export interface ExperimentAction extends TemplateAction {
  state: State<ExperimentStatus | 'skipped'>;
  startTime?: number;
  endTime?: number;
}

export interface Experiment {
  readonly id: string;
  readonly arn: string;
  readonly experimentTemplateId: string;
  readonly roleArn: string;
  readonly targets: Readonly<Record<string, TemplateTarget>>;
  readonly actions: Readonly<Record<string, ExperimentAction>>;
  readonly stopConditions: readonly StopCondition[];
  readonly tags: Tags;
  readonly options: {
    readonly accountTargeting: 'single-account' | 'multi-account';
    readonly emptyTargetResolutionMode: 'fail' | 'skip';
    readonly actionsMode: 'run-all' | 'skip-all';
  };
  readonly creationTime: number;
  state: State<ExperimentStatus>;
  startTime?: number;
  endTime?: number;
  resolved: { readonly resourceType: string; readonly targetName: string; readonly arn: string }[];
  /** Aborts when the experiment must stop; the reason is the state's. */
  readonly stop: AbortController;
}

export interface EngineContext {
  readonly region: RegionWorld;
  readonly clock: Clock;
  readonly account: string;
  readonly experimentRole: string;
  /** Real milliseconds of a documented duration. */
  real(documentedMs: number): number;
  isLeverEngaged(): boolean;
  resources(resourceType: string): Promise<readonly Resource[]>;
  readonly action: Omit<ActionContext, 'managedTables'>;
  onState(experiment: Experiment): void;
}

/** Real: AWS takes seconds over these two; here they are just long enough to be seen. */
const pendingMs = 10;
const initiatingMs = 10;

const terminal: ReadonlySet<ExperimentStatus> = new Set(['completed', 'stopped', 'failed', 'cancelled']);
export const isTerminal = (experiment: Experiment): boolean => terminal.has(experiment.state.status);

const secondsOf = (clock: Clock): number => clock.nowMs() / 1000;

/** Asks a running experiment to stop; its post actions still run. */
export const stopExperiment = (experiment: Experiment, reason: string, onState: EngineContext['onState']): void => {
  if (isTerminal(experiment) || experiment.stop.signal.aborted) return;
  experiment.state = { status: 'stopping', reason };
  experiment.stop.abort(new Error(reason));
  onState(experiment);
};

/** One stop condition's alarm, if it is in alarm. */
export const alarmOf = (experiment: Experiment, region: RegionWorld): string | undefined =>
  experiment.stopConditions.find(({ value }) =>
    [...region.alarms.values()].some((alarm) => alarm.arn === value && alarm.state === 'ALARM'),
  )?.value;

const failure = (context: EngineContext, code: string, reason: string, location: string): State<'failed'> => ({
  status: 'failed',
  reason,
  error: { accountId: context.account, code, location },
});

/** Waits out real time; `false` when the experiment was told to stop meanwhile. */
const pause = async (experiment: Experiment, clock: Clock, realMs: number): Promise<boolean> =>
  await clock.sleep(realMs, experiment.stop.signal).then(
    () => true,
    () => false,
  );

/** Resolves every target once; the set is frozen. Says why that failed. */
const resolveAll = async (experiment: Experiment, context: EngineContext): Promise<State<'failed'> | undefined> => {
  for (const [targetName, target] of Object.entries(experiment.targets)) {
    const resolution = resolveTarget(target, await context.resources(target.resourceType));
    if ('missing' in resolution) {
      return failure(context, 'InvalidTarget', `Target resolution failed: ${resolution.missing}`, targetName);
    }
    const isEmpty = resolution.arns.length === 0;
    if (isEmpty && experiment.options.emptyTargetResolutionMode === 'fail') {
      return failure(context, 'InvalidTarget', 'Target resolution returned empty set.', targetName);
    }
    for (const arn of resolution.arns) {
      experiment.resolved.push({ resourceType: target.resourceType, targetName, arn });
    }
  }
  return undefined;
};

const badConfiguration = (experiment: Experiment, context: EngineContext): State<'failed'> | undefined => {
  if (experiment.roleArn !== context.experimentRole) {
    return failure(context, 'AuthorizationFailure', 'The experiment role could not be assumed.', 'roleArn');
  }
  const known = new Set([...context.region.alarms.values()].map((alarm) => alarm.arn));
  const unknown = experiment.stopConditions.find(({ value }) => value !== undefined && !known.has(value));
  if (unknown === undefined) return undefined;
  return failure(context, 'ConfigurationFailure', `Alarm ${unknown.value} does not exist.`, 'stopConditions');
};

/** Runs one action to its end, post action included. Says why it failed, if it did. */
const runAction = async (
  experiment: Experiment,
  action: ExperimentAction,
  context: EngineContext,
  managedTables: ActionContext['managedTables'],
): Promise<string | undefined> => {
  const { clock } = context;
  const { signal } = experiment.stop;
  const close = (status: ExperimentStatus | 'skipped', reason: string): void => {
    action.state = { status, reason };
    action.endTime = secondsOf(clock);
  };
  const names = Object.values(action.targets ?? {});
  const arns = experiment.resolved.filter(({ targetName }) => names.includes(targetName)).map(({ arn }) => arn);
  if (signal.aborted) {
    close('cancelled', 'Experiment stopped before the action began.');
    return undefined;
  }
  if (names.length > 0 && arns.length === 0) {
    close('skipped', 'No targets were resolved.');
    return undefined;
  }
  action.state = { status: 'initiating', reason: 'Action is initiating.' };
  action.startTime = secondsOf(clock);
  let effect: Effect;
  try {
    effect = await beginAction(action.actionId, action.parameters ?? {}, arns, { ...context.action, managedTables });
  } catch (error) {
    close('failed', messageOf(error));
    return messageOf(error);
  }
  action.state = { status: 'running', reason: 'Action is running.' };
  const durationMs = isoDurationMs(action.parameters?.['duration'] ?? '') ?? 0;
  const isWhole =
    durationMs === 0 || effect.isDone === true || (await pause(experiment, clock, context.real(durationMs)));
  if (!isWhole) action.state = { status: 'stopping', reason: 'Action is stopping.' };
  const notRestored = await effect.end().catch((error: unknown) => messageOf(error));
  if (notRestored !== undefined) {
    close('failed', notRestored);
    return notRestored;
  }
  if (isWhole) close('completed', 'Action was completed.');
  else close('stopped', 'Action was stopped.');
  return undefined;
};

/** Runs all actions in their order; one that fails stops the others. */
const runActions = async (experiment: Experiment, context: EngineContext): Promise<string | undefined> => {
  const managedTables: ActionContext['managedTables'] = new Map();
  const failures: string[] = [];
  const begun = new Map<string, Promise<void>>();
  const start = (name: string): Promise<void> => {
    const known = begun.get(name);
    if (known !== undefined) return known;
    const run = async (): Promise<void> => {
      const action = experiment.actions[name];
      if (action === undefined) return;
      await Promise.all((action.startAfter ?? []).map(start));
      const reason = await runAction(experiment, action, context, managedTables);
      if (reason === undefined) return;
      failures.push(reason);
      stopExperiment(experiment, reason, context.onState);
    };
    const promise = run();
    begun.set(name, promise);
    return promise;
  };
  await Promise.all(Object.keys(experiment.actions).map(start));
  return failures[0];
};

/**
 * Runs an experiment from `pending` to its end, moving its state as AWS does. Never rejects.
 */
export const runExperiment = async (experiment: Experiment, context: EngineContext): Promise<void> => {
  const { clock } = context;
  const enter = (state: State<ExperimentStatus>): void => {
    experiment.state = state;
    if (terminal.has(state.status)) experiment.endTime = secondsOf(clock);
    context.onState(experiment);
  };
  const closeActions = (status: 'skipped' | 'cancelled', reason: string): void => {
    for (const action of Object.values(experiment.actions)) {
      if (action.state.status === 'pending') action.state = { status, reason };
    }
  };
  const giveUp = (state: State<ExperimentStatus>): void => {
    closeActions('cancelled', 'Experiment ended before the action began.');
    enter(state);
  };
  try {
    await pause(experiment, clock, pendingMs);
    if (context.isLeverEngaged()) {
      return giveUp({ status: 'cancelled', reason: 'Experiment cancelled: the safety lever is engaged.' });
    }
    if (!experiment.stop.signal.aborted) enter({ status: 'initiating', reason: 'Experiment is initiating.' });
    const problem = badConfiguration(experiment, context) ?? (await resolveAll(experiment, context));
    if (problem !== undefined) return giveUp(problem);
    const alarm = alarmOf(experiment, context.region);
    if (alarm !== undefined) stopExperiment(experiment, 'Experiment halted by stop condition.', context.onState);
    await pause(experiment, clock, initiatingMs);
    if (experiment.options.actionsMode === 'skip-all') {
      closeActions('skipped', 'Action was skipped: the experiment runs in mode skip-all.');
      return enter({ status: 'completed', reason: 'Experiment completed.' });
    }
    if (!experiment.stop.signal.aborted) enter({ status: 'running', reason: 'Experiment is running.' });
    const reason = await runActions(experiment, context);
    if (reason !== undefined) return enter(failure(context, 'DependentServiceFailure', reason, 'actions'));
    if (experiment.stop.signal.aborted) return enter({ status: 'stopped', reason: experiment.state.reason });
    enter({ status: 'completed', reason: 'Experiment completed.' });
  } catch (error) {
    giveUp(failure(context, 'InternalFailure', messageOf(error), 'experiment'));
  }
};
