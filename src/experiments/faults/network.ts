import { z } from 'zod';
import type { FisExperiment, FisStatus, FisTemplate, Subnet } from '../../adapters/ports.ts';
import type { Environment } from '../../core/environment.ts';
import { BlackstartError } from '../../core/errors.ts';
import type { RevertState } from '../../core/undo.ts';
import {
  type BlastRadius,
  defineFault,
  type Fault,
  type FaultContext,
  type Permission,
  type Planned,
} from '../fault.ts';
import { type Layer, layers, type SubnetNow } from './network-layer.ts';

/** What faults on the network by AWS FIS have in common: one FIS experiment per region, found again by its tags. */

const beforeSchema = z.strictObject({
  id: z.string(),
  /** Network ACL or route table it had before. */
  before: z.string(),
});

const partSchema = z.strictObject({ region: z.string(), subnets: z.array(beforeSchema) });

const undoSchema = z.strictObject({
  /** With `target`, what the tags of templates and experiments say. */
  run: z.string(),
  target: z.string(),
  parts: z.array(partSchema),
});
type Undo = z.output<typeof undoSchema>;
type Part = z.output<typeof partSchema>;

/** What a fault does, region by region. */
export interface NetworkSpec {
  /** As people name it. */
  readonly target: string;
  readonly parts: readonly {
    readonly region: string;
    readonly zones: readonly string[];
    /** FIS actions on the subnets of these zones, without their duration. */
    readonly actions: readonly { readonly actionId: string; readonly parameters: Readonly<Record<string, string>> }[];
  }[];
}

export interface NetworkFault<Params extends z.ZodType> {
  readonly name: string;
  readonly summary: string;
  readonly params: Params;
  readonly layer: Layer;
  /** Read-only: parameters whose roles are turned into names by what is true now; as they are when left out. */
  locate?(params: z.output<Params>, context: FaultContext): Promise<z.output<Params>>;
  /** What `locate` needs beside what every network fault does. */
  readonly permissions?: readonly Permission[];
  spec(params: z.output<Params>, environment: Environment): NetworkSpec;
  blast(params: z.output<Params>, context: FaultContext): Promise<BlastRadius>;
}

export const runTag = 'blackstart:run';
const faultTag = 'blackstart:fault';
const targetTag = 'blackstart:target';
const beforeTag = 'blackstart:before:';
/** Only subnets that carry this tag, with the environment's name as its value, are ever touched. */
export const environmentTag = 'blackstart:environment';

const ended: readonly FisStatus[] = ['completed', 'stopped', 'failed', 'cancelled'];
export const isActive = (experiment: FisExperiment): boolean => !ended.includes(experiment.status);

/** FIS takes at most 5 ARNs per target, and 20 actions per template, 10 of them at once. */
const arnsMax = 5;
const actionsMax = 10;
const tagsMax = 50;
const durationMinutesMax = 12 * 60;

/** FIS durations are whole minutes here, from one to twelve hours. */
export const isoDuration = (documentedMs: number): string =>
  `PT${Math.min(durationMinutesMax, Math.max(1, Math.ceil(documentedMs / 60_000)))}M`;

/** Half a documented second between two looks at an experiment: well below the request rate that FIS throttles. */
export const lookEveryMs = ({ timeScale }: FaultContext): number => Math.max(10, 500 / timeScale);

const refused = (message: string, hint: string): BlackstartError => new BlackstartError('PLAN_REFUSED', message, hint);
const failed = (message: string, hint: string): BlackstartError => new BlackstartError('INJECT_FAILED', message, hint);

const bySubnet = (one: { readonly id: string }, other: { readonly id: string }): number => (one.id < other.id ? -1 : 1);

/** The subnets of these zones that belong to the environment, in a fixed order. */
const subnetsOf = async (
  region: string,
  zones: readonly string[],
  { environment, ports, signal }: FaultContext,
): Promise<readonly Subnet[]> => {
  const found = await ports.ec2(region).subnets({ zones }, signal);
  const ours = found.filter((subnet) => subnet.tags[environmentTag] === environment.name);
  const bare = zones.find((zone) => !ours.some((subnet) => subnet.zone === zone));
  if (bare === undefined) return ours.toSorted(bySubnet);
  throw refused(
    `zone ${bare} has no subnet tagged ${environmentTag}=${environment.name}`,
    'Tag the subnets of the platform that may be drilled; others are never touched.',
  );
};

