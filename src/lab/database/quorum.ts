import { messageOf } from '../../core/errors.ts';
import { type LabLayout, type Place, regionPlace, scaledTimeout } from '../layout.ts';
import type { Service } from './instance.ts';
import type { PostgresNode } from './node.ts';

/**
 * Who has a say in whether a writer is gone: the control plane of each region, in none of its zones. An even number
 * could split in halves, so the operator's control plane, outside all regions, joins as a witness.
 */
export const observersOf = ({ environment }: Pick<LabLayout, 'environment'>): readonly Place[] => {
  const regions = environment.regions.map(({ name }) => regionPlace(name));
  return regions.length % 2 === 1 ? regions : [...regions, 'operator'];
};

/** How many of so many are more than half. */
export const majorityOf = (observers: number): number => Math.floor(observers / 2) + 1;

export interface Votes {
  /** Observers that a server answers. */
  readonly seenBy: readonly Place[];
  readonly observers: number;
}

export const isMajority = (count: number, { observers }: Pick<Votes, 'observers'>): boolean =>
  count >= majorityOf(observers);

/** Asks every observer at once whether it sees a server, a standby only while it is one. */
export const votesOn = async (
  { context, session }: Service,
  node: PostgresNode,
  as: 'writer' | 'standby' = 'writer',
): Promise<Votes> => {
  const observers = observersOf(context.layout);
  const timeoutMs = scaledTimeout(context.layout, context.layout.settings.database.checkTimeout);
  const sees = async (observer: Place): Promise<boolean> => {
    try {
      const [row] = await session(observer, node, 'vote').query('SELECT pg_is_in_recovery() AS recovery', timeoutMs);
      return (row?.['recovery'] === true) === (as === 'standby');
    } catch (error) {
      context.log(`${node.id} does not answer ${observer}: ${messageOf(error)}`);
      return false;
    }
  };
  const seen = await Promise.all(observers.map(sees));
  return { seenBy: observers.filter((_, index) => seen[index]), observers: observers.length };
};

/** Whether a majority sees a writer, asked as often as its monitor would; one look that is lost decides nothing. */
export const isSeenByMajority = async (service: Service, node: PostgresNode): Promise<boolean> => {
  const { checkFailures } = service.context.layout.settings.database;
  for (let attempt = 0; attempt < checkFailures; attempt += 1) {
    const votes = await votesOn(service, node);
    if (isMajority(votes.seenBy.length, votes)) return true;
  }
  return false;
};

/** Only a side that holds both a standby and most observers may elect; the others of a partition refuse. */
export type Election =
  | { readonly kind: 'elected' | 'refused'; readonly why: string; readonly seenBy: readonly Place[] }
  | { readonly kind: 'uncontested'; readonly why: string };

/** Whether the standby may take over: the writer is gone for a majority, and the standby answers one. */
export const elect = async (
  service: Service,
  votesOnWriter: Promise<Votes>,
  standby: PostgresNode,
): Promise<Election> => {
  const [writer, candidate] = await Promise.all([votesOnWriter, votesOn(service, standby, 'standby')]);
  const { observers, seenBy } = writer;
  const gone = observers - seenBy.length;
  if (!isMajority(gone, writer)) {
    const why = `${gone} of ${observers} observers miss the writer: no majority`;
    return gone === 0 ? { kind: 'uncontested', why } : { kind: 'refused', why, seenBy };
  }
  const why = `${candidate.seenBy.length} of ${observers} observers see the standby in ${standby.zone}`;
  return {
    kind: isMajority(candidate.seenBy.length, candidate) ? 'elected' : 'refused',
    why,
    seenBy: candidate.seenBy,
  };
};
