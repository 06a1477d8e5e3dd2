import type { FisExperiment, FisStatus, FisTemplate } from '../../adapters/ports.ts';
import type { Environment } from '../../core/environment.ts';
import { BlackstartError } from '../../core/errors.ts';
import type { FaultContext, Permission } from '../fault.ts';

/**
 * What faults by AWS FIS have in common: an experiment per region, tagged with the run, the fault and the target, so
 * that it can be found, stopped and checked from its tags alone.
 */

/** One fault on one target in one region: what the tags of its template and experiment say. */
export interface FisUse {
  readonly fault: string;
  readonly run: string;
  readonly target: string;
  readonly region: string;
}

export type Tags = Readonly<Record<string, string>>;

export const runTag = 'blackstart:run';
export const faultTag = 'blackstart:fault';
export const targetTag = 'blackstart:target';
/** Only resources that carry this tag, with the environment's name as its value, are ever touched. */
export const environmentTag = 'blackstart:environment';

const ended: readonly FisStatus[] = ['completed', 'stopped', 'failed', 'cancelled'];
export const isActive = (experiment: FisExperiment): boolean => !ended.includes(experiment.status);

const durationMinutesMax = 12 * 60;

/** FIS durations are whole minutes here, from one to twelve hours. */
export const isoDuration = (documentedMs: number): string =>
  `PT${Math.min(durationMinutesMax, Math.max(1, Math.ceil(documentedMs / 60_000)))}M`;

/** Half a documented second between two looks at an experiment: well below the request rate that FIS throttles. */
const lookEveryMs = ({ timeScale }: FaultContext): number => Math.max(10, 500 / timeScale);

export const refused = (message: string, hint: string): BlackstartError =>
  new BlackstartError('PLAN_REFUSED', message, hint);
export const failed = (message: string, hint: string): BlackstartError =>
  new BlackstartError('INJECT_FAILED', message, hint);

export const assertLever = async (region: string, { ports, signal }: FaultContext): Promise<void> => {
  const lever = await ports.fis(region).safetyLever(signal);
  if (lever === 'disengaged') return;
  throw refused(
    `the FIS safety lever of ${region} is ${lever}`,
    'Somebody has stopped all experiments there, or its state cannot be read. Ask before you disengage it.',
  );
};

export const tagsOfUse = ({ fault, run, target }: FisUse): Tags => ({
  [runTag]: run,
  [faultTag]: fault,
  [targetTag]: target,
});

/** What every template of ours has. */
export const templateBase = (
  use: FisUse,
  tags: Tags,
  { environment }: FaultContext,
): Pick<FisTemplate, 'description' | 'roleArn' | 'tags' | 'stopConditions'> => ({
  description: `blackstart ${use.fault} ${use.target} run ${use.run}`.slice(0, 512),
  roleArn: environment.aws.experimentRole,
  tags,
  stopConditions: [
    { source: 'aws:cloudwatch:alarm', value: environment.aws.stopAlarm.replaceAll('{region}', use.region) },
  ],
});

const isOurs = (tags: Tags, { fault, target }: FisUse): boolean =>
  tags[faultTag] === fault && tags[targetTag] === target;

export const templatesOf = async (use: FisUse, { ports, signal }: FaultContext) =>
  (await ports.fis(use.region).listTemplates(runTag, use.run, signal)).filter(({ tags }) => isOurs(tags, use));

export const experimentsOf = async (use: FisUse, { ports, signal }: FaultContext) =>
  (await ports.fis(use.region).listExperiments(runTag, use.run, signal)).filter(({ tags }) => isOurs(tags, use));

/** Same run and target, same token: a call that is repeated makes nothing twice. */
const tokenFor = ({ run, fault, target, region }: FisUse, what: string): string =>
  [run, fault, target, region, what].join(' ').slice(0, 1024);

/** What a plan knows of its targets: their names in AWS, or only how many they are. */
export type PlannedTargets = ({ readonly arns: readonly string[] } | { readonly count: number }) & {
  readonly noun: string;
};

const isAsPlanned = (resolved: readonly string[], planned: PlannedTargets): boolean =>
  'arns' in planned
    ? JSON.stringify([...new Set(resolved)].sort()) === JSON.stringify(planned.arns.toSorted())
    : resolved.length === planned.count;

