import type { FisExperiment, FisStatus } from '../../adapters/ports.ts';
import type { Environment } from '../../core/environment.ts';
import { BlackstartError } from '../../core/errors.ts';
import type { FaultContext, Permission } from '../fault.ts';

/** What all faults that AWS FIS carries out have in common: experiments that are found again by their tags alone. */

export const runTag = 'blackstart:run';
export const faultTag = 'blackstart:fault';
export const targetTag = 'blackstart:target';

/** Which experiment is meant: that of a fault on a target, in a run. */
export interface FisKey {
  readonly fault: string;
  readonly run: string;
  readonly target: string;
  readonly region: string;
}

export const tagsOf = ({ fault, run, target }: FisKey): Readonly<Record<string, string>> => ({
  [runTag]: run,
  [faultTag]: fault,
  [targetTag]: target,
});

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

/** Throws PLAN_REFUSED while somebody has stopped all experiments of the region. */
export const assertLever = async (region: string, { ports, signal }: FaultContext): Promise<void> => {
  const lever = await ports.fis(region).safetyLever(signal);
  if (lever === 'disengaged') return;
  throw refused(
    `the FIS safety lever of ${region} is ${lever}`,
    'Somebody has stopped all experiments there, or its state cannot be read. Ask before you disengage it.',
  );
};

/** The alarm that stops experiments of a region. */
export const stopConditionsOf = (environment: Environment, region: string) => [
  { source: 'aws:cloudwatch:alarm', value: environment.aws.stopAlarm.replaceAll('{region}', region) },
];

const isOurs = (tags: Readonly<Record<string, string>>, { fault, target }: FisKey): boolean =>
  tags[faultTag] === fault && tags[targetTag] === target;

export const templatesOf = async (key: FisKey, { ports, signal }: FaultContext) =>
  (await ports.fis(key.region).listTemplates(runTag, key.run, signal)).filter(({ tags }) => isOurs(tags, key));

export const experimentsOf = async (key: FisKey, { ports, signal }: FaultContext) =>
  (await ports.fis(key.region).listExperiments(runTag, key.run, signal)).filter(({ tags }) => isOurs(tags, key));

/** Same run and target, same token: a call that is repeated makes nothing twice. */
export const tokenFor = ({ run, fault, target, region }: FisKey, what: string): string =>
  [run, fault, target, region, what].join(' ').slice(0, 1024);

/** Waits until every action of the experiment has taken hold. */
const untilRunning = async (region: string, id: string, context: FaultContext): Promise<void> => {
  const { ports, signal, clock } = context;
  for (;;) {
    const now = await ports.fis(region).get(id, signal);
    const actions = Object.values(now?.actions ?? {});
    if (now?.status === 'running' && actions.every(({ status }) => status === 'running')) return;
    if (now !== undefined && !isActive(now)) {
      const reason = actions.find(({ status }) => status === 'failed')?.reason ?? now.reason;
      throw failed(`FIS experiment ${id} in ${region} is ${now.status}: ${reason}`, 'See it in the AWS console.');
    }
    await clock.sleep(lookEveryMs(context), signal);
  }
};

export const startExperiment = async (
  key: FisKey,
  tags: Readonly<Record<string, string>>,
  templateId: string,
  context: FaultContext,
): Promise<void> => {
  const token = tokenFor(key, `start ${templateId}`);
  const { id } = await context.ports.fis(key.region).start(templateId, token, tags, context.signal);
  await untilRunning(key.region, id, context);
};

/** Id of the experiment of ours all of whose actions run now, as FIS itself says; `undefined` when none does. */
export const runningId = async (key: FisKey, context: FaultContext): Promise<string | undefined> => {
  const running = (await experimentsOf(key, context)).find(({ status }) => status === 'running');
  if (running === undefined) return undefined;
  const detail = await context.ports.fis(key.region).get(running.id, context.signal);
  const actions = Object.values(detail?.actions ?? {});
  return actions.every(({ status }) => status === 'running') ? running.id : undefined;
};

/** Stops whatever of ours still runs, waits until FIS has put things back, and removes the templates. */
export const stopExperiments = async (key: FisKey, context: FaultContext): Promise<void> => {
  const { ports, signal, clock } = context;
  const fis = ports.fis(key.region);
  for (;;) {
    const active = (await experimentsOf(key, context)).filter(isActive);
    if (active.length === 0) break;
    for (const { id, status } of active) if (status !== 'stopping') await fis.stop(id, signal);
    await clock.sleep(lookEveryMs(context), signal);
  }
  for (const { id } of await templatesOf(key, context)) await fis.deleteTemplate(id, signal);
};

/** What FIS itself asks for; `reads` are looks at the targets. */
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
