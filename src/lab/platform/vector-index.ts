import { normalize } from './embedding.ts';

/**
 * Exact nearest neighbours by cosine over vectors kept in one block of memory: whatever is listed is also found by its
 * own vector, so that a list of ids is a statement about recall. Every change has a number: a delta goes by it.
 */

export interface VectorItem {
  readonly id: string;
  readonly vector: Float32Array;
  readonly text: string;
}

export interface Match {
  readonly id: string;
  readonly score: number;
  readonly text: string;
}

export interface IdPage {
  readonly ids: readonly string[];
  /** Id to go on after; undefined on the last page. */
  readonly next: string | undefined;
}

export interface VectorIndex {
  readonly count: number;
  /** Number of the newest change, deletions included. */
  readonly sequence: number;
  /** The same for the same ids, vectors and texts, in whatever order and by whatever changes they came. */
  readonly digest: string;
  /** Adds, or replaces what has the same id; the vector is brought to length 1. Returns the number of the change. */
  upsert(item: VectorItem): number;
  /** The same for an item of another index, whose vector is taken as it is. */
  put(item: VectorItem): number;
  /** False when there was none. */
  remove(id: string): boolean;
  /** The `k` nearest, best first. */
  query(vector: Float32Array, k: number): readonly Match[];
  get(id: string): VectorItem | undefined;
  /** Ids with a prefix, in order, after one of them. */
  list(prefix: string, after: string, max: number): IdPage;
  /** Items put after the change with this number; 0 gives all. Not what was deleted. */
  since(sequence: number): readonly VectorItem[];
}

const fnvOffset = 0xcbf29ce484222325n;
const fnvPrime = 0x100000001b3n;

/** FNV-1a over 64 bits, in words of 32: differences are accidents here, not attacks. */
const digestOf = ({ id, vector, text }: VectorItem): bigint => {
  const bytes = Buffer.concat([
    Buffer.from(`${id}\0${text}\0`),
    Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength),
  ]);
  let value = fnvOffset;
  for (let at = 0; at < bytes.length; at += 4) {
    const word = at + 4 <= bytes.length ? bytes.readUInt32LE(at) : bytes.readUIntLE(at, bytes.length - at);
    value = BigInt.asUintN(64, (value ^ BigInt(word)) * fnvPrime);
  }
  return value;
};

/** Where an id is, or belongs, among sorted ones. */
const placeOf = (sorted: readonly string[], id: string): number => {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? '') < id) low = middle + 1;
    else high = middle;
  }
  return low;
};

/** The vectors themselves, row by row in one block that grows. */
const createBlock = (dimensions: number) => {
  let block = new Float32Array(dimensions * 256);
  return {
    write(row: number, vector: Float32Array): void {
      if ((row + 1) * dimensions > block.length) {
        const larger = new Float32Array(block.length * 2);
        larger.set(block);
        block = larger;
      }
      block.set(vector, row * dimensions);
    },
    move: (from: number, to: number): void =>
      void block.copyWithin(to * dimensions, from * dimensions, (from + 1) * dimensions),
    read: (row: number): Float32Array => block.slice(row * dimensions, (row + 1) * dimensions),
    score(row: number, vector: Float32Array): number {
      let sum = 0;
      const base = row * dimensions;
      for (let index = 0; index < dimensions; index += 1) sum += (block[base + index] ?? 0) * (vector[index] ?? 0);
      return sum;
    },
  };
};

export const createIndex = (dimensions: number): VectorIndex => {
  const block = createBlock(dimensions);
  const ids: string[] = [];
  const texts: string[] = [];
  const changes: number[] = [];
  const sorted: string[] = [];
  const rowOf = new Map<string, number>();
  let sequence = 0;
  let digest = 0n;

  const at = (row: number): VectorItem => ({ id: ids[row] ?? '', vector: block.read(row), text: texts[row] ?? '' });

  const put = (item: VectorItem): number => {
    const known = rowOf.get(item.id);
    const row = known ?? ids.length;
    if (known === undefined) sorted.splice(placeOf(sorted, item.id), 0, item.id);
    else digest ^= digestOf(at(row));
    sequence += 1;
    block.write(row, item.vector);
    rowOf.set(item.id, row);
    ids[row] = item.id;
    texts[row] = item.text;
    changes[row] = sequence;
    digest ^= digestOf(item);
    return sequence;
  };

  const remove = (id: string): boolean => {
    const row = rowOf.get(id);
    if (row === undefined) return false;
    digest ^= digestOf(at(row));
    sequence += 1;
    const last = ids.length - 1;
    const lastId = ids[last] ?? '';
    block.move(last, row);
    ids[row] = lastId;
    texts[row] = texts[last] ?? '';
    changes[row] = changes[last] ?? 0;
    rowOf.set(lastId, row);
    rowOf.delete(id);
    for (const column of [ids, texts, changes]) column.pop();
    sorted.splice(placeOf(sorted, id), 1);
    return true;
  };

  return {
    get count() {
      return ids.length;
    },
    get sequence() {
      return sequence;
    },
    get digest() {
      return digest.toString(16).padStart(16, '0');
    },
    upsert: ({ id, vector, text }) => put({ id, text, vector: normalize(vector) }),
    put,
    remove,
    query(vector, k) {
      const asked = normalize(vector);
      const scored = ids.map((id, row): Match => ({ id, score: block.score(row, asked), text: texts[row] ?? '' }));
      return scored.sort((one, other) => other.score - one.score || (one.id < other.id ? -1 : 1)).slice(0, k);
    },
    get(id) {
      const row = rowOf.get(id);
      return row === undefined ? undefined : at(row);
    },
    list(prefix, after, max) {
      const from = after < prefix ? placeOf(sorted, prefix) : placeOf(sorted, `${after}\0`);
      const page = sorted.slice(from, from + max + 1).filter((id) => id.startsWith(prefix));
      return { ids: page.slice(0, max), next: page.length > max ? page[max - 1] : undefined };
    },
    since: (number) => ids.flatMap((_, row) => ((changes[row] ?? 0) > number ? [at(row)] : [])),
  };
};
