import { BlackstartError } from '../../core/errors.ts';
import { resolveRegion } from '../../core/places.ts';
import type { FaultContext, Planned } from '../fault.ts';
import { type HostCommand, type HostUndo, hostsOf, noHost, plannedOn } from './hosts.ts';

/*
 * The log of PostgreSQL on its way to a replica, stopped or delayed where it arrives: on the replica's host, for what
 * comes from the hosts of its source.
 */

/** The replica's hosts; each gets an experiment of its own. */
export const planReplica = async (reference: string, context: FaultContext): Promise<readonly Planned<HostUndo>[]> => {
  const { name: region, database } = resolveRegion(context.environment, reference);
  const { instance } = database;
  const now = await context.ports.rds(region).describe(instance, context.signal);
  if (now === undefined || now.source === null) {
    throw new BlackstartError(
      'PLAN_REFUSED',
      `${instance} in ${region} is no read replica: no log comes to it`,
      'Name a region whose database is a replica.',
    );
  }
  const hosts = await hostsOf(instance, [region], context);
  if (hosts.length === 0) throw noHost(instance, region);
  return hosts.map(({ id, zone }) =>
    plannedOn({
      run: context.runId,
      // FIS experiments are told apart by their target: one for each host.
      target: `replication/postgres/${instance}/${id}`,
      region,
      host: id,
      zone,
      home: region,
      instance,
      redundant: false,
    }),
  );
};

/** Addresses of every host that the replica's source may write from, now and after a failover. */
const sourcesOf = async (undo: HostUndo, context: FaultContext): Promise<string> => {
  const { environment, ports, signal } = context;
  const now = await ports.rds(undo.home).describe(undo.instance, signal);
  const regions = environment.regions.map(({ name }) => name);
  const hosts = now?.source == null ? [] : await hostsOf(now.source, regions, context);
  if (hosts.length === 0) throw noHost(now?.source ?? `the source of ${undo.instance}`, 'any region');
  return hosts.map(({ address }) => address).join(',');
};

/** A network document of FIS on what arrives from the source. */
export const networkCommand = async (
  document: string,
  what: Readonly<Record<string, string>>,
  undo: HostUndo,
  context: FaultContext,
): Promise<HostCommand> => ({
  document,
  parameters: {
    ...what,
    Sources: await sourcesOf(undo, context),
    TrafficType: 'ingress',
    DurationSeconds: String(Math.max(60, Math.ceil(context.expiryMs / 1000))),
  },
});

/** Whether what was found by its tags is about PostgreSQL: other stores' replication has the same fault's name. */
export const isPostgres = ({ target }: Pick<HostUndo, 'target'>): boolean => target.startsWith('replication/postgres/');
