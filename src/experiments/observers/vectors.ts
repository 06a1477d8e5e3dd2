import type { VectorItem, VectorPort, VectorStatus } from '../../adapters/ports.ts';
import type { Observation } from '../../core/observation.ts';
import { someDocuments } from '../faults/vectors.ts';
import { compareLooks, type Observer } from './observer.ts';

const finestMs = 500;
/** So many documents are asked for again and again, each by its own vector. */
const panelMax = 8;
const nearestMax = 3;

/** What a look found. */
export interface VectorLook {
  readonly status: VectorStatus;
  /** Documents of the panel that were found by their own vectors. */
  readonly found: number;
  readonly of: number;
}

type Bracket = { readonly minMs: number; readonly maxMs: number };

/** Whether a copy holds something else than its source did when the state was taken that it shows. */
const isDiverged = ({ sync, digest }: VectorStatus): boolean | undefined =>
  sync === null || digest === null ? undefined : digest !== sync.shown.digest;

/** What changed between two looks at one store; all of it at the first look. Pure. */
export const vectorChanges = (
  region: string,
  before: VectorLook | undefined,
  now: VectorLook,
  bracket: Bracket,
): readonly Observation[] => {
  const seen = (name: Observation['name'], data: Observation['data'] = {}): Observation => ({
    name,
    subject: region,
    ...bracket,
    source: 'vector-store',
    data,
  });
  const changes: Observation[] = [];
  const { status } = now;
  const wasRebuilt = before !== undefined && before.status.state !== 'serving' && status.state === 'serving';
  if (wasRebuilt && status.rebuild !== null) {
    const { from, takenMs } = status.rebuild;
    changes.push(seen('vector.rebuilt', { from, takenMs }));
  }
  if (before === undefined || before.found !== now.found || before.of !== now.of) {
    changes.push(seen('vector.recall', { found: now.found, of: now.of }));
  }
  const diverged = isDiverged(status);
  if (diverged !== undefined && diverged !== (before === undefined ? undefined : isDiverged(before.status))) {
    const by = status.sync?.last?.kind ?? null;
    changes.push(seen(diverged ? 'vector.diverged' : 'vector.converged', { by }));
  }
  return changes;
};

/** Looks at a store: its status, and, when its content changed, the panel. The panel is chosen at the first look. */
const createLook = (store: VectorPort) => {
  let panel: readonly VectorItem[] | undefined;
  let last: VectorLook | undefined;
  return async (signal: AbortSignal): Promise<VectorLook> => {
    const status = await store.status(signal);
    if (status.state !== 'serving') {
      last = { status, found: 0, of: panel?.length ?? 0 };
      return last;
    }
    if (panel === undefined) {
      const ids = await someDocuments(store, panelMax, signal);
      const items = await Promise.all(ids.map((id) => store.get(id, signal)));
      panel = items.filter((item) => item !== undefined);
    }
    const isSame = last?.status.state === 'serving' && last.status.digest === status.digest;
    let found = last?.found ?? 0;
    if (!isSame) {
      const answers = await Promise.all(
        panel.map(async ({ id, vector }) => (await store.query(vector, nearestMax, signal)).includes(id)),
      );
      found = answers.filter((isFound) => isFound).length;
    }
    last = { status, found, of: panel.length };
    return last;
  };
};

/** Follows every vector store that can be asked: whether it finds what it holds, and whether copies are copies. */
export const vectorObserver: Observer = {
  name: 'vectors',
  async watch(session, signal, see, lost) {
    const { clock, environment, ports } = session;
    const watchOne = async (region: string): Promise<void> => {
      const store = ports.vectors(region);
      if (store === null) return;
      const take = createLook(store);
      let isFirst = true;
      const look = async (callSignal: AbortSignal): Promise<VectorLook> => {
        const minMs = clock.monotonicMs();
        const now = await take(callSignal);
        // That it is watched at all must be on record: no change is then a finding, and not a blank.
        if (isFirst) {
          for (const one of vectorChanges(region, undefined, now, { minMs, maxMs: clock.monotonicMs() })) see(one);
          isFirst = false;
        }
        return now;
      };
      await compareLooks(session, `vectors of ${region}`, signal, lost, finestMs, look, (before, now, bracket) => {
        for (const one of vectorChanges(region, before, now, bracket)) see(one);
      });
    };
    await Promise.all(environment.regions.map(({ name }) => watchOne(name)));
  },
};
