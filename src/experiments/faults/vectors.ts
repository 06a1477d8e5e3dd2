import type { VectorPort } from '../../adapters/ports.ts';
import type { Environment } from '../../core/environment.ts';
import { BlackstartError } from '../../core/errors.ts';
import { resolveRegion } from '../../core/places.ts';
import type { FaultContext, Permission } from '../fault.ts';

/** What of blackstart's own is in a store begins so; its documents do not. */
export const ownPrefix = 'blackstart/';

export const storeOf = ({ ports }: Pick<FaultContext, 'ports'>, region: string): VectorPort => {
  const port = ports.vectors(region);
  if (port !== null) return port;
  throw new BlackstartError(
    'UNREACHABLE',
    `nobody says where the vector store of ${region} is`,
    'Name it in the environment under addresses.vectors.',
  );
};

/** Documents of a store, a few of them, spread over the first page of its list. */
export const someDocuments = async (
  store: VectorPort,
  count: number,
  signal: AbortSignal,
): Promise<readonly string[]> => {
  const pageMax = 1000;
  const { ids } = await store.list('', '', pageMax, signal);
  const documents = ids.filter((id) => !id.startsWith(ownPrefix));
  const wanted = Math.min(count, documents.length);
  return Array.from({ length: wanted }, (_, index) => documents[Math.floor((index * documents.length) / wanted)] ?? '');
};

export const storePermissions = (
  environment: Environment,
  region: string,
  actions: readonly string[],
): readonly Permission[] => {
  const { name } = resolveRegion(environment, region);
  return actions.map((action) => ({ provider: 'vector-store', action, resource: `vector/${name}` }));
};
