import type { DatabaseInstance } from '../../adapters/ports.ts';
import type { Observation } from '../../core/observation.ts';
import { databasesOf } from '../../core/places.ts';
import { compareLooks, type Observer } from './observer.ts';

type Bracket = { readonly minMs: number; readonly maxMs: number };

/** What changed between two descriptions of one instance. Pure. */
export const databaseChanges = (
  before: DatabaseInstance,
  now: DatabaseInstance,
  bracket: Bracket,
): readonly Observation[] => {
  const seen = (name: Observation['name'], data: Observation['data'] = {}): Observation => ({
    name,
    subject: now.id,
    ...bracket,
    source: 'rds',
    data,
  });
  const changes: Observation[] = [];
  if (before.status === 'available' && now.status !== 'available') {
    changes.push(seen('database.unavailable', { status: now.status }));
  }
  if (before.zone !== now.zone || (before.source !== null && now.source === null)) {
    changes.push(seen('database.failover', { zone: now.zone, from: before.zone, promoted: before.source !== null }));
  }
  if (before.status !== 'available' && now.status === 'available') changes.push(seen('database.available'));
  const redundant = (one: DatabaseInstance): boolean => one.secondaryZone !== null || one.source !== null;
  if (!redundant(before) && redundant(now)) {
    changes.push(seen('redundancy.restored', { zone: now.secondaryZone, source: now.source }));
  }
  return changes;
};

/** Of a database that spans regions, only who was elected: the others are what targets of one region look at. */
export const electionsBetween = (
  before: DatabaseInstance,
  now: DatabaseInstance,
  bracket: Bracket,
): readonly Observation[] =>
  before.zone === now.zone
    ? []
    : [
        {
          name: 'database.elected',
          subject: now.id,
          ...bracket,
          source: 'rds',
          data: { zone: now.zone, from: before.zone },
        },
      ];

const finestMs = 1000;

/** Follows every database instance of the environment through the RDS API. */
export const rdsObserver: Observer = {
  name: 'rds',
  async watch(session, signal, see, lost) {
    const look = async (callSignal: AbortSignal): Promise<ReadonlyMap<string, DatabaseInstance>> => {
      const found = new Map<string, DatabaseInstance>();
      for (const { region, instance: id } of databasesOf(session.environment)) {
        const instance = await session.ports.rds(region).describe(id, callSignal);
        if (instance !== undefined) found.set(instance.id, instance);
      }
      return found;
    };
    await compareLooks(session, 'rds', signal, lost, finestMs, look, (before, now, bracket) => {
      for (const [id, instance] of now) {
        const earlier = before.get(id);
        if (earlier === undefined) continue;
        const changesOf = id === session.environment.billing?.instance ? electionsBetween : databaseChanges;
        for (const change of changesOf(earlier, instance, bracket)) see(change);
      }
    });
  },
};