/** Makes the template, and lets FIS say which targets it resolves to: exactly those that were planned. Its id. */
export const prepareTemplate = async (
  use: FisUse,
  template: FisTemplate,
  planned: PlannedTargets,
  { ports, signal }: FaultContext,
): Promise<string> => {
  const fis = ports.fis(use.region);
  const id = await fis.createTemplate(template, tokenFor(use, 'template'), signal);
  const preview = await fis.preview(id, tokenFor(use, `preview ${id}`), signal);
  if (preview.status !== 'completed') {
    throw failed(
      `FIS could not resolve the targets of ${use.target}: ${preview.status}, ${preview.reason}`,
      `See the role, the stop alarm and the ${planned.noun} in the environment file.`,
    );
  }
  const resolved = (await fis.resolvedTargets(preview.id, signal)).map(({ arn }) => arn);
  if (!isAsPlanned(resolved, planned)) {
    throw failed(`FIS resolved other ${planned.noun} than were planned: ${resolved.join(', ')}`, 'Plan again.');
  }
  return id;
};

/** Waits until every action of the experiment has taken hold, or has done its work. */
const untilReached = async (
  region: string,
  id: string,
  wanted: 'running' | 'completed',
  context: FaultContext,
): Promise<void> => {
  const { ports, signal, clock } = context;
  for (;;) {
    const now = await ports.fis(region).get(id, signal);
    const actions = Object.values(now?.actions ?? {});
    if (now?.status === wanted && actions.every(({ status }) => status === wanted)) return;
    if (now !== undefined && !isActive(now)) {
      const reason = actions.find(({ status }) => status === 'failed')?.reason ?? now.reason;
      throw failed(`FIS experiment ${id} in ${region} is ${now.status}: ${reason}`, 'See it in the AWS console.');
    }
    await clock.sleep(lookEveryMs(context), signal);
  }
};

/** Starts an experiment with these tags, and waits until it has taken hold, or has completed what ends by itself. */
export const startTemplate = async (
  use: FisUse,
  templateId: string,
  tags: Tags,
  context: FaultContext,
  wanted: 'running' | 'completed' = 'running',
): Promise<void> => {
  const token = tokenFor(use, `start ${templateId}`);
  const { id } = await context.ports.fis(use.region).start(templateId, token, tags, context.signal);
  await untilReached(use.region, id, wanted, context);
};

/** The experiment of ours whose actions are all in this state now. */
export const experimentIn = async (
  use: FisUse,
  wanted: 'running' | 'completed',
  context: FaultContext,
): Promise<FisExperiment | undefined> => {
  const found = (await experimentsOf(use, context)).find(({ status }) => status === wanted);
  if (found === undefined) return undefined;
  const detail = await context.ports.fis(use.region).get(found.id, context.signal);
  return Object.values(detail?.actions ?? {}).every(({ status }) => status === wanted) ? detail : undefined;
};

export const runningExperiment = (use: FisUse, context: FaultContext): Promise<FisExperiment | undefined> =>
  experimentIn(use, 'running', context);

/** Stops whatever of ours still runs, waits until FIS has put things back, and removes the templates. */
export const endExperiments = async (use: FisUse, context: FaultContext): Promise<void> => {
  const { ports, signal, clock } = context;
  const fis = ports.fis(use.region);
  for (;;) {
    const active = (await experimentsOf(use, context)).filter(isActive);
    if (active.length === 0) break;
    for (const { id, status } of active) if (status !== 'stopping') await fis.stop(id, signal);
    await clock.sleep(lookEveryMs(context), signal);
  }
  for (const { id } of await templatesOf(use, context)) await fis.deleteTemplate(id, signal);
};

/** Permissions that every fault by FIS needs; `reads` are looks at its targets. */
export const fisPermissions = (environment: Environment, reads: readonly string[]): readonly Permission[] => {
  const aws = (action: string, resource: string): Permission => ({ provider: 'aws', action, resource });
  const fis = `arn:aws:fis:*:${environment.aws.account}`;
  return [
    ...['CreateExperimentTemplate', 'DeleteExperimentTemplate', 'StartExperiment'].map((one) =>
      aws(`fis:${one}`, `${fis}:experiment-template/*`),
    ),
    ...['StartExperiment', 'StopExperiment', 'GetExperiment', 'ListExperimentResolvedTargets', 'TagResource'].map(
      (one) => aws(`fis:${one}`, `${fis}:experiment/*`),
    ),
    aws('fis:TagResource', `${fis}:experiment-template/*`),
    aws('fis:GetSafetyLever', `${fis}:safety-lever/default`),
    ...['fis:ListExperiments', 'fis:ListExperimentTemplates', ...reads].map((one) => aws(one, '*')),
    aws('iam:PassRole', environment.aws.experimentRole),
  ];
};
