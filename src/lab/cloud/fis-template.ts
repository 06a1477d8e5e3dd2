import { AwsError } from './aws-error.ts';
import { type ActionDescription, actionCatalogue, isoDurationMs } from './fis-catalogue.ts';
import { checkShape, requestShapes } from './fis-shapes.ts';
import type { Tags } from './world.ts';

export interface TemplateTarget {
  readonly resourceType: string;
  readonly selectionMode: string;
  readonly resourceArns?: readonly string[];
  readonly resourceTags?: Tags;
  readonly filters?: readonly { readonly path: string; readonly values: readonly string[] }[];
  readonly parameters?: Readonly<Record<string, string>>;
}

export interface TemplateAction {
  readonly actionId: string;
  readonly description?: string;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly targets?: Readonly<Record<string, string>>;
  readonly startAfter?: readonly string[];
}

export interface StopCondition {
  readonly source: string;
  readonly value?: string;
}

/** The body of CreateExperimentTemplate, checked. */
export interface TemplateRequest {
  readonly clientToken: string;
  readonly description: string;
  readonly stopConditions: readonly StopCondition[];
  readonly targets?: Readonly<Record<string, TemplateTarget>>;
  readonly actions: Readonly<Record<string, TemplateAction>>;
  readonly roleArn: string;
  readonly tags?: Tags;
  readonly logConfiguration?: unknown;
  readonly experimentOptions?: {
    readonly accountTargeting?: 'single-account' | 'multi-account';
    readonly emptyTargetResolutionMode?: 'fail' | 'skip';
  };
}

const actionsMax = 20;
const parallelMax = 10;
const stopConditionsMax = 5;

const invalid = (message: string): AwsError => new AwsError(400, 'ValidationException', message);
const overQuota = (message: string): AwsError => new AwsError(402, 'ServiceQuotaExceededException', message);

const checkTarget = (name: string, target: TemplateTarget): void => {
  const { resourceArns, resourceTags, filters, parameters } = target;
  const byArn = resourceArns !== undefined && resourceArns.length > 0;
  const byTag = resourceTags !== undefined && Object.keys(resourceTags).length > 0;
  const hasFilters = filters !== undefined && filters.length > 0;
  if (byArn && byTag) {
    throw invalid(`You cannot specify both resource ARNs and resource tags for target ${name}.`);
  }
  if (byArn && hasFilters) throw invalid(`You cannot specify both resource ARNs and filters for target ${name}.`);
  if (target.resourceType === 'aws:s3:bucket' && (byArn || hasFilters || parameters !== undefined)) {
    throw invalid(`Target ${name} of type aws:s3:bucket can be selected by resource tags alone.`);
  }
  if (!byArn && !byTag && parameters === undefined) {
    throw invalid(`Target ${name} must specify resource ARNs, resource tags or parameters.`);
  }
  const known = Object.values(actionCatalogue).flatMap((action) => Object.values(action.targets));
  if (!known.includes(target.resourceType)) {
    throw invalid(`The target resource type ${target.resourceType} of target ${name} is not supported.`);
  }
  if (!/^(ALL|COUNT\([1-9]\d{0,4}\)|PERCENT\((100|[1-9]\d?)\))$/.test(target.selectionMode)) {
    throw invalid(`Target ${name} has an invalid selection mode: ${target.selectionMode}`);
  }
};

const checkParameters = (name: string, action: TemplateAction, description: ActionDescription): void => {
  const given = action.parameters ?? {};
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(description.parameters, key)) {
      throw invalid(`Unexpected parameter "${key}" found in action ${name}.`);
    }
  }
  for (const [key, { required, duration, oneOf }] of Object.entries(description.parameters)) {
    const value = given[key];
    if (value === undefined) {
      if (required) throw invalid(`Action ${name} is missing the required parameter "${key}".`);
      continue;
    }
    if (oneOf !== undefined && !oneOf.includes(value)) {
      throw invalid(`Action ${name} has an invalid value for parameter "${key}": ${value}`);
    }
    if (duration === undefined) continue;
    const ms = isoDurationMs(value);
    if (ms === undefined || ms < duration.minMs || ms > duration.maxMs) {
      throw invalid(`Action ${name} has an invalid value for parameter "${key}": ${value}`);
    }
  }
  if ((given['scope'] === 'prefix-list') !== (given['prefixListIdentifier'] !== undefined)) {
    throw invalid(`Action ${name}: prefixListIdentifier goes with scope prefix-list, and with no other.`);
  }
};

