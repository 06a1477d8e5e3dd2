/** Text to vector: each word adds a fixed pseudo-random direction. Equal words give near vectors, as in a model. */

const fnvOffset = 0x811c9dc5;
const fnvPrime = 0x01000193;

const hash = (text: string): number => {
  let value = fnvOffset;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), fnvPrime);
  }
  return value >>> 0;
};

/** One step of a 32-bit xorshift; never zero for a non-zero state. */
const step = (state: number): number => {
  let next = state ^ (state << 13);
  next ^= next >>> 17;
  next ^= next << 5;
  return next >>> 0;
};

/** Words past this many add nothing a nearest neighbour would notice. */
const wordsMax = 64;

/** A vector of length 1 (all zero for a text without words). The same text gives the same vector in every process. */
export const embed = (text: string, dimensions: number): Float32Array => {
  const vector = new Float32Array(dimensions);
  for (const word of (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).slice(0, wordsMax)) {
    let state = hash(word) || 1;
    for (let index = 0; index < dimensions; index += 1) {
      state = step(state);
      vector[index] = (vector[index] ?? 0) + state / 0x80000000 - 1;
    }
  }
  return normalize(vector);
};

export const normalize = (vector: Float32Array): Float32Array => {
  let square = 0;
  for (const value of vector) square += value * value;
  const length = Math.sqrt(square);
  return length === 0 ? vector : vector.map((value) => value / length);
};

const subjects = ['failover', 'replication', 'quota', 'billing', 'latency', 'embedding', 'prompt', 'snapshot'];
const verbs = ['explains', 'limits', 'restores', 'measures', 'documents', 'schedules', 'compares'];
const objects = ['regions', 'zones', 'pods', 'tokens', 'conversations', 'indexes', 'alerts', 'buckets', 'caches'];

const pick = (words: readonly string[], index: number): string => words[index % words.length] ?? '';

/** The documents every region's store starts with: the same everywhere, each findable by its own words. */
export const seedDocument = (index: number): { readonly id: string; readonly text: string } => ({
  id: `document-${index}`,
  text: `note${index} ${pick(subjects, index)} ${pick(verbs, index)} ${pick(objects, index)}`,
});
