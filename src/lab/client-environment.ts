import { messageOf } from '../core/errors.ts';
import { primaryRegion } from '../core/places.ts';
import { callControl } from './control.ts';
import { clientPlace, clusterOf, databaseNodes, forwardPort, type LabLayout } from './layout.ts';
import { addressesOf } from './state.ts';
import { requireRunning } from './status.ts';
import { markUsed } from './used.ts';

interface Instance {
  readonly id: string;
  readonly zone: string;
  readonly source: string | null;
  readonly region: string;
}

/** The zone of the database's writer: where the primary's instance is now, else where it starts. */
const writerZone = async (layout: LabLayout): Promise<string> => {
  const primary = primaryRegion(layout.environment).database;
  try {
    const instances = (await callControl(layout, 'database', 'GET', '/instances')) as readonly Instance[];
    // Billing is a database of its own.
    const isOther = (id: string): boolean => id === layout.environment.billing?.instance;
    const writers = instances.filter(({ id, source }) => source === null && !isOther(id));
    const writer = writers.find(({ id }) => id === primary.instance) ?? writers[0];
    const nodes = databaseNodes(layout.environment).filter((node) => clusterOf(node) === primary.instance);
    const zones = nodes.map(({ zone }) => zone);
    return writer !== undefined && zones.includes(writer.zone) ? writer.zone : primary.zone;
  } catch (error) {
    throw new Error(`the lab's database control does not say where the writer is: ${messageOf(error)}`, {
      cause: error,
    });
  }
};

/** The service as the first client location reaches it: its nearest region's first zone. */
const serviceUrl = (layout: LabLayout): string => {
  const { clients, regions } = layout.environment;
  const client = clients[0];
  const region = client?.prefers
    .map((name) => regions.find((one) => one.name === name))
    .find((one) => one !== undefined);
  const zone = (region ?? primaryRegion(layout.environment)).zones[0];
  const place = client === undefined ? 'operator' : clientPlace(client.name);
  return `http://127.0.0.1:${forwardPort(layout, place, `balancer/${zone?.name}`)}`;
};

/**
 * Environment variables under which programs nobody here wrote (kubectl, aws, psql, an OpenAI SDK) work on the lab.
 * Throws UNREACHABLE when it is not up.
 */
export const labEnv = async (name: string): Promise<Readonly<Record<string, string>>> => {
  const { layout } = requireRunning(name);
  markUsed(layout.stateDir);
  const { kubeconfig, awsEndpoint } = addressesOf(layout);
  const region = primaryRegion(layout.environment).name;
  const zone = await writerZone(layout);
  const url = serviceUrl(layout);
  return {
    KUBECONFIG: kubeconfig ?? '',
    AWS_ENDPOINT_URL: awsEndpoint ?? '',
    AWS_ACCESS_KEY_ID: layout.awsAccessKeyId,
    AWS_SECRET_ACCESS_KEY: layout.token,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    PGHOST: '127.0.0.1',
    PGPORT: String(forwardPort(layout, 'operator', `postgres/${zone}`)),
    PGUSER: layout.databaseUser,
    PGPASSWORD: layout.databasePassword,
    PGDATABASE: layout.environment.service.databaseName,
    ALERTMANAGER_URL: `http://127.0.0.1:${layout.monitoring}`,
    OPENAI_BASE_URL: `${url}/v1`,
    OPENAI_API_KEY: 'lab',
    BLACKSTART_SERVICE_URL: url,
    BLACKSTART_DNS: `127.0.0.1:${layout.resolvers['operator']}`,
  };
};
