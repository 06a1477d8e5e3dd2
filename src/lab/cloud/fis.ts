import type { Clock } from '../../core/clock.ts';
import { AwsError } from './aws-error.ts';
import type { ReplicationPause } from './fis-actions.ts';
import { type ActionDescription, actionCatalogue } from './fis-catalogue.ts';
import { type EngineContext, type Experiment, isTerminal, runExperiment, stopExperiment } from './fis-experiments.ts';
import { checkShape, requestShapes } from './fis-shapes.ts';
import {
  experimentJson,
  experimentSummary,
  newRegionState,
  type RegionState,
  type Template,
  templateJson,
  templateSummary,
} from './fis-state.ts';
import { checkTemplate, type TemplateRequest } from './fis-template.ts';
import { newFisId } from './names.ts';
import { type AwsRequest, jsonResponse, pageOf, refuseJson, type Service } from './protocol.ts';
import type { RegionWorld, Tags, World } from './world.ts';

export interface FisDependencies {
  readonly world: World;
  readonly clock: Clock;
  readonly experimentRole: string;
  real(documentedMs: number): number;
  resources(region: RegionWorld, resourceType: string): ReturnType<EngineContext['resources']>;
  rebootDatabase(region: RegionWorld, arn: string, forceFailover: boolean): Promise<void>;
  readonly sendCommand: EngineContext['action']['sendCommand'];
  pauseReplication(region: RegionWorld, request: ReplicationPause): Promise<() => Promise<void>>;
  /** Told about every state an experiment enters. */
  onState(experiment: Experiment): void;
}

export interface Fis extends Service {
  /** Stops what runs under this alarm: it went into ALARM. */
  alarmFired(region: string, alarmArn: string): void;
}

interface Call {
  readonly request: AwsRequest;
  readonly region: RegionWorld;
  readonly state: RegionState;
  /** Decoded variable parts of the path. */
  readonly parts: readonly string[];
  readonly dependencies: FisDependencies;
  body(): unknown;
}

type Operation = (call: Call) => unknown;

const templatesMax = 500;
const activeMax = 5;

const notFound = (what: string, id: string): AwsError =>
  new AwsError(404, 'ResourceNotFoundException', `${what} with ID ${id} not found.`);
const overQuota = (message: string): AwsError => new AwsError(402, 'ServiceQuotaExceededException', message);

const bodyOf = (request: AwsRequest) => (): unknown => {
  try {
    return JSON.parse(request.body.toString('utf8') || '{}');
  } catch {
    throw new AwsError(400, 'ValidationException', 'The request body is not valid JSON.');
  }
};

const arnOf = ({ region, dependencies }: Call, kind: string, id: string): string =>
  `arn:aws:fis:${region.name}:${dependencies.world.account}:${kind}/${id}`;

const required = <T>(items: ReadonlyMap<string, T>, what: string, id: string): T => {
  const found = items.get(id);
  if (found === undefined) throw notFound(what, id);
  return found;
};

/** Same token and body: what it made before. Same token, another body: a conflict. */
const replayed = (state: RegionState, kind: string, token: string, body: string): string | undefined => {
  const before = state.tokens.get(`${kind} ${token}`);
  if (before === undefined) return undefined;
  if (before.body === body) return before.id;
  throw new AwsError(409, 'ConflictException', 'The client token was already used with different parameters.');
};

const paged = ({ request }: Call, name: string, items: readonly unknown[]): unknown => {
  const max = Number(request.query.get('maxResults') ?? 100);
  if (!Number.isInteger(max) || max < 1 || max > 100) {
    throw new AwsError(400, 'ValidationException', "Value at 'maxResults' must be between 1 and 100.");
  }
  const page = pageOf(items, max, request.query.get('nextToken') ?? undefined);
  if (page === undefined) throw new AwsError(400, 'ValidationException', 'The nextToken is not valid.');
  return { [name]: page.items, nextToken: page.next };
};

