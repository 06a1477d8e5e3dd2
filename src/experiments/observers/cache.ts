import type { Observation } from '../../core/observation.ts';
import { compareLooks, type Observer } from './observer.ts';

const finestMs = 100;

/** What a look found: the node that took a write, or none. */
interface Served {
  readonly by: string | undefined;
}

/** Follows whether the cache takes writes, and from which node. Where there is no cache, it sees nothing. */
export const cacheObserver: Observer = {
  name: 'cache',
  async watch(session, signal, see, lost) {
    const port = session.ports.cache();
    if (port === null) return;
    const { clock } = session;
    let isFirst = true;
    const look = async (callSignal: AbortSignal): Promise<Served> => {
      const minMs = clock.monotonicMs();
      const by = await port.takesWrites(callSignal);
      // That it is watched at all must be on record: no change is then a finding, and not a blank.
      if (isFirst && by !== undefined) {
        see({ name: 'cache.served', ...seenBy(by), minMs, maxMs: clock.monotonicMs() });
        isFirst = false;
      }
      return { by };
    };
    try {
      await compareLooks(session, 'cache', signal, lost, finestMs, look, (before, now, bracket) => {
        if (before.by === now.by || isFirst) return;
        if (before.by !== undefined) see({ name: 'cache.unserved', ...seenBy(before.by), ...bracket });
        if (now.by !== undefined) see({ name: 'cache.served', ...seenBy(now.by), ...bracket });
      });
    } finally {
      port.close();
    }
  },
};

const seenBy = (node: string): Pick<Observation, 'subject' | 'source' | 'data'> => ({
  subject: node,
  source: 'redis',
  data: {},
});
