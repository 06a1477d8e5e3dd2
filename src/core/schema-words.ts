import type { z } from 'zod';
import { nearestName } from './nearest.ts';

type Path = readonly PropertyKey[];

/** One thing that is wrong in a document: where, and a line that says what and what is allowed. */
export interface SchemaProblem {
  readonly path: Path;
  /** Points at the key itself rather than at its value. */
  readonly at: 'key' | 'value';
  readonly text: string;
}

const shownMax = 60;

/** A value as a message quotes it: short, on one line, printable. */
export const quoted = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > shownMax ? `${text.slice(0, shownMax)}…` : text;
};

/** `probes.chat.every`, `faults[0].with`; the document itself has no name. */
export const pathText = (path: Path): string => {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += text === '' ? String(step) : `.${String(step)}`;
  }
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
};

const placed = (path: Path, rest: string): string => {
  const where = pathText(path);
  return where === '' ? `the file ${rest}` : `${where} ${rest}`;
};

const inside = (path: Path): string => {
  const where = pathText(path);
  return where === '' ? '' : ` in ${where}`;
};

const valueAt = (value: unknown, path: Path): unknown => {
  let now: unknown = value;
  for (const step of path) {
    if (typeof now !== 'object' || now === null || !Object.hasOwn(now, step)) return undefined;
    now = (now as Record<PropertyKey, unknown>)[step];
  }
  return now;
};

type AnySchema = z.core.$ZodType;

/** Walks through what wraps a schema: optional, default, pipe, and the branch of a union that the value chose. */
const unwrap = (schema: AnySchema, value: unknown): AnySchema => {
  let now = schema;
  for (;;) {
    const def = (now as z.core.$ZodTypes)._zod.def;
    if ('innerType' in def) now = def.innerType;
    else if (def.type === 'pipe') now = def.in;
    else if (def.type === 'lazy') now = def.getter();
    else if (def.type === 'union') {
      const chosen = branchOf(def.options, value);
      if (chosen === undefined) return now;
      now = chosen;
    } else return now;
  }
};

/** The branch whose fixed keys (its discriminators) all match the value. */
const branchOf = (options: readonly AnySchema[], value: unknown): AnySchema | undefined => {
  if (typeof value !== 'object' || value === null) return undefined;
  const fits = (option: AnySchema): boolean => {
    const def = (unwrap(option, value) as z.core.$ZodTypes)._zod.def;
    if (def.type !== 'object') return Array.isArray(value) === (def.type === 'array');
    return Object.entries(def.shape).every(([key, field]) => {
      const fieldDef = (field as z.core.$ZodTypes)._zod.def;
      return fieldDef.type !== 'literal' || fieldDef.values.includes((value as Record<string, string>)[key] ?? '');
    });
  };
  return options.find(fits);
};

/** The schema that governs a path of the value; `undefined` where the path leaves what the schema knows. */
const schemaAt = (schema: AnySchema, value: unknown, path: Path): AnySchema | undefined => {
  let now = unwrap(schema, value);
  for (const [depth, step] of path.entries()) {
    const def = (now as z.core.$ZodTypes)._zod.def;
    let next: AnySchema | undefined;
    if (def.type === 'object') next = Object.hasOwn(def.shape, step) ? def.shape[String(step)] : undefined;
    else if (def.type === 'array') next = def.element;
    else if (def.type === 'record') next = def.valueType;
    if (next === undefined) return undefined;
    now = unwrap(next, valueAt(value, path.slice(0, depth + 1)));
  }
  return now;
};

const keysAt = (schema: AnySchema, value: unknown, path: Path): readonly string[] => {
  const def = (schemaAt(schema, value, path) as z.core.$ZodTypes | undefined)?._zod.def;
  return def?.type === 'object' ? Object.keys(def.shape) : [];
};

const words: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a block of keys',
  record: 'a block of keys',
  null: 'null',
};

const kindOf = (value: unknown): string => {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a block of keys';
  if (typeof value === 'string') return `the text ${quoted(value)}`;
  return quoted(typeof value === 'number' && !Number.isFinite(value) ? String(value) : value);
};