const createTemplate: Operation = (call) => {
  const { state, dependencies } = call;
  const request: TemplateRequest = checkTemplate(call.body());
  const body = JSON.stringify(request);
  const before = replayed(state, 'template', request.clientToken, body);
  if (before !== undefined) return { experimentTemplate: templateJson(required(state.templates, 'Template', before)) };
  if (state.templates.size >= templatesMax) throw overQuota(`At most ${templatesMax} templates are allowed.`);
  const id = newFisId('EXT');
  const template: Template = {
    id,
    arn: arnOf(call, 'experiment-template', id),
    description: request.description,
    roleArn: request.roleArn,
    targets: request.targets ?? {},
    actions: request.actions,
    stopConditions: request.stopConditions,
    tags: { ...request.tags },
    logConfiguration: request.logConfiguration,
    options: {
      accountTargeting: request.experimentOptions?.accountTargeting ?? 'single-account',
      emptyTargetResolutionMode: request.experimentOptions?.emptyTargetResolutionMode ?? 'fail',
    },
    creationTime: dependencies.clock.nowMs() / 1000,
  };
  state.templates.set(id, template);
  state.tokens.set(`template ${request.clientToken}`, { body, id });
  return { experimentTemplate: templateJson(template) };
};

const deleteTemplate: Operation = ({ state, parts: [id = ''] }) => {
  const template = required(state.templates, 'Experiment template', id);
  state.templates.delete(id);
  for (const [token, { id: made }] of state.tokens) if (made === id) state.tokens.delete(token);
  return { experimentTemplate: templateJson(template) };
};

const engineContext = ({ region, state, dependencies }: Call): EngineContext => ({
  region,
  clock: dependencies.clock,
  account: dependencies.world.account,
  experimentRole: dependencies.experimentRole,
  real: dependencies.real,
  isLeverEngaged: () => state.lever.status !== 'disengaged',
  resources: (resourceType) => dependencies.resources(region, resourceType),
  action: {
    world: dependencies.world,
    region,
    rebootDatabase: (arn, forceFailover) => dependencies.rebootDatabase(region, arn, forceFailover),
    sendCommand: dependencies.sendCommand,
    pauseReplication: (request) => dependencies.pauseReplication(region, request),
  },
  onState: dependencies.onState,
});

interface StartRequest {
  readonly clientToken: string;
  readonly experimentTemplateId: string;
  readonly experimentOptions?: { readonly actionsMode?: 'run-all' | 'skip-all' };
  readonly tags?: Tags;
}

const newExperiment = (call: Call, template: Template, request: StartRequest): Experiment => {
  const id = newFisId('EXP');
  const nowSeconds = call.dependencies.clock.nowMs() / 1000;
  return {
    id,
    arn: arnOf(call, 'experiment', id),
    experimentTemplateId: template.id,
    roleArn: template.roleArn,
    targets: template.targets,
    actions: Object.fromEntries(
      Object.entries(template.actions).map(([name, action]) => [
        name,
        { ...action, state: { status: 'pending' as const, reason: 'Initial state' } },
      ]),
    ),
    stopConditions: template.stopConditions,
    tags: { ...request.tags },
    options: { ...template.options, actionsMode: request.experimentOptions?.actionsMode ?? 'run-all' },
    creationTime: nowSeconds,
    startTime: nowSeconds,
    state: { status: 'pending', reason: 'Experiment is pending.' },
    resolved: [],
    stop: new AbortController(),
  };
};

const startExperiment: Operation = (call) => {
  const { state, dependencies } = call;
  const value = call.body();
  checkShape(requestShapes.StartExperiment, value, '');
  const request = value as StartRequest;
  const body = JSON.stringify(request);
  const before = replayed(state, 'experiment', request.clientToken, body);
  if (before !== undefined) return { experiment: experimentJson(required(state.experiments, 'Experiment', before)) };
  const template = required(state.templates, 'Experiment template', request.experimentTemplateId);
  if ([...state.experiments.values()].filter((one) => !isTerminal(one)).length >= activeMax) {
    throw overQuota(`At most ${activeMax} experiments may be active.`);
  }
  const experiment = newExperiment(call, template, request);
  state.experiments.set(experiment.id, experiment);
  state.tokens.set(`experiment ${request.clientToken}`, { body, id: experiment.id });
  dependencies.onState(experiment);
  void runExperiment(experiment, engineContext(call));
  return { experiment: experimentJson(experiment) };
};

