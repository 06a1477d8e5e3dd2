/**
 * A number in [0, 1) that depends on the seed and the name alone: the same run started again has the same phases, and
 * no two streams share one. FNV-1a over the text, then the finaliser of MurmurHash3 (Austin Appleby, public domain).
 */
export const phaseOf = (seed: number, name: string): number => {
  let hash = 0x811c9dc5 ^ seed;
  for (const character of `${seed}/${name}`) {
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
};
