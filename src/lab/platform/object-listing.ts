import type { ObjectVersion } from './object-store.ts';

export interface ListOptions {
  readonly prefix: string;
  readonly delimiter: string;
  /** Key or common prefix to go on after. */
  readonly after: string;
  readonly max: number;
}

export interface ListPage<Item> {
  readonly objects: readonly Item[];
  readonly prefixes: readonly string[];
  /** Key or prefix to go on after; undefined on the last page. */
  readonly next: string | undefined;
}

/** What a key stands for in a listing: itself, or the part of it up to the delimiter. */
const commonPrefixOf = (key: string, prefix: string, delimiter: string): string | undefined => {
  const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
  return cut < 0 ? undefined : key.slice(0, cut + delimiter.length);
};

/** Pages through sorted keys; keys that share a prefix up to the delimiter count once, as that prefix. */
export const pageOf = <Item extends { readonly key: string }>(
  sorted: readonly Item[],
  { prefix, delimiter, after, max }: ListOptions,
): ListPage<Item> => {
  const objects: Item[] = [];
  const prefixes: string[] = [];
  let last = after;
  for (const object of sorted) {
    if (!object.key.startsWith(prefix) || object.key <= last) continue;
    const common = commonPrefixOf(object.key, prefix, delimiter);
    // Everything below a prefix that was given already, on this page or the one before, is part of it.
    if (common !== undefined && (common === prefixes.at(-1) || common === after)) continue;
    if (objects.length + prefixes.length >= max) return { objects, prefixes, next: last };
    if (common === undefined) objects.push(object);
    else prefixes.push(common);
    last = common ?? object.key;
  }
  return { objects, prefixes, next: undefined };
};

export interface VersionListOptions {
  readonly prefix: string;
  readonly delimiter: string;
  readonly keyMarker: string;
  /** With it, the key marker's own versions go on after this one; without it, they are passed over. */
  readonly versionIdMarker: string | undefined;
  readonly max: number;
}

export interface VersionPage {
  readonly versions: readonly { readonly version: ObjectVersion; readonly isLatest: boolean }[];
  readonly prefixes: readonly string[];
  /** Where the next page begins; undefined on the last page. */
  readonly next: { readonly keyMarker: string; readonly versionIdMarker: string | undefined } | undefined;
}

/** Versions of one key that come after the marker, newest first. */
const remainingOf = (
  key: string,
  versions: readonly ObjectVersion[],
  { keyMarker, versionIdMarker }: VersionListOptions,
): readonly ObjectVersion[] => {
  if (key > keyMarker) return versions;
  if (key < keyMarker || versionIdMarker === undefined) return [];
  const at = versions.findIndex(({ versionId }) => versionId === versionIdMarker);
  return versions.slice(at + 1);
};

/** Pages through every version of sorted keys, newest first within a key. */
export const pageOfVersions = (
  sorted: readonly (readonly [key: string, versions: readonly ObjectVersion[]])[],
  options: VersionListOptions,
): VersionPage => {
  const { prefix, delimiter, keyMarker, max } = options;
  const found: { version: ObjectVersion; isLatest: boolean }[] = [];
  const prefixes: string[] = [];
  let next: VersionPage['next'];
  for (const [key, versions] of sorted) {
    if (!key.startsWith(prefix)) continue;
    const common = commonPrefixOf(key, prefix, delimiter);
    if (common !== undefined) {
      if (common === prefixes.at(-1) || common <= keyMarker) continue;
      if (found.length + prefixes.length >= max) return { versions: found, prefixes, next };
      prefixes.push(common);
      next = { keyMarker: common, versionIdMarker: undefined };
      continue;
    }
    for (const version of remainingOf(key, versions, options)) {
      if (found.length + prefixes.length >= max) return { versions: found, prefixes, next };
      found.push({ version, isLatest: version === versions[0] });
      next = { keyMarker: key, versionIdMarker: version.versionId };
    }
  }
  return { versions: found, prefixes, next: undefined };
};
