import type { Write } from './history.ts';

/**
 * One authority that acknowledged writes: a server, on one timeline, since one start. A restart is a new epoch, or a
 * crash recovery would count as one long reign.
 */
export interface Epoch {
  readonly name: string;
  /** Acknowledged by it, in order of their sending. */
  readonly writes: readonly Write[];
  /** Servers that its acknowledgements came from. */
  readonly servers: ReadonlySet<string>;
  readonly firstAckMs: number;
  readonly lastInvokedMs: number;
  readonly lastAckMs: number;
}

const timelineOf = (name: string): number => {
  const timeline = Number.parseInt(name.split(':')[1] ?? '', 16);
  return Number.isNaN(timeline) ? 0 : timeline;
};

const systemOf = (name: string): string => name.split(':')[0] ?? '';

/** Epochs in the order of their succession: by timeline within one system, else by first acknowledgement. */
export const epochsOf = (writes: readonly Write[]): readonly Epoch[] => {
  const byName = new Map<string, Write[]>();
  for (const write of writes) {
    if (write.out !== 'ok') continue;
    const name = write.epoch ?? '';
    const known = byName.get(name);
    if (known === undefined) byName.set(name, [write]);
    else known.push(write);
  }
  const epochs = [...byName].map(([name, own]): Epoch => {
    const sorted = own.toSorted((a, b) => a.invokedMs - b.invokedMs);
    return {
      name,
      writes: sorted,
      servers: new Set(sorted.flatMap(({ by }) => by ?? [])),
      firstAckMs: Math.min(...sorted.map(({ endedMs }) => endedMs)),
      lastInvokedMs: Math.max(...sorted.map(({ invokedMs }) => invokedMs)),
      lastAckMs: Math.max(...sorted.map(({ endedMs }) => endedMs)),
    };
  });
  return epochs.toSorted((a, b) => {
    const sameSystem = systemOf(a.name) === systemOf(b.name);
    const byTimeline = sameSystem ? timelineOf(a.name) - timelineOf(b.name) : 0;
    return byTimeline || a.firstAckMs - b.firstAckMs;
  });
};
