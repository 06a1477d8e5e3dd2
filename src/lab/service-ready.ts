import { readFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { callControl } from './control.ts';
import { forwardPort, type LabLayout } from './layout.ts';

interface PodList {
  readonly items: readonly { readonly status?: { readonly conditions?: readonly Record<string, unknown>[] } }[];
}

interface Health {
  readonly regions: readonly {
    readonly region: string;
    readonly healthy: boolean;
    readonly zones: readonly { readonly zone: string; readonly healthy: boolean }[];
  }[];
}

const requestTimeoutMs = 3000;

const getJson = (layout: LabLayout, region: string, pathname: string, ca: Buffer): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const request = https.get(
      {
        host: '127.0.0.1',
        port: forwardPort(layout, 'operator', `kubernetes/${region}`),
        path: pathname,
        ca,
        agent: false,
        signal: AbortSignal.timeout(requestTimeoutMs),
        headers: { authorization: `Bearer ${layout.token}` },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () => {
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    request.once('error', (cause) => {
      reject(new Error(`the Kubernetes API of ${region} does not answer: ${cause.message}`, { cause }));
    });
  });

/** Pods this environment asks for. */
export const podsWanted = (layout: LabLayout): number =>
  layout.environment.regions
    .flatMap(({ zones }) => zones)
    .reduce(
      (sum, { pods }) => sum + (pods === undefined ? 0 : pods.gateway + pods.orchestrator + pods.rag + pods.llm),
      0,
    );

/** How many pods are ready now, over all regions. */
export const podsReady = async (layout: LabLayout): Promise<number> => {
  const ca = readFileSync(path.join(layout.stateDir, 'ca.pem'));
  const counts = layout.environment.regions.map(async ({ name, kubernetes }) => {
    const list = await getJson(layout, name, `/api/v1/namespaces/${kubernetes.namespace}/pods`, ca);
    const ready = (list as PodList).items.filter(({ status }) =>
      status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
    );
    return ready.length;
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
};

/** Zones whose balancer the health checkers behind GeoDNS do not call healthy yet. */
export const zonesUnhealthy = async (layout: LabLayout): Promise<readonly string[]> => {
  const { regions } = (await callControl(layout, 'dns', 'GET', '/health')) as Health;
  return regions.flatMap(({ zones }) => zones.filter(({ healthy }) => !healthy).map(({ zone }) => zone));
};