export const assertLever = async (region: string, { ports, signal }: FaultContext): Promise<void> => {
  const lever = await ports.fis(region).safetyLever(signal);
  if (lever === 'disengaged') return;
  throw refused(
    `the FIS safety lever of ${region} is ${lever}`,
    'Somebody has stopped all experiments there, or its state cannot be read. Ask before you disengage it.',
  );
};

const planPart = async (
  fault: Pick<NetworkFault<z.ZodType>, 'layer'>,
  { region, zones }: NetworkSpec['parts'][number],
  context: FaultContext,
): Promise<Part> => {
  await assertLever(region, context);
  const subnets = await subnetsOf(region, zones, context);
  const now = await layers[fault.layer].read(
    region,
    subnets.map(({ id }) => id),
    context,
  );
  return {
    region,
    subnets: subnets.map(({ id }) => {
      const state = now.get(id);
      if (state === undefined) {
        throw refused(
          `${id} in ${region} has no ${layers[fault.layer].noun}`,
          'Look at the subnet in the AWS console.',
        );
      }
      if (state.isManaged) {
        throw refused(
          `the ${layers[fault.layer].noun} of ${id} in ${region} is managed by FIS: another experiment runs there`,
          'Wait until it has ended, or recover the run it belongs to.',
        );
      }
      return { id, before: state.attached };
    }),
  };
};

const tagsFor = (name: string, undo: Undo, part: Part): Readonly<Record<string, string>> => ({
  [runTag]: undo.run,
  [faultTag]: name,
  [targetTag]: undo.target,
  ...Object.fromEntries(part.subnets.map(({ id, before }) => [`${beforeTag}${id}`, before])),
});

const chunked = <T>(items: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));

/** The FIS template of one region: every action on every five subnets. */
const templateFor = (
  fault: Pick<NetworkFault<z.ZodType>, 'name'>,
  undo: Undo,
  part: Part,
  arns: readonly string[],
  actions: NetworkSpec['parts'][number]['actions'],
  { environment, expiryMs }: FaultContext,
): FisTemplate => {
  const tags = tagsFor(fault.name, undo, part);
  if (Object.keys(tags).length > tagsMax) {
    throw refused(`${undo.target} has more subnets in ${part.region} than FIS tags can name`, 'Tag fewer subnets.');
  }
  const groups = chunked(arns, arnsMax).map((some, index) => [`subnets-${index + 1}`, some] as const);
  const all = groups.flatMap(([group]) => actions.map((action) => ({ group, action })));
  if (all.length > actionsMax) {
    throw refused(
      `${fault.name} on ${arns.length} subnets of ${part.region} needs ${all.length} FIS actions, at most ${actionsMax} run`,
      'Name fewer zones or regions.',
    );
  }
  return {
    description: `blackstart ${fault.name} ${undo.target} run ${undo.run}`.slice(0, 512),
    roleArn: environment.aws.experimentRole,
    tags,
    stopConditions: [
      { source: 'aws:cloudwatch:alarm', value: environment.aws.stopAlarm.replaceAll('{region}', part.region) },
    ],
    targets: Object.fromEntries(
      groups.map(([group, resourceArns]) => [
        group,
        { resourceType: 'aws:ec2:subnet', resourceArns, selectionMode: 'ALL' },
      ]),
    ),
    actions: Object.fromEntries(
      all.map(({ group, action: { actionId, parameters } }, index) => [
        `action-${index + 1}`,
        { actionId, parameters: { ...parameters, duration: isoDuration(expiryMs) }, targets: { Subnets: group } },
      ]),
    ),
  };
};

type Named = Pick<Undo, 'run' | 'target'>;

const isOurs = (tags: Readonly<Record<string, string>>, name: string, undo: Named): boolean =>
  tags[faultTag] === name && tags[targetTag] === undo.target;

