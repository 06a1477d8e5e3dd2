import { describe, expect, it } from 'vitest';
import type { DatabaseInstance, DnsRecord, Ports } from '../../../adapters/ports.ts';
import { systemClock } from '../../../core/clock.ts';
import type { Environment } from '../../../core/environment.ts';
import type { FaultContext } from '../../fault.ts';
import { databasePromote } from './index.ts';

const west = 'conversations-us-west-2';
const east = 'conversations-us-east-1';
const home = `${west}.rds`;

/** A world of two instances and one name, with the rules of RDS that matter; `stopAfter` kills the client there. */
const worldOf = (state: {
  west?: string | null;
  east?: string | null;
  name?: string;
  stopAfter?: number;
  /** Looks at the eastern instance for which its promotion is still under way. */
  promotingFor?: number;
  westStopped?: boolean;
}) => {
  const source: Record<string, string | null> = { [west]: state.west ?? null, [east]: state.east ?? null };
  let name = state.name ?? home;
  let left = state.stopAfter ?? Number.POSITIVE_INFINITY;
  let promotingFor = state.promotingFor ?? 0;
  let westStopped = state.westStopped ?? false;
  const statusOf = (id: string): string => {
    if (id === west) return westStopped ? 'stopped' : 'available';
    if (promotingFor === 0) return 'available';
    promotingFor -= 1;
    if (promotingFor === 0) source[east] = null;
    return 'modifying';
  };
  const calls: string[] = [];
  const change = (call: string): void => {
    if (left <= 0) throw new Error('killed');
    left -= 1;
    calls.push(call);
  };
  const describeOne = (id: string): DatabaseInstance => ({
    id,
    arn: id,
    status: statusOf(id),
    zone: 'z',
    secondaryZone: 'y',
    multiZone: id === west,
    endpoint: id,
    source: source[id] ?? null,
    replicas: [],
  });
  const ports = {
    rds: () => ({
      describe: async (id: string) => describeOne(id),
      promote: async (id: string) => {
        change(`promote ${id}`);
        source[id] = null;
      },
      start: async (id: string) => {
        change(`start ${id}`);
        westStopped = false;
      },
      createReplica: async (id: string, of: string) => {
        if (of === west && westStopped) throw new Error('a source must be available');
        if (id === west) westStopped = false;
        change(`replica ${id} of ${of}`);
        source[id] = of;
      },
    }),
    route53: () => ({
      getRecord: async (): Promise<DnsRecord> => ({ name: 'db', type: 'CNAME', value: name, ttlSeconds: 0 }),
      putRecord: async (_zone: string, record: DnsRecord) => {
        change(`name ${record.value}`);
        name = record.value;
      },
    }),
  } as unknown as Ports;
  return {
    ports,
    calls,
    source,
    name: () => name,
    revive: () => {
      left = Number.POSITIVE_INFINITY;
    },
    set: (value: string) => {
      name = value;
    },
  };
};

const contextOf = (ports: Ports): FaultContext => ({
  runId: 'run-1',
  environment: {} as Environment,
  timeScale: 1000,
  clock: systemClock,
  ports,
  signal: new AbortController().signal,
  random: () => 0,
  expiryMs: 0,
});

const undo = {
  original: { region: 'us-west-2', instance: west },
  promoted: { region: 'us-east-1', instance: east },
  zoneId: 'Z',
  recordName: 'db',
  recordValue: home,
  ttlSeconds: 0,
};

describe('failing back from a promotion', () => {
  it('touches nothing when the promotion never happened', async () => {
    const world = worldOf({ east: west });
    await databasePromote.revert(undo, contextOf(world.ports));
    expect(world.calls).toEqual([]);
    expect(await databasePromote.isReverted(undo, contextOf(world.ports))).toEqual({ state: 'reverted' });
  });

  it('goes home in the order that loses no write: resync, name, promotion, replica', async () => {
    const world = worldOf({ name: `${east}.rds` });
    await databasePromote.revert(undo, contextOf(world.ports));
    expect(world.calls).toEqual([
      `replica ${west} of ${east}`,
      `name ${home}`,
      `promote ${west}`,
      `replica ${east} of ${west}`,
    ]);
    expect(await databasePromote.isReverted(undo, contextOf(world.ports))).toEqual({ state: 'reverted' });
  });

  it('takes the promoted instance for the copy when its name never moved there', async () => {
    const world = worldOf({});
    await databasePromote.revert(undo, contextOf(world.ports));
    expect(world.calls).toEqual([`replica ${east} of ${west}`]);
  });

  it('starts the original again where it was shut for the promotion and has every write', async () => {
    const world = worldOf({ westStopped: true });
    await databasePromote.revert(undo, contextOf(world.ports));
    expect(world.calls).toEqual([`start ${west}`, `replica ${east} of ${west}`]);
    expect(await databasePromote.isReverted(undo, contextOf(world.ports))).toEqual({ state: 'reverted' });
  });

  it('makes a copy of the promoted one of an original that was shut and has not every write', async () => {
    const world = worldOf({ westStopped: true, name: `${east}.rds` });
    await databasePromote.revert(undo, contextOf(world.ports));
    expect(world.calls[0]).toBe(`replica ${west} of ${east}`);
    expect(world.source).toEqual({ [west]: null, [east]: west });
  });

  it('waits for a promotion that is under way instead of taking it for one that never happened', async () => {
    const world = worldOf({ east: west, promotingFor: 3 });
    await databasePromote.revert(undo, contextOf(world.ports));
    expect(world.calls).toEqual([`replica ${east} of ${west}`]);
    expect(await databasePromote.isReverted(undo, contextOf(world.ports))).toEqual({ state: 'reverted' });
  });

  it('killed after any call, comes home when it is run again', async () => {
    for (let stopAfter = 0; stopAfter <= 4; stopAfter += 1) {
      const world = worldOf({ name: `${east}.rds`, stopAfter });
      await databasePromote.revert(undo, contextOf(world.ports)).catch(() => undefined);
      world.revive();
      await databasePromote.revert(undo, contextOf(world.ports));
      expect(world.source).toEqual({ [west]: null, [east]: west });
      expect(world.name()).toBe(home);
      // Never the wrong way round once the original has authority: that would lose writes.
      const promoted = world.calls.indexOf(`promote ${west}`);
      expect(world.calls.slice(promoted + 1)).not.toContain(`replica ${west} of ${east}`);
    }
  });

  it('shows the difference when somebody pointed the name elsewhere', async () => {
    const world = worldOf({ east: west });
    world.set('somewhere.else');
    expect(await databasePromote.isReverted(undo, contextOf(world.ports))).toEqual({
      state: 'conflict',
      difference: `db: was ${home}, is now somewhere.else`,
    });
  });

  it('touches nothing when somebody pointed the name elsewhere, however far the promotion came', async () => {
    for (const state of [{ east: west }, {}, { west: east }]) {
      const world = worldOf({ ...state, name: 'somewhere.else' });
      await expect(databasePromote.revert(undo, contextOf(world.ports))).rejects.toMatchObject({
        code: 'CONFLICT',
        message: expect.stringContaining(`was ${home}, is now somewhere.else`),
      });
      expect(world.calls).toEqual([]);
      expect(await databasePromote.isReverted(undo, contextOf(world.ports))).toMatchObject({ state: 'conflict' });
    }
  });
});
