import type { Component, ComponentContext } from '../component.ts';
import { embed, normalize, seedDocument } from './embedding.ts';
import type { Handler } from './http.ts';
import { HttpError, pathOf, readBody, sendJson, serve } from './http.ts';

/** A region's vector store: exact nearest neighbours by cosine over vectors kept in one block of memory. */

export interface VectorItem {
  readonly id: string;
  readonly vector: readonly number[];
  readonly text?: string;
}

export interface Match {
  readonly id: string;
  readonly score: number;
  readonly text: string;
}

export interface VectorIndex {
  readonly count: number;
  /** Adds, or replaces what has the same id. */
  upsert(item: { readonly id: string; readonly vector: Float32Array; readonly text: string }): void;
  /** False when there was none. */
  remove(id: string): boolean;
  /** The `k` nearest, best first. */
  query(vector: Float32Array, k: number): readonly Match[];
  get(id: string): { readonly id: string; readonly text: string; readonly vector: readonly number[] } | undefined;
}

export const createIndex = (dimensions: number): VectorIndex => {
  let block = new Float32Array(dimensions * 256);
  const ids: string[] = [];
  const texts: string[] = [];
  const rowOf = new Map<string, number>();
  const write = (row: number, vector: Float32Array): void => {
    if ((row + 1) * dimensions > block.length) {
      const larger = new Float32Array(block.length * 2);
      larger.set(block);
      block = larger;
    }
    block.set(normalize(vector), row * dimensions);
  };
  const score = (row: number, vector: Float32Array): number => {
    let sum = 0;
    const base = row * dimensions;
    for (let index = 0; index < dimensions; index += 1) sum += (block[base + index] ?? 0) * (vector[index] ?? 0);
    return sum;
  };
  return {
    get count() {
      return ids.length;
    },
    upsert({ id, vector, text }) {
      const row = rowOf.get(id) ?? ids.length;
      write(row, vector);
      rowOf.set(id, row);
      ids[row] = id;
      texts[row] = text;
    },
    remove(id) {
      const row = rowOf.get(id);
      if (row === undefined) return false;
      const last = ids.length - 1;
      const lastId = ids[last] ?? '';
      block.copyWithin(row * dimensions, last * dimensions, (last + 1) * dimensions);
      ids[row] = lastId;
      texts[row] = texts[last] ?? '';
      rowOf.set(lastId, row);
      rowOf.delete(id);
      ids.pop();
      texts.pop();
      return true;
    },
    query(vector, k) {
      const asked = normalize(vector);
      const scored = ids.map((id, row): Match => ({ id, score: score(row, asked), text: texts[row] ?? '' }));
      return scored.sort((one, other) => other.score - one.score || (one.id < other.id ? -1 : 1)).slice(0, k);
    },
    get(id) {
      const row = rowOf.get(id);
      if (row === undefined) return undefined;
      return { id, text: texts[row] ?? '', vector: [...block.subarray(row * dimensions, (row + 1) * dimensions)] };
    },
  };
};

const bodyBytesMax = 8 * 1024 * 1024;
const itemsMax = 10_000;
const matchesMax = 1000;

const refuse = (message: string): HttpError => new HttpError(400, 'invalid_request_error', 'bad_request', message);

const parseVector = (value: unknown, dimensions: number): Float32Array => {
  if (!Array.isArray(value) || value.length !== dimensions || !value.every((one) => Number.isFinite(one))) {
    throw refuse(`a vector has ${dimensions} numbers`);
  }
  return Float32Array.from(value);
};

const parseJson = (body: Buffer): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Refused below like any other body that is no JSON object.
  }
  throw refuse('the body is not a JSON object');
};

const createHandler = (context: ComponentContext): Handler => {
  const { vectors, dimensions } = context.layout.settings.stores;
  const index = createIndex(dimensions);
  for (let number = 0; number < vectors; number += 1) {
    const { id, text } = seedDocument(number);
    index.upsert({ id, text, vector: embed(text, dimensions) });
  }
  const upsert = (body: Record<string, unknown>): number => {
    const { items } = body;
    if (!Array.isArray(items) || items.length > itemsMax) throw refuse(`items: a list of at most ${itemsMax}`);
    const parsed = items.map((item: Record<string, unknown>) => {
      const { id, vector, text } = item ?? {};
      if (typeof id !== 'string' || id === '') throw refuse('every item has an id');
      return { id, vector: parseVector(vector, dimensions), text: typeof text === 'string' ? text : '' };
    });
    for (const item of parsed) index.upsert(item);
    return parsed.length;
  };
  return async (request, response) => {
    const path = pathOf(request);
    const route = `${request.method} ${path}`;
    if (path === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (route === 'GET /count') return sendJson(response, 200, { count: index.count });
    if (route === 'POST /query') {
      const { vector, k } = parseJson(await readBody(request, bodyBytesMax));
      const limit = Math.max(1, Math.min(Number(k ?? 10) || 10, matchesMax));
      return sendJson(response, 200, { matches: index.query(parseVector(vector, dimensions), limit) });
    }
    if (route === 'POST /upsert') {
      return sendJson(response, 200, { upserted: upsert(parseJson(await readBody(request, bodyBytesMax))) });
    }
    if (path.startsWith('/vectors/')) {
      const id = decodeURIComponent(path.slice('/vectors/'.length));
      if (request.method === 'DELETE') return sendJson(response, 200, { deleted: index.remove(id) });
      const found = index.get(id);
      if (found !== undefined && request.method === 'GET') return sendJson(response, 200, found);
    }
    throw new HttpError(404, 'invalid_request_error', 'not_found', `there is no ${route}`);
  };
};

export const component: Component = {
  kind: 'vector',
  async start(context) {
    const { layout, options } = context;
    const id = `vector/${options['region']}`;
    const endpoint = layout.endpoints.find((candidate) => candidate.id === id);
    if (endpoint === undefined) throw new Error(`the layout has no ${id}`);
    const { port } = await serve(context, endpoint.port, createHandler(context));
    return { port };
  },
};
