import { BlackstartError } from '../core/errors.ts';
import { resolveRegion } from '../core/places.ts';
import type { Cycle } from './phase.ts';
import type { Session } from './reverter.ts';

/** Where a mechanism stands, as the environment itself says. */
export interface Standing {
  readonly cycle: Cycle;
  /** When the state was taken that is shown now, on this machine's monotonic clock. */
  readonly takenMs: number;
}

/** A periodic mechanism of the platform that an experiment can be aligned to. */
export interface Mechanism {
  readonly name: string;
  readonly summary: string;
  /** Throws UNREACHABLE when nobody can tell, and PLAN_REFUSED where there is no such mechanism. */
  standing(session: Session, region: string, signal: AbortSignal): Promise<Standing>;
}

const vectorSync: Mechanism = {
  name: 'vector-sync',
  summary: "The periodic sync of a region's vector store from the primary region's.",
  async standing({ environment, ports }, reference, signal) {
    const { name: region } = resolveRegion(environment, reference);
    const sync = (await ports.vectors(region)?.status(signal))?.sync;
    if (sync === undefined || sync === null || sync.pausedBy !== null) {
      throw new BlackstartError(
        'PLAN_REFUSED',
        typeof sync?.pausedBy === 'string'
          ? `the syncs of the vector store of ${region} are paused by ${sync.pausedBy}, so they have no phase`
          : `the vector store of ${region} does not say when it follows another one`,
        'Choose a region whose store follows the primary one, and name its address in the environment.',
      );
    }
    const { periodMs, durationMs, runningSinceMs, nextDueMs, shown } = sync;
    return { cycle: { periodMs, durationMs, beginsMs: runningSinceMs ?? nextDueMs }, takenMs: shown.takenMs };
  },
};

/** Every mechanism whose phase can be chosen. Adding one is an entry here; the schema derives from it. */
export const mechanisms: readonly Mechanism[] = [vectorSync];
