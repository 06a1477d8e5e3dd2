import { AwsError } from './aws-error.ts';

/** The request members of FIS (service model 2020-12-01) that the lab reads, with their bounds. */
type Shape =
  | { readonly kind: 'text'; readonly min: number; readonly max: number; readonly oneOf?: readonly string[] }
  | { readonly kind: 'integer' }
  | { readonly kind: 'list'; readonly item: Shape; readonly max: number }
  | { readonly kind: 'map'; readonly keyMax: number; readonly value: Shape; readonly max: number }
  | { readonly kind: 'structure'; readonly required: Shapes; readonly optional: Shapes };
type Shapes = Readonly<Record<string, Shape>>;

const text = (max: number, min = 1): Shape => ({ kind: 'text', min, max });
const oneOf = (...values: string[]): Shape => ({ kind: 'text', min: 1, max: 128, oneOf: values });
const list = (item: Shape, max: number): Shape => ({ kind: 'list', item, max });
const map = (keyMax: number, value: Shape, max = 1000): Shape => ({ kind: 'map', keyMax, value, max });
const structure = (required: Shapes, optional: Shapes = {}): Shape => ({ kind: 'structure', required, optional });

const arn = text(2048, 20);
const tags = map(128, text(256, 0), 50);

const target = structure(
  { resourceType: text(128), selectionMode: text(64) },
  {
    resourceArns: list(arn, 5),
    resourceTags: tags,
    filters: list(structure({ path: text(256), values: list(text(128), 100) }), 100),
    parameters: map(64, text(1024)),
  },
);

const action = structure(
  { actionId: text(128) },
  {
    description: text(512),
    parameters: map(64, text(1024)),
    targets: map(64, text(64)),
    startAfter: list(text(64), 20),
  },
);

const stopConditions = list(structure({ source: text(64) }, { value: arn }), 100);
const logConfiguration = structure(
  { logSchemaVersion: { kind: 'integer' } },
  {
    cloudWatchLogsConfiguration: structure({ logGroupArn: arn }),
    s3Configuration: structure({ bucketName: text(63, 3) }, { prefix: text(700) }),
  },
);

const emptyTargets = oneOf('fail', 'skip');

export const requestShapes = {
  CreateExperimentTemplate: structure(
    {
      clientToken: text(1024),
      description: text(512),
      stopConditions,
      actions: map(64, action),
      roleArn: arn,
    },
    {
      targets: map(64, target),
      tags,
      logConfiguration,
      experimentOptions: structure(
        {},
        { accountTargeting: oneOf('single-account', 'multi-account'), emptyTargetResolutionMode: emptyTargets },
      ),
    },
  ),
  StartExperiment: structure(
    { clientToken: text(1024), experimentTemplateId: text(64) },
    { experimentOptions: structure({}, { actionsMode: oneOf('skip-all', 'run-all') }), tags },
  ),
  UpdateSafetyLeverState: structure({
    state: structure({ status: oneOf('engaged', 'disengaged'), reason: text(512) }),
  }),
  TagResource: structure({ tags }),
} satisfies Shapes;

const invalid = (message: string): AwsError => new AwsError(400, 'ValidationException', message);

const violation = (path: string, what: string): AwsError =>
  invalid(`1 validation error detected: Value at '${path}' failed to satisfy constraint: ${what}`);

const checkText = (shape: Extract<Shape, { kind: 'text' }>, value: unknown, path: string): void => {
  if (typeof value !== 'string') throw violation(path, 'Member must be a string');
  if (value.length < shape.min) {
    throw violation(path, `Member must have length greater than or equal to ${shape.min}`);
  }
  if (value.length > shape.max) throw violation(path, `Member must have length less than or equal to ${shape.max}`);
  if (shape.min > 0 && !/\S/.test(value)) {
    throw violation(path, 'Member must satisfy regular expression pattern: [\\S]+');
  }
  if (shape.oneOf !== undefined && !shape.oneOf.includes(value)) {
    throw violation(path, `Member must satisfy enum value set: [${shape.oneOf.join(', ')}]`);
  }
};

const checkList = (shape: Extract<Shape, { kind: 'list' }>, value: unknown, path: string): void => {
  if (!Array.isArray(value)) throw violation(path, 'Member must be a list');
  if (value.length > shape.max) throw violation(path, `Member must have length less than or equal to ${shape.max}`);
  for (const [index, item] of value.entries()) checkShape(shape.item, item, `${path}.${index + 1}.member`);
};

const entriesOf = (value: unknown, path: string): readonly (readonly [string, unknown])[] => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw violation(path, 'Member must be a structure');
  }
  return Object.entries(value);
};

const checkMap = (shape: Extract<Shape, { kind: 'map' }>, value: unknown, path: string): void => {
  const entries = entriesOf(value, path);
  if (entries.length > shape.max) throw violation(path, `Member must have length less than or equal to ${shape.max}`);
  for (const [key, one] of entries) {
    checkText({ kind: 'text', min: 1, max: shape.keyMax }, key, `${path}.key`);
    checkShape(shape.value, one, `${path}.${key}.member`);
  }
};

const checkStructure = (shape: Extract<Shape, { kind: 'structure' }>, value: unknown, path: string): void => {
  const members = new Map(entriesOf(value, path));
  const at = (member: string): string => (path === '' ? member : `${path}.${member}`);
  for (const [member, inner] of Object.entries(shape.required)) {
    const one = members.get(member);
    if (one === undefined || one === null) throw violation(at(member), 'Member must not be null');
    checkShape(inner, one, at(member));
  }
  for (const [member, one] of members) {
    if (Object.hasOwn(shape.required, member)) continue;
    const inner = Object.hasOwn(shape.optional, member) ? shape.optional[member] : undefined;
    if (inner === undefined) throw invalid(`Unknown member ${at(member)}`);
    checkShape(inner, one, at(member));
  }
};

/** Throws ValidationException unless the value has exactly this shape; a member nobody knows is refused too. */
export const checkShape = (shape: Shape, value: unknown, path: string): void => {
  if (shape.kind === 'text') checkText(shape, value, path);
  else if (shape.kind === 'list') checkList(shape, value, path);
  else if (shape.kind === 'map') checkMap(shape, value, path);
  else if (shape.kind === 'structure') checkStructure(shape, value, path);
  else if (!Number.isInteger(value)) throw violation(path, 'Member must be an integer');
};
