import type { Clock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { alarm } from './http.ts';
import type { ObjectStore, ObjectVersion } from './object-store.ts';
import { isPaused, type Pause, type ReplicationRule } from './s3-replication-rules.ts';

/** What the other region said of a copy. No answer at all is no outcome: it is tried again. */
export type CopyOutcome = 'stored' | 'refused';

export interface ReplicatorParts {
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** Real milliseconds from a PUT to its copy's way to the other region. */
  readonly delayMs: number;
  /** Real milliseconds before a region that did not answer is tried again. */
  readonly retryMs: number;
  rulesOf(bucket: string): readonly ReplicationRule[];
  /** Rejects when the other region does not answer. */
  send(destination: string, version: ObjectVersion, bytes: Buffer): Promise<CopyOutcome>;
  onCopied(bucket: string, version: ObjectVersion, destination: string, outcome: CopyOutcome): void;
  log(line: string): void;
}

/** Copies versions to other regions, in the order in which they were put, for as long as it takes. */
export interface Replicator {
  /** A version was put, with copies that are pending. */
  add(bucket: string, version: ObjectVersion): void;
  /** Resolves once nothing of it is on its way any more. It ends by itself after `forMs`. */
  pause(id: string, pause: Pause, forMs: number): Promise<void>;
  resume(id: string): void;
  readonly pauses: ReadonlyMap<string, Pause>;
}

interface Copy {
  readonly bucket: string;
  readonly key: string;
  readonly versionId: string;
  readonly dueMs: number;
}

interface Queue {
  readonly copies: Set<Copy>;
  /** What is on its way. */
  busy: Promise<unknown>;
  wake(): void;
}

const atOnceMax = 16;

/** Starts with the copies that an earlier process left pending; ends with the signal. */
export const createReplicator = (parts: ReplicatorParts, signal: AbortSignal): Replicator => {
  const { store, clock, delayMs, retryMs } = parts;
  const queues = new Map<string, Queue>();
  const pauses = new Map<string, Pause>();
  const expiries = new Map<string, { clear(): void }>();

  const rest = (queue: Queue, durationMs: number | undefined): Promise<void> =>
    new Promise((resolve) => {
      const late = durationMs === undefined ? undefined : alarm(durationMs, () => queue.wake());
      queue.wake = () => {
        late?.clear();
        queue.wake = () => undefined;
        resolve();
      };
      if (signal.aborted) queue.wake();
    });

  const isHeld = (destination: string, { bucket, key }: Copy): boolean =>
    isPaused(pauses.values(), parts.rulesOf(bucket), { bucket, key, destination });

  /** False when the other region did not answer. */
  const carry = async (destination: string, queue: Queue, copy: Copy): Promise<boolean> => {
    const { bucket, key, versionId } = copy;
    const version = store.hasBucket(bucket)
      ? store.versions(bucket, key).find((one) => one.versionId === versionId)
      : undefined;
    try {
      if (version !== undefined) {
        const bytes = version.isDeleteMarker ? Buffer.alloc(0) : store.read(bucket, version);
        const outcome = await parts.send(destination, version, bytes);
        store.setCopyState(bucket, version, destination, outcome === 'stored' ? 'COMPLETED' : 'FAILED');
        parts.onCopied(bucket, version, destination, outcome);
      }
      queue.copies.delete(copy);
      return true;
    } catch (error) {
      parts.log(`no copy of ${bucket}/${key} in ${destination} yet: ${messageOf(error)}`);
      return false;
    }
  };

  const ready = (destination: string, queue: Queue): { readonly now: readonly Copy[]; readonly nextMs?: number } => {
    const nowMs = clock.monotonicMs();
    const found: Copy[] = [];
    for (const copy of queue.copies) {
      if (found.length >= atOnceMax) break;
      if (isHeld(destination, copy)) continue;
      if (copy.dueMs > nowMs) return { now: found, nextMs: copy.dueMs - nowMs };
      found.push(copy);
    }
    return { now: found };
  };

  const work = async (destination: string, queue: Queue): Promise<void> => {
    while (!signal.aborted) {
      const { now, nextMs } = ready(destination, queue);
      if (now.length === 0) {
        await rest(queue, nextMs);
        continue;
      }
      const carried = Promise.all(now.map((copy) => carry(destination, queue, copy)));
      queue.busy = carried;
      if ((await carried).includes(false)) await rest(queue, retryMs);
    }
  };

  const queueFor = (destination: string): Queue => {
    const known = queues.get(destination);
    if (known !== undefined) return known;
    const queue: Queue = { copies: new Set(), busy: Promise.resolve(), wake: () => undefined };
    queues.set(destination, queue);
    void work(destination, queue);
    return queue;
  };

  const enqueue = (bucket: string, { key, versionId, replication }: ObjectVersion, dueMs: number): void => {
    if (typeof replication !== 'object') return;
    for (const [destination, state] of Object.entries(replication)) {
      if (state !== 'PENDING') continue;
      const queue = queueFor(destination);
      queue.copies.add({ bucket, key, versionId, dueMs });
      // One that rests after a failure has copies already: it goes on when its rest is over.
      if (queue.copies.size === 1) queue.wake();
    }
  };

  const wakeAll = (): void => {
    for (const queue of queues.values()) queue.wake();
  };
  signal.addEventListener('abort', wakeAll, { once: true });
  for (const { name } of store.buckets()) {
    for (const version of store.pending(name)) enqueue(name, version, clock.monotonicMs());
  }

  const resume = (id: string): void => {
    expiries.get(id)?.clear();
    expiries.delete(id);
    if (pauses.delete(id)) wakeAll();
  };
  return {
    pauses,
    add: (bucket, version) => enqueue(bucket, version, clock.monotonicMs() + delayMs),
    async pause(id, pause, forMs) {
      resume(id);
      pauses.set(id, pause);
      expiries.set(
        id,
        alarm(forMs, () => resume(id)),
      );
      await Promise.all(pause.destinations.map((destination) => queues.get(destination)?.busy));
    },
    resume,
  };
};
