import { createAlertsPort } from '../adapters/alertmanager.ts';
import { createAwsPorts } from '../adapters/aws-client.ts';
import { createKubernetesPort } from '../adapters/kubernetes.ts';
import type { KubernetesPort, Ports, VectorPort } from '../adapters/ports.ts';
import { createCachePort } from '../adapters/redis.ts';
import { createVectorPort } from '../adapters/vectors.ts';
import { type Addresses, environmentIdentity, readAddresses } from '../core/addresses.ts';
import type { Clock } from '../core/clock.ts';
import type { Environment } from '../core/environment.ts';
import { faults } from '../experiments/index.ts';
import type { Session } from '../experiments/reverter.ts';

/** An environment that can be reached, and where its entry points are. */
export interface Reached {
  readonly session: Session;
  readonly addresses: Addresses;
}

const portsOf = (addresses: Addresses, clock: Clock): Ports => {
  const clusters = new Map<string, KubernetesPort>();
  const stores = new Map<string, VectorPort>();
  const aws = createAwsPorts({
    endpoint: addresses.awsEndpoint,
    credentialsFile: addresses.awsCredentialsFile,
    clock,
  });
  return {
    kubernetes(context) {
      const known = clusters.get(context);
      if (known !== undefined) return known;
      const made = createKubernetesPort({ kubeconfig: addresses.kubeconfig, context, clock });
      clusters.set(context, made);
      return made;
    },
    ...aws,
    vectors(region) {
      const address = addresses.vectors[region];
      if (address === undefined) return null;
      const known = stores.get(region) ?? createVectorPort({ region, address, clock });
      stores.set(region, known);
      return known;
    },
    cache: () => (addresses.cache.length === 0 ? null : createCachePort(addresses.cache)),
    alerts: () => (addresses.alertmanager === null ? null : createAlertsPort(addresses.alertmanager)),
  };
};

/** Finds out where the environment is reached. Throws UNREACHABLE when its lab is not up. */
export const reach = async (environment: Environment, clock: Clock): Promise<Reached> => {
  const addresses = await readAddresses(environment);
  const session: Session = {
    clock,
    environment,
    timeScale: addresses.timeScale,
    ports: portsOf(addresses, clock),
    identity: environmentIdentity(environment, addresses),
    faults,
  };
  return { session, addresses };
};
