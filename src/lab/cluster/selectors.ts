import { badRequest } from './api-error.ts';
import type { KubernetesObject, LabelSelector } from './objects.ts';

export type Labels = Readonly<Record<string, string>>;
export type LabelMatch = (labels: Labels) => boolean;

const keyPattern = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const valuePattern = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

const checkedKey = (text: string): string => {
  const key = text.trim();
  if (!keyPattern.test(key)) throw badRequest(`unable to parse requirement: <nil>: Invalid value: "${key}": name part`);
  return key;
};

const checkedValue = (text: string): string => {
  const value = text.trim();
  if (!valuePattern.test(value) || value.length > 63) {
    throw badRequest(`unable to parse requirement: values[0]: Invalid value: "${value}": a valid label must be used`);
  }
  return value;
};

/** Splits at commas that are not inside parentheses. */
const requirementsOf = (selector: string): readonly string[] =>
  selector.split(/,(?![^(]*\))/).filter((part) => part.trim() !== '');

const requirement = (text: string): LabelMatch => {
  const set = /^\s*(\S+)\s+(in|notin)\s*\(([^()]*)\)\s*$/.exec(text);
  if (set !== null) {
    const key = checkedKey(set[1] ?? '');
    const values = (set[3] ?? '').split(',').map(checkedValue);
    if (set[2] === 'in') return (labels) => labels[key] !== undefined && values.includes(labels[key]);
    return (labels) => labels[key] === undefined || !values.includes(labels[key]);
  }
  const equality = /^([^=!<>]+?)(==|!=|=)(.*)$/.exec(text);
  if (equality !== null) {
    const key = checkedKey(equality[1] ?? '');
    const value = checkedValue(equality[3] ?? '');
    return equality[2] === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const trimmed = text.trim();
  if (trimmed.startsWith('!')) {
    const key = checkedKey(trimmed.slice(1));
    return (labels) => labels[key] === undefined;
  }
  const key = checkedKey(trimmed);
  return (labels) => labels[key] !== undefined;
};

/** `app=llm,zone in (a, b),!canary`; throws a 400 that says what cannot be parsed. */
export const parseLabelSelector = (selector: string): LabelMatch => {
  const matches = requirementsOf(selector).map(requirement);
  return (labels) => matches.every((match) => match(labels));
};

/** The `selector` of a Deployment. */
export const selectorMatch = (selector: LabelSelector): LabelMatch => {
  const equalities = Object.entries(selector.matchLabels ?? {});
  const expressions = selector.matchExpressions ?? [];
  return (labels) =>
    equalities.every(([key, value]) => labels[key] === value) &&
    expressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === 'In') return value !== undefined && values.includes(value);
      if (operator === 'NotIn') return value === undefined || !values.includes(value);
      return operator === 'Exists' ? value !== undefined : value === undefined;
    });
};

const valueAt = (object: unknown, path: string): string => {
  let value: unknown = object;
  for (const key of path.split('.')) {
    if (typeof value !== 'object' || value === null) return '';
    value = Reflect.get(value, key);
  }
  return value === undefined || value === null ? '' : String(value);
};

/** `spec.nodeName=a,status.phase!=Running`; a field the resource does not index is a 400, as on the real server. */
export const parseFieldSelector = (
  selector: string,
  fields: readonly string[],
): ((object: KubernetesObject) => boolean) => {
  const matches = selector
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const parsed = /^([^=!]+)(==|!=|=)(.*)$/.exec(part);
      if (parsed === null) throw badRequest(`invalid field selector "${selector}": cannot parse "${part}"`);
      const [, field = '', operator, wanted = ''] = parsed;
      if (!['metadata.name', 'metadata.namespace', ...fields].includes(field)) {
        throw badRequest(`field label not supported: ${field}`);
      }
      const negated = operator === '!=';
      return (object: KubernetesObject) => (valueAt(object, field) === wanted) !== negated;
    });
  return (object) => matches.every((match) => match(object));
};
