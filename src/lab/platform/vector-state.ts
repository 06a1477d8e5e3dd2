import { createIndex, type VectorIndex, type VectorItem } from './vector-index.ts';

/**
 * A state of a store as text, one JSON line each: a head, the items, and a tail by which a whole state is told from one
 * that was cut. It is what a sync carries and what a snapshot keeps.
 */

/** Where a state stands among the changes of the store that is written to. */
export interface Cursor {
  /** One life of that store: after it has lost its index, numbers begin anew under another one. */
  readonly epoch: string;
  readonly sequence: number;
}

export interface StateHead extends Cursor {
  /** `delta` carries what was put since a cursor; `full` carries all there is. */
  readonly kind: 'delta' | 'full';
  /** Of the whole store, whatever is carried. */
  readonly count: number;
  readonly digest: string;
  /** When it was taken, on this machine's monotonic clock. */
  readonly takenMs: number;
  /** Of a replica's state: what its source held when the replica took it over. */
  readonly source?: { readonly count: number; readonly digest: string };
}

export interface CarriedState {
  readonly head: StateHead;
  readonly items: readonly VectorItem[];
}

/** What an index holds now that was put after `since`; the whole of it without one. */
export const takeState = (
  index: VectorIndex,
  of: Cursor & Pick<StateHead, 'takenMs' | 'source'>,
  since: number | undefined,
): CarriedState => ({
  head: { ...of, kind: since === undefined ? 'full' : 'delta', count: index.count, digest: index.digest },
  items: index.since(since ?? 0),
});

export const linesOf = ({ head, items }: CarriedState): readonly string[] => [
  `${JSON.stringify({ head })}\n`,
  ...items.map(({ id, vector, text }) => `${JSON.stringify({ id, vector: [...vector], text })}\n`),
  `${JSON.stringify({ end: items.length })}\n`,
];

/** Throws when the text is not a whole state. */
export const parseState = (text: string): CarriedState => {
  const lines = text.split('\n').filter((line) => line !== '');
  const [first = '{}', ...rest] = lines;
  const { end } = JSON.parse(rest.pop() ?? '{}') as { readonly end?: number };
  if (end !== rest.length) throw new Error(`the state was cut after ${rest.length} items`);
  const { head } = JSON.parse(first) as { readonly head: StateHead };
  const items = rest.map((line): VectorItem => {
    const { id, vector, text: words } = JSON.parse(line) as { id: string; vector: number[]; text: string };
    return { id, vector: Float32Array.from(vector), text: words };
  });
  return { head, items };
};

/** An index made of a full state alone. Throws when it does not hold what the state's head says. */
export const indexOf = ({ head, items }: CarriedState, dimensions: number): VectorIndex => {
  const index = createIndex(dimensions);
  for (const item of items) index.put(item);
  if (index.count !== head.count || index.digest !== head.digest) {
    throw new Error(
      `the state says ${head.count} vectors, digest ${head.digest}; it has ${index.count}, ${index.digest}`,
    );
  }
  return index;
};
