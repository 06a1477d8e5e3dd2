import { randomUUID } from 'node:crypto';
import { systemClock } from '../../core/clock.ts';
import type { ComponentContext } from '../component.ts';
import { type LabLayout, scaled } from '../layout.ts';
import { embed, seedDocument } from './embedding.ts';
import { HttpError } from './http.ts';
import { createIndex, type VectorIndex } from './vector-index.ts';
import { type CarriedState, type Cursor, indexOf, takeState } from './vector-state.ts';

/** `source` is written to; a `replica` follows it and refuses writes; a store that follows none stands `alone`. */
export type Role = 'source' | 'replica' | 'alone';

/** The state of the source that a replica shows. */
export interface Shown extends Cursor {
  /** When the source's state was taken: a write acknowledged before is in it. */
  readonly takenMs: number;
  readonly digest: string;
  readonly count: number;
}

/** Why there is no index, and until when. */
export interface Loss {
  /** Who asked for it. */
  readonly owner: string;
  readonly sinceMs: number;
}

/** A region's index, and what it stands for. */
export interface VectorStore {
  readonly role: Role;
  readonly region: string;
  readonly dimensions: number;
  readonly state: 'serving' | 'lost' | 'rebuilding';
  readonly loss: Loss | undefined;
  /** One life of this store's own index. */
  readonly epoch: string;
  /** Of a replica: what it shows of its source. */
  readonly shown: Shown | undefined;
  /** The index; throws 503 while it is lost. */
  serving(): VectorIndex;
  /** The whole state, or what was put since a cursor of this life; a cursor of another life gives all as upserts. */
  take(since?: Cursor): CarriedState;
  /** Takes over what a sync or a snapshot carries. A full state replaces all there is. */
  adopt(state: CarriedState): void;
  lose(owner: string): void;
  setRebuilding(isRebuilding: boolean): void;
}

export const roleOf = (layout: LabLayout, region: string): Role => {
  const found = layout.environment.regions.find((one) => one.name === region);
  if (found?.role === 'primary') return 'source';
  return found?.vectors === undefined ? 'alone' : 'replica';
};

/** Documented durations of the stores, as real milliseconds of this lab. */
export const timesOf = (layout: LabLayout, region: string) => {
  const { syncDuration, fullSync, snapshot, rebuild } = layout.settings.stores;
  const { vectors } = layout.environment.regions.find((one) => one.name === region) ?? {};
  return {
    periodMs: vectors === undefined ? null : scaled(layout, vectors.deltaSync),
    durationMs: scaled(layout, syncDuration),
    fullPeriodMs: scaled(layout, fullSync),
    snapshotPeriodMs: scaled(layout, snapshot),
    rebuildMs: scaled(layout, rebuild),
  };
};

const seeded = (vectors: number, dimensions: number): VectorIndex => {
  const index = createIndex(dimensions);
  for (let number = 0; number < vectors; number += 1) {
    const { id, text } = seedDocument(number);
    index.upsert({ id, text, vector: embed(text, dimensions) });
  }
  return index;
};

const lost = (): HttpError => new HttpError(503, 'server_error', 'index_lost', 'the index of this region is lost');

export const createStore = ({ layout }: ComponentContext, region: string): VectorStore => {
  const { vectors, dimensions } = layout.settings.stores;
  const role = roleOf(layout, region);
  let index = seeded(vectors, dimensions);
  let epoch: string = randomUUID();
  let state: VectorStore['state'] = 'serving';
  let loss: Loss | undefined;
  // Every store begins with the same documents: a replica shows before its first sync what its source began with.
  let shown: Shown | undefined =
    role === 'replica'
      ? { epoch: '', sequence: 0, takenMs: systemClock.monotonicMs(), digest: index.digest, count: index.count }
      : undefined;

  const serving = (): VectorIndex => {
    if (state !== 'serving') throw lost();
    return index;
  };

  return {
    role,
    region,
    dimensions,
    get state() {
      return state;
    },
    get loss() {
      return loss;
    },
    get epoch() {
      return epoch;
    },
    get shown() {
      return shown;
    },
    serving,
    take(since) {
      const takenMs = systemClock.monotonicMs();
      const now = serving();
      // What a replica holds stands where its source stood, and so do its snapshots.
      if (shown !== undefined) {
        const { count, digest, ...of } = shown;
        return takeState(now, { ...of, source: { count, digest } }, undefined);
      }
      const from = since === undefined ? undefined : since.epoch === epoch ? since.sequence : 0;
      return takeState(now, { epoch, sequence: now.sequence, takenMs }, from);
    },
    adopt(carried) {
      const { head, items } = carried;
      if (head.kind === 'full') {
        index = indexOf(carried, dimensions);
        if (role !== 'replica') epoch = randomUUID();
      } else for (const item of items) index.put(item);
      const { epoch: life, sequence, takenMs } = head;
      const { count, digest } = head.source ?? head;
      if (role === 'replica') shown = { epoch: life, sequence, takenMs, digest, count };
      state = 'serving';
      loss = undefined;
    },
    lose(owner) {
      index = createIndex(dimensions);
      state = 'lost';
      loss = { owner, sinceMs: systemClock.monotonicMs() };
    },
    setRebuilding(isRebuilding) {
      if (state !== 'serving') state = isRebuilding ? 'rebuilding' : 'lost';
    },
  };
};
