/**
 * When probes are sent: an absolute grid per stream that never waits for an answer. Everything here is pure; the
 * sender owns the clock.
 */
export interface Grid {
  readonly firstMs: number;
  readonly everyMs: number;
}

/** One probe that is due. `send` is false for one that comes too late to be sent. */
export interface Due {
  readonly index: number;
  readonly scheduledMs: number;
  readonly send: boolean;
}

/**
 * A grid whose phase is random within one spacing, so that probing keeps no step with what the platform does
 * periodically (RFC 3432 asks the same of periodic streams). `random` is in [0, 1).
 */
export const gridFrom = (startMs: number, everyMs: number, random: number): Grid => ({
  firstMs: startMs + random * everyMs,
  everyMs,
});

export const scheduledMs = (grid: Grid, index: number): number => grid.firstMs + index * grid.everyMs;

/**
 * The probes due by now, from `nextIndex` on, oldest first. One that is a whole spacing late or more is not sent: a
 * burst of overdue probes would be many opinions on one instant. So at most one of them is sent, the last.
 */
export const dueBy = (grid: Grid, nextIndex: number, nowMs: number): readonly Due[] => {
  const due: Due[] = [];
  for (let index = nextIndex; scheduledMs(grid, index) <= nowMs; index += 1) {
    const at = scheduledMs(grid, index);
    due.push({ index, scheduledMs: at, send: scheduledMs(grid, index + 1) > nowMs });
  }
  return due;
};

/**
 * Most probes that may be in flight: λτ (Little), and half as many again, because a time-out may fire late. Beyond it
 * a probe is dropped rather than sent, so that nothing grows without bound.
 */
export const inFlightMax = (everyMs: number, timeoutMs: number): number => Math.ceil((timeoutMs / everyMs) * 1.5) + 8;