const checkAction = (name: string, action: TemplateAction, request: TemplateRequest): void => {
  const description = Object.hasOwn(actionCatalogue, action.actionId) ? actionCatalogue[action.actionId] : undefined;
  if (description === undefined) {
    throw new AwsError(404, 'ResourceNotFoundException', `Action with ID ${action.actionId} not found.`);
  }
  const slots = action.targets ?? {};
  for (const slot of Object.keys(slots)) {
    if (!Object.hasOwn(description.targets, slot))
      throw invalid(`Unexpected target "${slot}" found in action ${name}.`);
  }
  for (const [slot, type] of Object.entries(description.targets)) {
    const targetName = slots[slot];
    if (targetName === undefined) throw invalid(`Action ${name} is missing the required target "${slot}".`);
    const target = request.targets?.[targetName];
    if (target === undefined) throw invalid(`Action ${name} names the target ${targetName}, which is not defined.`);
    if (target.resourceType !== type) {
      throw invalid(`Target ${targetName} of action ${name} must be of type ${type}, not ${target.resourceType}.`);
    }
  }
  checkParameters(name, action, description);
  for (const before of action.startAfter ?? []) {
    if (!Object.hasOwn(request.actions, before))
      throw invalid(`Action ${name} starts after ${before}, which does not exist.`);
  }
};

/** Throws when actions wait for each other in a circle. */
const checkOrder = (actions: TemplateRequest['actions']): void => {
  const done = new Set<string>();
  for (let left = Object.keys(actions); left.length > 0; ) {
    const ready = left.filter((name) => (actions[name]?.startAfter ?? []).every((before) => done.has(before)));
    if (ready.length === 0) throw invalid(`Actions ${left.join(', ')} wait for each other.`);
    if (ready.length > parallelMax) throw overQuota(`At most ${parallelMax} actions may run in parallel.`);
    for (const name of ready) done.add(name);
    left = left.filter((name) => !done.has(name));
  }
};

const checkStopConditions = (conditions: readonly StopCondition[]): void => {
  if (conditions.length === 0) throw invalid('At least one stop condition must be specified.');
  if (conditions.length > stopConditionsMax)
    throw overQuota(`At most ${stopConditionsMax} stop conditions are allowed.`);
  for (const { source, value } of conditions) {
    if (source === 'none' && value === undefined) continue;
    const isAlarm =
      source === 'aws:cloudwatch:alarm' && /^arn:aws:cloudwatch:[a-z0-9-]+:\d{12}:alarm:.+$/.test(value ?? '');
    if (!isAlarm) throw invalid(`Invalid stop condition: source ${source}, value ${value ?? '(none)'}`);
  }
};

/** Checks the body of CreateExperimentTemplate as strictly as AWS does, and unknown members on top. */
export const checkTemplate = (body: unknown): TemplateRequest => {
  checkShape(requestShapes.CreateExperimentTemplate, body, '');
  const request = body as TemplateRequest;
  const names = Object.keys(request.actions);
  if (names.length === 0) throw invalid('At least one action must be specified.');
  if (names.length > actionsMax) throw overQuota(`At most ${actionsMax} actions are allowed.`);
  checkStopConditions(request.stopConditions);
  for (const [name, target] of Object.entries(request.targets ?? {})) checkTarget(name, target);
  for (const [name, action] of Object.entries(request.actions)) checkAction(name, action, request);
  checkOrder(request.actions);
  return request;
};