/** The description that a schema carries, for "what is expected here"; followed through what wraps it. */
const describedAs = (describe: Describe, schema: AnySchema, path: Path, value: unknown): string => {
  let now: AnySchema | undefined = schemaAt(schema, value, path.slice(0, -1));
  const def = (now as z.core.$ZodTypes | undefined)?._zod.def;
  if (def?.type === 'object') now = def.shape[String(path.at(-1))];
  else if (def?.type === 'array') now = def.element;
  else if (def?.type === 'record') now = def.valueType;
  for (let depth = 0; now !== undefined && depth < 8; depth += 1) {
    const text = describe(now);
    if (text !== undefined) return ` (${text.charAt(0).toLowerCase()}${text.slice(1).replace(/\.$/, '')})`;
    const inner: z.core.$ZodTypeDef = (now as z.core.$ZodTypes)._zod.def;
    now = 'innerType' in inner ? (inner.innerType as AnySchema) : undefined;
  }
  return '';
};

/** What a missing key should hold: its description, or the keys of the block that it is. */
const missingHint = (describe: Describe, schema: AnySchema, path: Path, root: unknown): string => {
  const keys = keysAt(schema, root, path);
  return keys.length > 0 ? `; it is a block of: ${listed(keys)}` : describedAs(describe, schema, path, root);
};

const listed = (allowed: readonly unknown[]): string => allowed.map(String).join(', ');

const suggestion = (name: unknown, allowed: readonly unknown[]): string => {
  const near = typeof name === 'string' ? nearestName(name, allowed.map(String)) : undefined;
  return near === undefined ? '' : `; did you mean "${near}"?`;
};

/** "must be X, not Y; did you mean Z? Allowed: …" for a value out of a fixed set. */
export const notAmong = (path: Path, value: unknown, allowed: readonly unknown[]): string => {
  if (allowed.length === 1) return placed(path, `must be ${quoted(allowed[0])}, not ${kindOf(value)}`);
  const near = suggestion(value, allowed);
  return `${placed(path, `does not allow ${kindOf(value)}`)}${near === '' ? ';' : near} allowed: ${listed(allowed)}`;
};

const unknownKey = (key: string, path: Path, allowed: readonly string[]): string => {
  const near = suggestion(key, allowed);
  const rest = allowed.length === 0 ? '' : `${near === '' ? ';' : near} allowed: ${listed(allowed)}`;
  return `unknown key ${quoted(key)}${inside(path)}${rest}`;
};

const count = (value: number | bigint, what: string): string => `${value} ${what}${Number(value) === 1 ? '' : 's'}`;

const sizeText = (issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig, path: Path, value: unknown): string => {
  const isSmall = issue.code === 'too_small';
  const bound = issue.code === 'too_small' ? issue.minimum : issue.maximum;
  const least = isSmall ? 'at least' : 'at most';
  if (issue.origin === 'array')
    return placed(path, `must have ${least} ${count(bound, 'entry').replace('entrys', 'entries')}`);
  if (issue.origin === 'string') {
    return isSmall && Number(bound) === 1
      ? placed(path, 'must not be empty')
      : placed(path, `must have ${least} ${count(bound, 'character')}, not ${quoted(value)}`);
  }
  const strict = isSmall ? 'more than' : 'less than';
  return placed(path, `must be ${issue.inclusive === false ? strict : least} ${bound}, not ${quoted(value)}`);
};

const typeText = (issue: z.core.$ZodIssueInvalidType, path: Path, value: unknown, described: string): string =>
  placed(path, `must be ${words[issue.expected] ?? issue.expected}${described}, not ${kindOf(value)}`);

/** The allowed discriminators of a union that none of them matched. */
const optionsOf = (issue: z.core.$ZodIssueInvalidUnion): readonly unknown[] | undefined =>
  'options' in issue ? issue.options : undefined;

const allowedOf = (issue: z.core.$ZodIssue): readonly unknown[] | undefined => {
  if (issue.code === 'invalid_value') return issue.values;
  return issue.code === 'invalid_union' ? optionsOf(issue) : undefined;
};

