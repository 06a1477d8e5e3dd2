/**
 * Replication lag on one clock. A heartbeat that the primary acknowledged before a replica was asked, and that the
 * replica does not show, proves that the replica is at least so far behind. With nothing hidden it is not behind,
 * however long nobody wrote anything: an idle primary raises no alarm.
 */
export interface Heartbeats {
  acknowledged(sequence: number, atMs: number): void;
  /** Least lag in milliseconds of a replica that was asked at `askedMs`; `undefined` while there was no heartbeat. */
  lagMs(shown: number | null, askedMs: number): number | undefined;
}

const keptMax = 20_000;

export const createHeartbeats = (): Heartbeats => {
  /** In order of sequence and time. */
  const kept: { readonly sequence: number; readonly atMs: number }[] = [];
  return {
    acknowledged(sequence, atMs) {
      kept.push({ sequence, atMs });
      // The oldest stays: it says how far behind a replica is that has stood still all along.
      if (kept.length > keptMax) kept.splice(1, 1);
    },
    lagMs(shown, askedMs) {
      if (kept.length === 0) return undefined;
      let low = 0;
      let high = kept.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((kept[middle]?.sequence ?? 0) > (shown ?? Number.NEGATIVE_INFINITY)) high = middle;
        else low = middle + 1;
      }
      const hidden = kept[low];
      return hidden === undefined ? 0 : Math.max(0, askedMs - hidden.atMs);
    },
  };
};
