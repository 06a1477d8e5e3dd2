import type { ComponentContext } from '../component.ts';
import { ControlError } from '../control.ts';
import { type DatabaseNode, type LabLayout, type Place, regionPlace } from '../layout.ts';
import type { PostgresNode } from './node.ts';
import { openSession, type Session } from './session.ts';

/** Status words of RDS, as far as the lab moves through them. */
export type InstanceStatus =
  | 'creating'
  | 'available'
  | 'failing-over'
  | 'rebooting'
  | 'modifying'
  | 'starting'
  /** Fenced: its servers were shut because another instance took over while this one could not be reached. */
  | 'stopped'
  | 'failed';

/** A database instance as RDS has it: one writer, perhaps a standby in another zone, perhaps a source it replicates. */
export interface Instance {
  readonly id: string;
  readonly region: string;
  /** The database its clients connect to; instances of one replication have the same. */
  readonly databaseName: string;
  readonly nodes: readonly PostgresNode[];
  status: InstanceStatus;
  /** The node that clients are sent to; of a replica, the one they may read from. */
  writer: PostgresNode;
  /** Identifier of the instance it replicates from; undefined for a primary. */
  source: string | undefined;
  /** Server that the writer of a replica was last told to stream from. */
  upstream: string | undefined;
  /** Commits wait for the standby: the writer was told so. */
  quorum: boolean;
  /** Every acknowledged commit is on the standby: only then may it take over. */
  synchronised: boolean;
  /** The standby streams from the writer. */
  standbyStreams: boolean;
  /** The standby's files are those of a former primary or of nothing: it may not start before it is rebuilt. */
  standbyStale: boolean;
  /** How far its writer's log reached when it was last looked at. */
  positionBytes: number;
  /** The one change that is under way. */
  operation: { readonly name: string; readonly abort: AbortController; readonly done: Promise<void> } | undefined;
  /** Upkeep of the standby or of the stream, which an operation waits for. */
  upkeep: Promise<void> | undefined;
  /** Why the last election was refused, so that it is told once. */
  refusedWhy: string | undefined;
  /** The DNS control has been told where the writer is. */
  published: boolean;
  /** Why the DNS control did not take it the last time, so that it is logged once. */
  unpublishedWhy: string | undefined;
}

export interface Description {
  readonly id: string;
  readonly region: string;
  readonly status: InstanceStatus;
  readonly zone: string;
  readonly secondaryZone: string | null;
  readonly multiZone: boolean;
  readonly source: string | null;
  readonly replicas: readonly string[];
  readonly endpoint: string;
  readonly nodes: readonly { readonly id: string; readonly zone: string; readonly pid: number | null }[];
}

/** What can be switched while the lab runs. */
export interface Switches {
  /** The old primary is shut before another server takes over. */
  fencing: boolean;
}

/** What every part of the database control works on. */
export interface Service {
  readonly context: Pick<ComponentContext, 'layout' | 'log' | 'truth' | 'signal'>;
  readonly instances: readonly Instance[];
  readonly switches: Switches;
  /** One kept session per place, server and purpose: what is asked on one waits for what was asked before. */
  session(place: Place, node: PostgresNode, purpose?: 'vote'): Session;
}

export const createInstances = (
  specs: readonly DatabaseNode[],
  nodes: readonly PostgresNode[],
): readonly Instance[] => {
  const ids = [...new Set(specs.map((spec) => spec.instance))];
  return ids.flatMap((id): Instance[] => {
    const own = specs.filter((spec) => spec.instance === id);
    const members = nodes.filter((node) => own.some((spec) => spec.id === node.id));
    const writer = members.find((node) => own.some((spec) => spec.id === node.id && spec.role !== 'standby'));
    if (writer === undefined) return [];
    const [first] = own;
    const source = first?.source;
    const upstream = specs.find((spec) => spec.instance === source && spec.role === 'primary');
    return [
      {
        id,
        region: writer.region,
        databaseName: first?.databaseName ?? '',
        nodes: members,
        status: 'creating',
        writer,
        source,
        upstream: upstream?.server,
        quorum: members.length > 1,
        synchronised: false,
        standbyStreams: false,
        standbyStale: false,
        positionBytes: 0,
        operation: undefined,
        upkeep: undefined,
        refusedWhy: undefined,
        published: false,
        unpublishedWhy: undefined,
      },
    ];
  });
};

export const createSessions = (layout: LabLayout): Service['session'] => {
  const sessions = new Map<string, Session>();
  return (place, node, purpose) => {
    const key = `${place} ${node.id} ${purpose ?? ''}`;
    const session = sessions.get(key) ?? openSession(layout, place, node.id);
    sessions.set(key, session);
    return session;
  };
};

export const standbyOf = ({ nodes, writer }: Instance): PostgresNode | undefined =>
  nodes.find((node) => node !== writer);

/** Where RDS looks from: the control plane of the writer's region, in none of its zones. */
export const observerOf = ({ writer }: Instance): Place => regionPlace(writer.region);

/** Its writer and its standby are in different regions: neither region alone may say which of them is to write. */
export const spansRegions = ({ nodes }: Instance): boolean => new Set(nodes.map(({ region }) => region)).size > 1;

export const instanceOf = ({ instances }: Service, id: string): Instance => {
  const found = instances.find((instance) => instance.id === id);
  if (found === undefined) throw new ControlError(404, 'DBInstanceNotFound', `DBInstance ${id} not found.`);
  return found;
};

/** The primary at the root of an instance's replication, itself when it is one. */
export const rootOf = (service: Service, instance: Instance): Instance =>
  instance.source === undefined ? instance : rootOf(service, instanceOf(service, instance.source));

export const describe = (service: Service, instance: Instance): Description => {
  const standby = standbyOf(instance);
  const redundant = instance.source === undefined ? instance.synchronised : instance.standbyStreams;
  return {
    id: instance.id,
    region: instance.region,
    status: instance.status,
    zone: instance.writer.zone,
    secondaryZone: standby !== undefined && redundant ? standby.zone : null,
    multiZone: instance.nodes.length > 1,
    source: instance.source ?? null,
    replicas: service.instances.filter(({ source }) => source === instance.id).map(({ id }) => id),
    endpoint: `${instance.id}.${service.context.layout.environment.service.databaseDomain}`,
    nodes: instance.nodes.map((node) => ({ id: node.id, zone: node.zone, pid: node.pid() ?? null })),
  };
};

export const setStatus = ({ context }: Service, instance: Instance, status: InstanceStatus): void => {
  if (instance.status === status) return;
  context.log(`${instance.id}: ${instance.status} → ${status}`);
  context.truth('database.status-changed', instance.id, { from: instance.status, to: status });
  instance.status = status;
};