export type Describe = (schema: AnySchema) => string | undefined;

/** A union without a discriminator: the branch that came furthest speaks; otherwise all of them in one line. */
const unionProblems = (
  issue: z.core.$ZodIssueInvalidUnion,
  path: Path,
  root: unknown,
  schema: AnySchema,
  describe: Describe,
): readonly SchemaProblem[] => {
  const deep = issue.errors.find((branch) => branch.length > 0 && branch.every((one) => one.path.length > 0));
  if (deep !== undefined) {
    return deep.flatMap((one) =>
      wordIssue({ ...one, path: [...path, ...one.path] } as z.core.$ZodIssue, root, schema, describe),
    );
  }
  const value = valueAt(root, path);
  const issues = issue.errors.flat();
  const fixed = issues.flatMap((one): readonly unknown[] => (one.code === 'invalid_value' ? one.values : []));
  const reason = issues.find((one) => one.code === 'custom');
  if (reason !== undefined) {
    const near = suggestion(value, fixed);
    const other = near === '' ? `; or use ${fixed.map(quoted).join(' or ')}` : near;
    return [
      { path, at: 'value', text: `${placed(path, 'does not fit')}: ${reason.message}${fixed.length > 0 ? other : ''}` },
    ];
  }
  const types = issues.flatMap((one): readonly string[] => {
    if (one.code === 'invalid_type') return [words[one.expected] ?? one.expected];
    return one.code === 'invalid_value' ? [] : [one.message];
  });
  const choices = [...new Set([...fixed.map(quoted), ...types])];
  return [{ path, at: 'value', text: placed(path, `must be ${choices.join(' or ')}, not ${kindOf(value)}`) }];
};

const wordIssue = (
  issue: z.core.$ZodIssue,
  root: unknown,
  schema: AnySchema,
  describe: Describe,
): readonly SchemaProblem[] => {
  const { path } = issue;
  const value = valueAt(root, path);
  const isMissing = value === undefined && path.length > 0;
  if (isMissing) {
    const parent = path.slice(0, -1);
    const allowed = allowedOf(issue);
    const hint = allowed === undefined ? missingHint(describe, schema, path, root) : `; allowed: ${listed(allowed)}`;
    return [{ path: parent, at: 'value', text: `${quoted(path.at(-1))} is missing${inside(parent)}${hint}` }];
  }
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path: [...path, key],
        at: 'key',
        text: unknownKey(key, path, keysAt(schema, root, path)),
      }));
    case 'invalid_type':
      return [{ path, at: 'value', text: typeText(issue, path, value, describedAs(describe, schema, path, root)) }];
    case 'invalid_value':
      return [{ path, at: 'value', text: notAmong(path, value, issue.values) }];
    case 'invalid_union': {
      const options = optionsOf(issue);
      if (options === undefined) return unionProblems(issue, path, root, schema, describe);
      return [{ path, at: 'value', text: notAmong(path, value, options) }];
    }
    case 'too_small':
    case 'too_big':
      return [{ path, at: 'value', text: sizeText(issue, path, value) }];
    case 'invalid_key': {
      const why = issue.issues.map((one) => one.message).join(', ');
      return [
        {
          path,
          at: 'key',
          text: `${quoted(path.at(-1))}${inside(path.slice(0, -1))} is not allowed as a name: ${why}`,
        },
      ];
    }
    case 'invalid_format':
      return [{ path, at: 'value', text: `${placed(path, `does not allow ${kindOf(value)}`)}: ${issue.message}` }];
    default:
      return [{ path, at: 'value', text: `${placed(path, 'does not fit')}: ${issue.message}` }];
  }
};

/** Every issue of a failed parse in plain words. `describe` reads the description a schema carries, if any. */
export const wordProblems = (
  error: z.core.$ZodError,
  root: unknown,
  schema: AnySchema,
  describe: Describe,
): readonly SchemaProblem[] => error.issues.flatMap((issue) => wordIssue(issue, root, schema, describe));
