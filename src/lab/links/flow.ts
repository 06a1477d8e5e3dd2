import type { Effect } from './rules.ts';

/** Where bytes go: a socket, or a stand-in of a test. */
export interface Sink {
  /** False when it cannot take more until `Flow.drained` is called. */
  write(bytes: Buffer): boolean;
  /** No more bytes follow. */
  end(): void;
  /** The other side is gone in disorder. */
  reset(): void;
}

/** Where bytes come from: can be told to wait. */
export interface Source {
  pause(): void;
  resume(): void;
}

export interface FlowClock {
  nowMs(): number;
  /** Calls back after at least `delayMs`; returns how to call it off. */
  after(delayMs: number, callback: () => void): () => void;
}

/** One direction of a connection. Bytes, end and reset leave in the order they came, each no earlier than its delay. */
export interface Flow {
  push(bytes: Buffer): void;
  end(): void;
  fail(): void;
  /** The sink has room again. */
  drained(): void;
  /** From now on bytes may leave; before, they wait. */
  attach(sink: Sink): void;
  /** A change of rules: holds for bytes that wait, too. */
  setEffect(effect: Effect): void;
  /** Drops what waits and everything that follows. */
  discard(): void;
}

type Item =
  | { readonly kind: 'bytes'; readonly atMs: number; readonly bytes: Buffer }
  | { readonly kind: 'end' | 'reset'; readonly atMs: number };

const waitingBytesMin = 256 * 1024;
/** Room for what is under way on a slow link: beyond it the sender waits. */
const bytesPerDelayMs = 8 * 1024;
/** A throttled link sends slices of this long, so that bytes trickle. */
const sliceMs = 20;

export const createFlow = (source: Source, clock: FlowClock, initial: Effect): Flow => {
  let effect = initial;
  let sink: Sink | undefined;
  let queue: Item[] = [];
  let head = 0;
  let waitingBytes = 0;
  let isSinkFull = false;
  let isSourcePaused = false;
  let isClosed = false;
  /** When the link is free again after the last throttled slice. */
  let freeMs = 0;
  let callOff: (() => void) | undefined;

  const waitingBytesMax = (): number => Math.max(waitingBytesMin, effect.delayMs * bytesPerDelayMs);

  const updateSource = (): void => {
    const mustPause = !isClosed && (isSinkFull || waitingBytes > waitingBytesMax());
    if (mustPause === isSourcePaused) return;
    isSourcePaused = mustPause;
    if (mustPause) source.pause();
    else source.resume();
  };

  const dueMs = (item: Item): number => {
    const arrivalMs = item.atMs + effect.delayMs;
    if (item.kind !== 'bytes' || effect.bytesPerSecond === Number.POSITIVE_INFINITY) return arrivalMs;
    return Math.max(arrivalMs, freeMs) + (item.bytes.length / effect.bytesPerSecond) * 1000;
  };

  /** The item at the head; on a throttled link a slice of it, the rest stays behind. */
  const headItem = (): Item | undefined => {
    const item = queue[head];
    if (item?.kind !== 'bytes' || effect.bytesPerSecond === Number.POSITIVE_INFINITY) return item;
    const sliceBytes = Math.max(1, Math.floor((effect.bytesPerSecond * sliceMs) / 1000));
    if (item.bytes.length <= sliceBytes) return item;
    const first: Item = { ...item, bytes: item.bytes.subarray(0, sliceBytes) };
    queue.splice(head, 1, first, { ...item, bytes: item.bytes.subarray(sliceBytes) });
    return first;
  };

  const send = (target: Sink, item: Item): void => {
    head += 1;
    if (head === queue.length) {
      queue = [];
      head = 0;
    } else if (head > 1024) {
      queue = queue.slice(head);
      head = 0;
    }
    if (item.kind === 'bytes') {
      waitingBytes -= item.bytes.length;
      if (!target.write(item.bytes)) isSinkFull = true;
      return;
    }
    isClosed = true;
    if (item.kind === 'end') target.end();
    else target.reset();
  };

  const pump = (): void => {
    callOff?.();
    callOff = undefined;
    while (sink !== undefined && !effect.isHeld && !isSinkFull && !isClosed) {
      const item = headItem();
      if (item === undefined) break;
      const due = dueMs(item);
      const nowMs = clock.nowMs();
      if (due > nowMs) {
        callOff = clock.after(due - nowMs, pump);
        break;
      }
      freeMs = due;
      send(sink, item);
    }
    updateSource();
  };

  const enqueue = (item: Item): void => {
    queue.push(item);
    if (item.kind === 'bytes') waitingBytes += item.bytes.length;
    // A timer that runs is for the head, which this item is behind.
    if (callOff === undefined) pump();
    else updateSource();
  };

  return {
    push: (bytes) => {
      if (isClosed) return;
      const isOpen = sink !== undefined && queue.length === 0 && !effect.isHeld && !isSinkFull;
      if (isOpen && effect.delayMs === 0 && effect.bytesPerSecond === Number.POSITIVE_INFINITY) {
        if (sink?.write(bytes) === false) {
          isSinkFull = true;
          updateSource();
        }
        return;
      }
      enqueue({ kind: 'bytes', atMs: clock.nowMs(), bytes });
    },
    end: () => {
      if (!isClosed) enqueue({ kind: 'end', atMs: clock.nowMs() });
    },
    fail: () => {
      if (!isClosed) enqueue({ kind: 'reset', atMs: clock.nowMs() });
    },
    drained: () => {
      isSinkFull = false;
      pump();
    },
    attach: (target) => {
      sink = target;
      pump();
    },
    setEffect: (next) => {
      effect = next;
      freeMs = clock.nowMs();
      pump();
    },
    discard: () => {
      isClosed = true;
      queue = [];
      head = 0;
      waitingBytes = 0;
      isSinkFull = false;
      pump();
    },
  };
};