export const templatesOf = async (name: string, undo: Named, region: string, { ports, signal }: FaultContext) =>
  (await ports.fis(region).listTemplates(runTag, undo.run, signal)).filter(({ tags }) => isOurs(tags, name, undo));

export const experimentsOf = async (name: string, undo: Named, region: string, { ports, signal }: FaultContext) =>
  (await ports.fis(region).listExperiments(runTag, undo.run, signal)).filter(({ tags }) => isOurs(tags, name, undo));

/** Same run and target, same token: a call that is repeated makes nothing twice. */
export const tokenFor = (name: string, undo: Named, part: Pick<Part, 'region'>, what: string): string =>
  [undo.run, name, undo.target, part.region, what].join(' ').slice(0, 1024);

/** Nothing may have changed since the plan; and FIS must choose exactly the planned subnets. */
const preparePart = async <Params extends z.ZodType>(
  fault: NetworkFault<Params>,
  undo: Undo,
  part: Part,
  spec: NetworkSpec['parts'][number],
  context: FaultContext,
): Promise<string> => {
  const { ports, signal } = context;
  const fis = ports.fis(part.region);
  const now = await planPart(fault, spec, context);
  if (JSON.stringify(now) !== JSON.stringify(part)) {
    throw refused(`the subnets of ${undo.target} changed since they were planned`, 'Plan again.');
  }
  const arns = (await subnetsOf(part.region, spec.zones, context)).map(({ arn }) => arn);
  const template = templateFor(fault, undo, part, arns, spec.actions, context);
  const id = await fis.createTemplate(template, tokenFor(fault.name, undo, part, 'template'), signal);
  const preview = await fis.preview(id, tokenFor(fault.name, undo, part, `preview ${id}`), signal);
  if (preview.status !== 'completed') {
    throw failed(
      `FIS could not resolve the targets of ${undo.target}: ${preview.status}, ${preview.reason}`,
      'See the role, the stop alarm and the subnets in the environment file.',
    );
  }
  const resolved = (await fis.resolvedTargets(preview.id, signal)).map(({ arn }) => arn);
  if (JSON.stringify([...new Set(resolved)].sort()) !== JSON.stringify(arns.toSorted())) {
    throw failed(`FIS resolved other subnets than were planned: ${resolved.join(', ')}`, 'Plan again.');
  }
  return id;
};

