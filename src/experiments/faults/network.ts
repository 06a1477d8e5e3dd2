import { z } from 'zod';
import type { FisTemplate, Subnet } from '../../adapters/ports.ts';
import type { Environment } from '../../core/environment.ts';
import type { RevertState } from '../../core/undo.ts';
import {
  type BlastRadius,
  defineFault,
  type Fault,
  type FaultContext,
  type Permission,
  type Planned,
} from '../fault.ts';
import {
  assertLever,
  endExperiments,
  environmentTag,
  experimentsOf,
  type FisUse,
  faultTag,
  fisPermissions,
  isActive,
  isoDuration,
  prepareTemplate,
  refused,
  runningExperiment,
  runTag,
  startTemplate,
  tagsOfUse,
  targetTag,
  templateBase,
  templatesOf,
} from './fis.ts';
import { type Layer, layers, type SubnetNow } from './network-layer.ts';

/** What faults on the network by AWS FIS have in common: one FIS experiment per region, on the subnets of its zones. */

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

const beforeTag = 'blackstart:before:';

/** FIS takes at most 5 ARNs per target, and 20 actions per template, 10 of them at once. */
const arnsMax = 5;
const actionsMax = 10;
const tagsMax = 50;
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

const useOf = (fault: string, { run, target }: Undo, region: string): FisUse => ({ fault, run, target, region });

const tagsFor = (use: FisUse, part: Part): Readonly<Record<string, string>> => ({
  ...tagsOfUse(use),
  ...Object.fromEntries(part.subnets.map(({ id, before }) => [`${beforeTag}${id}`, before])),
});

const chunked = <T>(items: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));

/** The FIS template of one region: every action on every five subnets. */
const templateFor = (
  use: FisUse,
  part: Part,
  arns: readonly string[],
  actions: NetworkSpec['parts'][number]['actions'],
  context: FaultContext,
): FisTemplate => {
  const tags = tagsFor(use, part);
  if (Object.keys(tags).length > tagsMax) {
    throw refused(`${use.target} has more subnets in ${part.region} than FIS tags can name`, 'Tag fewer subnets.');
  }
  const groups = chunked(arns, arnsMax).map((some, index) => [`subnets-${index + 1}`, some] as const);
  const all = groups.flatMap(([group]) => actions.map((action) => ({ group, action })));
  if (all.length > actionsMax) {
    throw refused(
      `${use.fault} on ${arns.length} subnets of ${part.region} needs ${all.length} FIS actions, at most ${actionsMax} run`,
      'Name fewer zones or regions.',
    );
  }
  return {
    ...templateBase(use, tags, context),
    targets: Object.fromEntries(
      groups.map(([group, resourceArns]) => [
        group,
        { resourceType: 'aws:ec2:subnet', resourceArns, selectionMode: 'ALL' },
      ]),
    ),
    actions: Object.fromEntries(
      all.map(({ group, action: { actionId, parameters } }, index) => [
        `action-${index + 1}`,
        {
          actionId,
          parameters: { ...parameters, duration: isoDuration(context.expiryMs) },
          targets: { Subnets: group },
        },
      ]),
    ),
  };
};

/** Nothing may have changed since the plan; and FIS must choose exactly the planned subnets. */
const preparePart = async <Params extends z.ZodType>(
  fault: NetworkFault<Params>,
  undo: Undo,
  part: Part,
  spec: NetworkSpec['parts'][number],
  context: FaultContext,
): Promise<string> => {
  const now = await planPart(fault, spec, context);
  if (JSON.stringify(now) !== JSON.stringify(part)) {
    throw refused(`the subnets of ${undo.target} changed since they were planned`, 'Plan again.');
  }
  const arns = (await subnetsOf(part.region, spec.zones, context)).map(({ arn }) => arn);
  const use = useOf(fault.name, undo, part.region);
  const template = templateFor(use, part, arns, spec.actions, context);
  return await prepareTemplate(use, template, { arns, noun: 'subnets' }, context);
};

/** What shows that the part bit; `undefined` while it does not. */
const evidenceOf = async (
  fault: Pick<NetworkFault<z.ZodType>, 'name' | 'layer'>,
  undo: Undo,
  part: Part,
  context: FaultContext,
): Promise<string | undefined> => {
  const running = await runningExperiment(useOf(fault.name, undo, part.region), context);
  if (running === undefined) return undefined;
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

const stateOfPart = async (
  fault: Pick<NetworkFault<z.ZodType>, 'name' | 'layer'>,
  undo: Undo,
  part: Part,
  context: FaultContext,
): Promise<RevertState> => {
  const { read, noun } = layers[fault.layer];
  const experiments = await experimentsOf(useOf(fault.name, undo, part.region), context);
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

const permissionsFor = (layer: Layer, environment: Environment): readonly Permission[] => [
  ...fisPermissions(environment),
  ...['ec2:DescribeSubnets', ...layers[layer].reads].map(
    (action): Permission => ({ provider: 'aws', action, resource: '*' }),
  ),
];

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
      const prepared = await Promise.all(
        undo.parts.map(({ region }) => templatesOf(useOf(name, undo, region), context)),
      );
      const ids = prepared.every((templates) => templates.length === 1)
        ? prepared.flatMap((templates) => templates.map(({ id }) => id))
        : await prepareAll(planned, params, context);
      // All regions at once, and all of them attempted: which were begun is seen from the tags.
      const started = await Promise.allSettled(
        undo.parts.map((part, index) => {
          const use = useOf(name, undo, part.region);
          return startTemplate(use, ids[index] ?? '', tagsFor(use, part), context);
        }),
      );
      for (const result of started) if (result.status === 'rejected') throw result.reason;
    },

    async bites({ undo }, context) {
      const evidence = await Promise.all(undo.parts.map((part) => evidenceOf(fault, undo, part, context)));
      return evidence.includes(undefined) ? undefined : evidence.join('; ');
    },

    async revert(undo, context) {
      const reverted = await Promise.allSettled(
        undo.parts.map(({ region }) => endExperiments(useOf(name, undo, region), context)),
      );
      for (const result of reverted) if (result.status === 'rejected') throw result.reason;
    },

    isReverted: async (undo, context) =>
      worst(await Promise.all(undo.parts.map((part) => stateOfPart(fault, undo, part, context)))),

    discover: (runId, context) => discoverAll(fault, runId, context),
  });
};