const stopOne: Operation = ({ state, parts: [id = ''], dependencies }) => {
  const experiment = required(state.experiments, 'Experiment', id);
  stopExperiment(experiment, 'Experiment halted by user request.', dependencies.onState);
  return { experiment: experimentJson(experiment) };
};

const listExperiments: Operation = (call) => {
  const template = call.request.query.get('experimentTemplateId');
  const found = [...call.state.experiments.values()]
    .filter((experiment) => template === null || experiment.experimentTemplateId === template)
    .reverse();
  return paged(call, 'experiments', found.map(experimentSummary));
};

const listResolved: Operation = (call) => {
  const experiment = required(call.state.experiments, 'Experiment', call.parts[0] ?? '');
  const name = call.request.query.get('targetName');
  const found = experiment.resolved.filter(({ targetName }) => name === null || targetName === name);
  return paged(
    call,
    'resolvedTargets',
    found.map(({ resourceType, targetName, arn }) => ({ resourceType, targetName, targetInformation: { arn } })),
  );
};

const leverJson = (call: Call): unknown => ({
  safetyLever: { id: 'default', arn: arnOf(call, 'safety-lever', 'default'), state: call.state.lever },
});

const requireLever = ({ parts: [id = ''] }: Call): void => {
  if (id !== 'default') throw notFound('Safety lever', id);
};

const getLever: Operation = (call) => {
  requireLever(call);
  return leverJson(call);
};

/** Engaging stops what runs; the lever is `engaging` until all of it has stopped. */
const updateLever: Operation = (call) => {
  const { state, dependencies } = call;
  requireLever(call);
  const body = call.body();
  checkShape(requestShapes.UpdateSafetyLeverState, body, '');
  const wanted = (body as { readonly state: { readonly status: 'engaged' | 'disengaged'; readonly reason: string } })
    .state;
  if (state.lever.status === 'engaging') {
    throw new AwsError(409, 'ConflictException', 'The safety lever is engaging.');
  }
  const active = [...state.experiments.values()].filter((experiment) => !isTerminal(experiment));
  if (wanted.status === 'disengaged' || active.length === 0) {
    state.lever = { ...wanted };
    return leverJson(call);
  }
  state.lever = { status: 'engaging', reason: wanted.reason };
  for (const experiment of active) {
    stopExperiment(experiment, 'Experiment halted by the safety lever.', dependencies.onState);
  }
  void whenStopped(active, dependencies.clock).then(() => {
    state.lever = { ...wanted };
  });
  return leverJson(call);
};

const lookEveryMs = 10;

const whenStopped = async (experiments: readonly Experiment[], clock: Clock): Promise<void> => {
  while (!experiments.every(isTerminal)) await clock.sleep(lookEveryMs);
};

const actionJson = (call: Call, id: string, action: ActionDescription): unknown => ({
  id,
  arn: `arn:aws:fis:${call.region.name}::action/${id}`,
  description: action.description,
  parameters: Object.fromEntries(
    Object.entries(action.parameters).map(([name, one]) => [
      name,
      { description: one.description, required: one.required },
    ]),
  ),
  targets: Object.fromEntries(Object.entries(action.targets).map(([slot, resourceType]) => [slot, { resourceType }])),
  tags: {},
});

const getAction: Operation = (call) => {
  const id = call.parts[0] ?? '';
  const action = Object.hasOwn(actionCatalogue, id) ? actionCatalogue[id] : undefined;
  if (action === undefined) throw notFound('Action', id);
  return { action: actionJson(call, id, action) };
};

const listActions: Operation = (call) =>
  paged(
    call,
    'actions',
    Object.entries(actionCatalogue).map(([id, action]) => actionJson(call, id, action)),
  );