/** Waits until every action of the experiment has taken hold. */
export const untilRunning = async (region: string, id: string, context: FaultContext): Promise<void> => {
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

const startPart = async (
  name: string,
  undo: Undo,
  part: Part,
  templateId: string,
  context: FaultContext,
): Promise<void> => {
  const tags = tagsFor(name, undo, part);
  const token = tokenFor(name, undo, part, `start ${templateId}`);
  const { id } = await context.ports.fis(part.region).start(templateId, token, tags, context.signal);
  await untilRunning(part.region, id, context);
};

/** What shows that the part bit; `undefined` while it does not. */
const evidenceOf = async (
  fault: Pick<NetworkFault<z.ZodType>, 'name' | 'layer'>,
  undo: Undo,
  part: Part,
  context: FaultContext,
): Promise<string | undefined> => {
  const running = (await experimentsOf(fault.name, undo, part.region, context)).find(
    (experiment) => experiment.status === 'running',
  );
  if (running === undefined) return undefined;
  const detail = await context.ports.fis(part.region).get(running.id, context.signal);
  if (!Object.values(detail?.actions ?? {}).every(({ status }) => status === 'running')) return undefined;
  const { read, noun } = layers[fault.layer];
  const now = await read(
    part.region,
    part.subnets.map(({ id }) => id),
    context,
  );
  const changes = part.subnets.map(({ id, before }) => {
    const state = now.get(id);
    return state?.isManaged === true ? `${id} has ${noun} ${state.attached} instead of ${before}` : undefined;
  });
  if (changes.includes(undefined)) return undefined;
  return `FIS experiment ${running.id} runs: ${changes.join(', ')}`;
};

/** Stops whatever of ours still runs, and waits until FIS has put things back. */
export const stopExperiments = async (
  name: string,
  undo: Named,
  region: string,
  context: FaultContext,
): Promise<void> => {
  const { ports, signal, clock } = context;
  const fis = ports.fis(region);
  for (;;) {
    const active = (await experimentsOf(name, undo, region, context)).filter(isActive);
    if (active.length === 0) return;
    for (const { id, status } of active) if (status !== 'stopping') await fis.stop(id, signal);
    await clock.sleep(lookEveryMs(context), signal);
  }
};

export const deleteTemplates = async (
  name: string,
  undo: Named,
  region: string,
  context: FaultContext,
): Promise<void> => {
  const fis = context.ports.fis(region);
  for (const { id } of await templatesOf(name, undo, region, context)) await fis.deleteTemplate(id, context.signal);
};

const revertPart = async (name: string, undo: Undo, { region }: Part, context: FaultContext): Promise<void> => {
  await stopExperiments(name, undo, region, context);
  await deleteTemplates(name, undo, region, context);
};

const stateOfPart = async (
  fault: Pick<NetworkFault<z.ZodType>, 'name' | 'layer'>,
  undo: Undo,
  part: Part,
  context: FaultContext,
): Promise<RevertState> => {
  const { read, noun } = layers[fault.layer];
  const experiments = await experimentsOf(fault.name, undo, part.region, context);
  const active = experiments.find(isActive);
  if (active !== undefined) return { state: 'pending', detail: `FIS experiment ${active.id} is ${active.status}` };
  const now = await read(
    part.region,
    part.subnets.map(({ id }) => id),
    context,
  );
  const wrong = part.subnets.filter(({ id, before }) => now.get(id)?.attached !== before);
  const foreign = wrong.filter(({ id }) => now.get(id)?.isManaged !== true);
  if (foreign.length > 0) {
    const lines = foreign.map(({ id, before }) => `${id}: ${noun} was ${before}, is now ${wordState(now.get(id))}`);
    return { state: 'conflict', difference: lines.join('; ') };
  }
  const [left] = wrong;
  if (left === undefined) return { state: 'reverted' };
  const [last] = experiments;
  const why = last === undefined ? 'no experiment of ours is known' : `${last.id} ${last.status}: ${last.reason}`;
  return { state: 'pending', detail: `${left.id} still has the ${noun} of FIS (${why})` };
};

const wordState = (state: SubnetNow | undefined): string => state?.attached ?? 'none';

/** The worst of several: a conflict, else what is pending, else reverted. */
const worst = (states: readonly RevertState[]): RevertState =>
  states.find(({ state }) => state === 'conflict') ??
  states.find(({ state }) => state === 'pending') ?? { state: 'reverted' };

/** What one region still holds of this fault: tags of templates, running experiments, and ended ones not put back. */
const leftInRegion = async (
  fault: Pick<NetworkFault<z.ZodType>, 'name' | 'layer'>,
  region: string,
  context: FaultContext,
): Promise<readonly Readonly<Record<string, string>>[]> => {
  const fis = context.ports.fis(region);
  const templates = await fis.listTemplates(faultTag, fault.name, context.signal);
  const experiments = await fis.listExperiments(faultTag, fault.name, context.signal);
  const left = [...templates.map(({ tags }) => tags), ...experiments.filter(isActive).map(({ tags }) => tags)];
  for (const { tags } of experiments.filter((one) => !isActive(one))) {
    const ids = beforeOf(tags).map(({ id }) => id);
    const now = await layers[fault.layer].read(region, ids, context);
    if (ids.some((id) => now.get(id)?.isManaged === true)) left.push(tags);
  }
  return left;
};

const beforeOf = (tags: Readonly<Record<string, string>>): Part['subnets'] =>
  Object.entries(tags)
    .filter(([key]) => key.startsWith(beforeTag))
    .map(([key, before]) => ({ id: key.slice(beforeTag.length), before }))
    .sort(bySubnet);

/** Undo records rebuilt from tags alone, one per run and target. */
const discoverAll = async (
  fault: Pick<NetworkFault<z.ZodType>, 'name' | 'layer'>,
  runId: string | undefined,
  context: FaultContext,
): Promise<readonly Undo[]> => {
  const found = new Map<string, Undo>();
  for (const { name: region } of context.environment.regions) {
    for (const tags of await leftInRegion(fault, region, context)) {
      const { [runTag]: run, [targetTag]: target } = tags;
      if (run === undefined || target === undefined || (runId !== undefined && run !== runId)) continue;
      const key = `${run} ${target}`;
      const undo = found.get(key) ?? { run, target, parts: [] };
      found.set(key, undo);
      if (!undo.parts.some((part) => part.region === region)) undo.parts.push({ region, subnets: beforeOf(tags) });
    }
  }
  return [...found.values()];
};

const permissionsFor = (layer: Layer, environment: Environment): readonly Permission[] => {
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
    ...['fis:ListExperiments', 'fis:ListExperimentTemplates', 'ec2:DescribeSubnets', ...layers[layer].reads].map(
      (one) => aws(one, '*'),
    ),
    aws('iam:PassRole', environment.aws.experimentRole),
  ];
};

