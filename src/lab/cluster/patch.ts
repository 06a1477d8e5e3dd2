import { ApiError, badRequest } from './api-error.ts';
import type { Json, JsonObject } from './objects.ts';

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** RFC 7386. */
export const mergePatch = (target: Json | undefined, patch: Json): Json => {
  if (!isObject(patch)) return patch;
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
};

/** Lists whose entries strategic merge joins by a key; every other list is replaced whole. */
const mergeKeys: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  env: 'name',
  ports: 'containerPort',
  volumes: 'name',
  volumeMounts: 'mountPath',
  conditions: 'type',
  addresses: 'type',
  taints: 'key',
  ownerReferences: 'uid',
};

const mergeList = (key: string, target: readonly Json[], patch: readonly Json[]): Json[] => {
  const result = [...target];
  for (const entry of patch) {
    if (!isObject(entry)) throw badRequest('strategic merge: a list entry must be an object');
    const wanted = entry[key];
    if (wanted === undefined)
      throw badRequest(`map: ${JSON.stringify(entry)} does not contain declared merge key: ${key}`);
    const index = result.findIndex((candidate) => isObject(candidate) && candidate[key] === wanted);
    if (entry['$patch'] === 'delete') {
      if (index >= 0) result.splice(index, 1);
    } else if (index >= 0) {
      result[index] = strategicMerge(result[index], entry);
    } else {
      result.push(strategicMerge({}, entry));
    }
  }
  return result;
};

/** Strategic merge for maps, and for the lists above; `$setElementOrder` hints are not needed to get the same set. */
export const strategicMerge = (target: Json | undefined, patch: Json): Json => {
  if (!isObject(patch)) return patch;
  const replace = patch['$patch'] === 'replace';
  const result: JsonObject = isObject(target) && !replace ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === '$patch' || key === '$retainKeys' || key.startsWith('$setElementOrder/')) continue;
    const [directive, listName] = key.split('/');
    if (directive === '$deleteFromPrimitiveList' && listName !== undefined) {
      const gone = Array.isArray(value) ? value : [];
      const list = result[listName];
      if (Array.isArray(list)) result[listName] = list.filter((entry) => !gone.includes(entry));
      continue;
    }
    const mergeKey = mergeKeys[key];
    const current = result[key];
    if (value === null) delete result[key];
    else if (Array.isArray(value) && mergeKey !== undefined) {
      const base = Array.isArray(current) ? current : [];
      result[key] = mergeList(mergeKey, base, value);
    } else result[key] = strategicMerge(current, value);
  }
  return result;
};

const pathOf = (pointer: Json | undefined): readonly string[] => {
  if (typeof pointer !== 'string' || (pointer !== '' && !pointer.startsWith('/'))) {
    throw badRequest(`json patch: ${JSON.stringify(pointer ?? null)} is not a JSON pointer`);
  }
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
};

const cannot = (why: string): ApiError =>
  new ApiError(422, 'Invalid', `the server rejected our request due to an error in our request: ${why}`);

const child = (value: Json | undefined, key: string): Json | undefined => {
  if (Array.isArray(value)) return value[key === '-' ? value.length : Number(key)];
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
};

const valueAt = (document: Json, path: readonly string[]): Json => {
  let value: Json | undefined = document;
  for (const key of path) value = child(value, key);
  if (value === undefined) throw cannot(`path /${path.join('/')} does not exist`);
  return value;
};

/** The document with the value at `path` set (`undefined` removes it); the way there must exist. */
const withValue = (
  document: Json | undefined,
  path: readonly string[],
  value: Json | undefined,
  mode: 'add' | 'replace' | 'remove',
): Json => {
  const [key, ...rest] = path;
  if (key === undefined) return value ?? null;
  if (Array.isArray(document)) {
    const list = [...document];
    const index = key === '-' ? list.length : Number(key);
    const limit = mode === 'add' && rest.length === 0 ? list.length : list.length - 1;
    if (!Number.isInteger(index) || index < 0 || index > limit) throw cannot(`index ${key} is out of bounds`);
    if (rest.length > 0) list[index] = withValue(list[index], rest, value, mode);
    else list.splice(index, mode === 'add' ? 0 : 1, ...(value === undefined ? [] : [value]));
    return list;
  }
  if (!isObject(document)) throw cannot(`path segment "${key}" leads nowhere`);
  const present = Object.hasOwn(document, key);
  if (!present && (rest.length > 0 || mode !== 'add')) throw cannot(`path segment "${key}" does not exist`);
  const result = { ...document };
  if (rest.length > 0) result[key] = withValue(result[key], rest, value, mode);
  else if (value === undefined) delete result[key];
  else result[key] = value;
  return result;
};

/** RFC 6902; a failing `test` and a path that leads nowhere are 422, as the real server answers. */
export const jsonPatch = (document: Json, operations: Json): Json => {
  if (!Array.isArray(operations)) throw badRequest('json patch: the body must be a list of operations');
  let result = document;
  for (const operation of operations) {
    if (!isObject(operation)) throw badRequest('json patch: an operation must be an object');
    const { op, value } = operation;
    const path = pathOf(operation['path']);
    if ((op === 'add' || op === 'replace' || op === 'test') && value === undefined) {
      throw badRequest(`json patch: ${op} needs a value`);
    }
    if (op === 'add' || op === 'replace') result = withValue(result, path, value, op);
    else if (op === 'remove') result = withValue(result, path, undefined, 'remove');
    else if (op === 'copy') result = withValue(result, path, valueAt(result, pathOf(operation['from'])), 'add');
    else if (op === 'move') {
      const from = pathOf(operation['from']);
      const moved = valueAt(result, from);
      result = withValue(withValue(result, from, undefined, 'remove'), path, moved, 'add');
    } else if (op === 'test') {
      if (JSON.stringify(valueAt(result, path)) !== JSON.stringify(value)) {
        throw cannot(`testing value /${path.join('/')} failed`);
      }
    } else throw badRequest(`json patch: unknown operation ${JSON.stringify(op ?? null)}`);
  }
  return result;
};