const tagsOfArn = ({ state, parts: [arn = ''] }: Call): Tags => {
  const found = [...state.templates.values(), ...state.experiments.values()].find((one) => one.arn === arn);
  if (found === undefined) throw notFound('Resource', arn);
  return found.tags;
};

const tagResource: Operation = (call) => {
  const body = call.body();
  checkShape(requestShapes.TagResource, body, '');
  Object.assign(tagsOfArn(call), (body as { readonly tags: Tags }).tags);
  return {};
};

const untagResource: Operation = (call) => {
  const tags = tagsOfArn(call);
  for (const key of call.request.query.getAll('tagKeys')) delete tags[key];
  return {};
};

/** `*` is a variable part of the path. */
const routes: readonly (readonly [string, Operation])[] = [
  ['POST /experimentTemplates', createTemplate],
  ['GET /experimentTemplates', (call) => paged(call, 'experimentTemplates', listTemplates(call))],
  ['GET /experimentTemplates/*', ({ state, parts: [id = ''] }) => getTemplate(state, id)],
  ['DELETE /experimentTemplates/*', deleteTemplate],
  ['POST /experiments', startExperiment],
  ['GET /experiments', listExperiments],
  ['GET /experiments/*', ({ state, parts: [id = ''] }) => getExperiment(state, id)],
  ['DELETE /experiments/*', stopOne],
  ['GET /experiments/*/resolvedTargets', listResolved],
  ['GET /actions', listActions],
  ['GET /actions/*', getAction],
  ['GET /safetyLevers/*', getLever],
  ['PATCH /safetyLevers/*/state', updateLever],
  ['GET /tags/*', (call) => ({ tags: tagsOfArn(call) })],
  ['POST /tags/*', tagResource],
  ['DELETE /tags/*', untagResource],
];

const listTemplates = ({ state }: Call): readonly unknown[] => [...state.templates.values()].map(templateSummary);

const getTemplate = (state: RegionState, id: string): unknown => ({
  experimentTemplate: templateJson(required(state.templates, 'Experiment template', id)),
});

const getExperiment = (state: RegionState, id: string): unknown => ({
  experiment: experimentJson(required(state.experiments, 'Experiment', id)),
});

const compiled = routes.map(([route, operation]) => {
  const [method = '', path = ''] = route.split(' ');
  return { method, pattern: path.split('/'), operation };
});

const matchRoute = (method: string, path: string): { operation: Operation; parts: readonly string[] } => {
  const segments = path.split('/');
  for (const { method: wanted, pattern, operation } of compiled) {
    if (wanted !== method || pattern.length !== segments.length) continue;
    if (!pattern.every((part, index) => part === '*' || part === segments[index])) continue;
    const parts = segments.filter((_, index) => pattern[index] === '*').map((part) => decodeURIComponent(part));
    return { operation, parts };
  }
  throw new AwsError(404, 'UnknownOperationException', `This lab does not have ${method} ${path}.`);
};

/** Fault Injection Service (restJson1, API version 2020-12-01): it really carries out its actions on the lab. */
export const createFis = (dependencies: FisDependencies): Fis => {
  const states = new Map<string, RegionState>(
    [...dependencies.world.regions.keys()].map((name) => [name, newRegionState()]),
  );
  return {
    refuse: refuseJson,
    async answer(request) {
      const region = dependencies.world.regions.get(request.region);
      const state = states.get(request.region);
      if (region === undefined || state === undefined) {
        throw new AwsError(400, 'ValidationException', `FIS is not available in ${request.region}.`);
      }
      const { operation, parts } = matchRoute(request.method, request.path);
      return jsonResponse(await operation({ request, region, state, parts, dependencies, body: bodyOf(request) }));
    },
    alarmFired(region, alarmArn) {
      for (const experiment of states.get(region)?.experiments.values() ?? []) {
        if (experiment.stopConditions.some(({ value }) => value === alarmArn)) {
          stopExperiment(experiment, 'Experiment halted by stop condition.', dependencies.onState);
        }
      }
    },
  };
};