/**
 * A fault that AWS FIS carries out on subnets. Each region involved gets one experiment, tagged with the run, the
 * target and what every subnet had before, so that it can be stopped and checked from the tags alone. FIS ends it by
 * itself after its duration, or when the stop alarm of the region fires.
 */
export const networkFault = <Params extends z.ZodType>(fault: NetworkFault<Params>): Fault => {
  type Params_ = z.output<Params>;
  const { name } = fault;

  const located = async (params: Params_, context: FaultContext): Promise<Params_> =>
    fault.locate === undefined ? params : await fault.locate(params, context);

  const prepareAll = async ({ undo }: Planned<Undo>, given: Params_, context: FaultContext): Promise<string[]> => {
    const { target, parts } = fault.spec(await located(given, context), context.environment);
    if (target !== undo.target)
      throw refused(`${undo.target} was planned, and now it would be ${target}`, 'Plan again.');
    return await Promise.all(
      undo.parts.map((part, index) => {
        const spec = parts[index];
        if (spec === undefined || spec.region !== part.region) throw refused(`${undo.target} changed`, 'Plan again.');
        return preparePart(fault, undo, part, spec, context);
      }),
    );
  };

  return defineFault({
    name,
    summary: fault.summary,
    params: fault.params,
    undo: undoSchema,
    expiry:
      'the duration of the FIS experiment, which puts the subnets back by itself; the stop alarm; the safety lever',
    permissions: (_params, environment) => [...permissionsFor(fault.layer, environment), ...(fault.permissions ?? [])],

    async plan(given, context) {
      const params = await located(given, context);
      const { target, parts } = fault.spec(params, context.environment);
      const undo: Undo = {
        run: context.runId,
        target,
        parts: await Promise.all(parts.map((part) => planPart(fault, part, context))),
      };
      return [{ target, undo, blast: await fault.blast(params, context) }];
    },

    async prepare(planned, params, context) {
      await prepareAll(planned, params, context);
    },

    async inject(planned, params, context) {
      const { undo } = planned;
      const prepared = await Promise.all(undo.parts.map(({ region }) => templatesOf(name, undo, region, context)));
      const ids = prepared.every((templates) => templates.length === 1)
        ? prepared.flatMap((templates) => templates.map(({ id }) => id))
        : await prepareAll(planned, params, context);
      // All regions at once, and all of them attempted: which were begun is seen from the tags.
      const started = await Promise.allSettled(
        undo.parts.map((part, index) => startPart(name, undo, part, ids[index] ?? '', context)),
      );
      for (const result of started) if (result.status === 'rejected') throw result.reason;
    },

    async bites({ undo }, context) {
      const evidence = await Promise.all(undo.parts.map((part) => evidenceOf(fault, undo, part, context)));
      return evidence.includes(undefined) ? undefined : evidence.join('; ');
    },

    async revert(undo, context) {
      const reverted = await Promise.allSettled(undo.parts.map((part) => revertPart(name, undo, part, context)));
      for (const result of reverted) if (result.status === 'rejected') throw result.reason;
    },

    isReverted: async (undo, context) =>
      worst(await Promise.all(undo.parts.map((part) => stateOfPart(fault, undo, part, context)))),

    discover: (runId, context) => discoverAll(fault, runId, context),
  });
};
