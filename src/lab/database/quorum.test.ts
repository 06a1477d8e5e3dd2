import { describe, expect, it } from 'vitest';
import { labEnvironment } from '../testing.ts';
import type { Service } from './instance.ts';
import type { PostgresNode } from './node.ts';
import { elect, majorityOf, observersOf, votesOn } from './quorum.ts';

const environment = labEnvironment();
const [west, east] = environment.regions;
const node = (zone: string): PostgresNode => ({ id: `postgres/${zone}`, zone }) as unknown as PostgresNode;

/** A control whose observers see what the table says: in recovery, writing, or nothing. */
const serviceOf = (sees: (observer: string, id: string) => boolean | undefined): Service =>
  ({
    context: { layout: { environment, settings: environment.lab, timeScale: 20 }, log: () => undefined },
    session: (place: string, { id }: PostgresNode) => ({
      query: async () => {
        const recovery = sees(place, id);
        if (recovery === undefined) throw new Error('no answer');
        return [{ recovery }];
      },
    }),
  }) as unknown as Service;

const writer = node('us-west-2a');
const standby = node('us-east-1b');
const election = (sees: (observer: string, id: string) => boolean | undefined) => {
  const service = serviceOf(sees);
  return elect(service, votesOn(service, writer), standby);
};

describe('who has a say', () => {
  it('every region, and a witness where their number could split in halves', () => {
    expect(observersOf({ environment })).toEqual(['region/us-west-2', 'region/us-east-1', 'region/eu-central-1']);
    if (west === undefined || east === undefined) throw new Error('the lab has two regions at least');
    const two = { environment: { ...environment, regions: [west, east] } };
    expect(observersOf(two)).toEqual(['region/us-west-2', 'region/us-east-1', 'operator']);
    expect([1, 2, 3, 4, 5].map(majorityOf)).toEqual([1, 2, 2, 3, 3]);
  });
});

describe('an election', () => {
  it('is won by the standby that a majority sees, while a majority misses the writer', async () => {
    const result = await election((observer, id) => {
      if (id === writer.id) return observer === 'region/us-west-2' ? false : undefined;
      return observer === 'region/us-west-2' ? undefined : true;
    });
    expect(result).toMatchObject({ kind: 'elected', seenBy: ['region/us-east-1', 'region/eu-central-1'] });
  });

  it('is refused on the side of the minority, whatever it sees itself', async () => {
    const result = await election((observer, id) => {
      if (id === writer.id) return observer === 'region/us-east-1' ? undefined : false;
      return observer === 'region/us-east-1' ? true : undefined;
    });
    expect(result).toMatchObject({ kind: 'refused', why: '1 of 3 observers miss the writer: no majority' });
  });

  it('is refused when nobody, or a minority, sees the standby, or when it is none any more', async () => {
    expect(await election(() => undefined)).toMatchObject({ kind: 'refused' });
    const alone = await election((observer, id) =>
      id === standby.id && observer === 'region/us-east-1' ? true : undefined,
    );
    expect(alone).toMatchObject({ kind: 'refused' });
    expect(await election((_, id) => (id === standby.id ? false : undefined))).toMatchObject({ kind: 'refused' });
  });

  it('is not held for a writer that everybody sees', async () => {
    expect(await election((_, id) => id === standby.id)).toMatchObject({ kind: 'uncontested' });
  });
});
