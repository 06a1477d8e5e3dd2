import { type ClusterClient, createClusterClient } from '../cluster/client.ts';
import { portAnnotation, zoneLabel } from '../cluster/objects.ts';
import type { LabLayout } from '../layout.ts';
import type { Resource } from './fis-targets.ts';

/** The pods of a region as targets of FIS, read from its Kubernetes API when they are asked for. */
export interface EksPods {
  resources(region: string): Promise<readonly Resource[]>;
  /** `<zone>:<port>`, where the links know it; `undefined` when it is gone or does not listen. */
  address(region: string, arn: string): Promise<string | undefined>;
}

interface ApiPod {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly namespace: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly nodeName?: string; readonly containers?: readonly { readonly name: string }[] };
  readonly status?: { readonly phase?: string };
}

interface ApiNode {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}

interface Found {
  readonly arn: string;
  readonly pod: ApiPod;
  readonly zone: string;
}

const timeoutMs = 5000;

/** `a=b`, `a==b`, `a!=b`, `a` and `!a`, joined by commas: the equality-based selectors of Kubernetes. */
const matchesLabels = (selector: string, labels: Readonly<Record<string, string>>): boolean =>
  selector.split(',').every((term) => {
    const [, key = '', operator = '', value = ''] = /^\s*(!?[^=!\s]+)\s*(?:(==?|!=)\s*(\S*))?\s*$/.exec(term) ?? [];
    if (operator === '!=') return labels[key] !== value;
    if (operator !== '') return labels[key] === value;
    return key.startsWith('!') ? labels[key.slice(1)] === undefined : labels[key] !== undefined;
  });

/** A Deployment's pods bear its name and up to two more words: its ReplicaSet's and their own. */
const isOfDeployment = (deployment: string, pod: string): boolean =>
  pod.startsWith(`${deployment}-`) && /^[a-z0-9]+(-[a-z0-9]+)?$/.test(pod.slice(deployment.length + 1));

const isSelected = ({ pod }: Found, type: string, value: string): boolean => {
  const { name, labels = {} } = pod.metadata;
  if (type === 'podName') return name === value;
  return type === 'labelSelector' ? matchesLabels(value, labels) : isOfDeployment(value, name);
};

const isChosen = (found: Found, clusters: readonly string[], parameters: Readonly<Record<string, string>>): boolean => {
  const { clusterIdentifier = '', namespace, selectorType = '', selectorValue = '' } = parameters;
  const { availabilityZoneIdentifier: zone, targetContainerName: container } = parameters;
  const { metadata, spec } = found.pod;
  return (
    clusters.includes(clusterIdentifier) &&
    metadata.namespace === namespace &&
    isSelected(found, selectorType, selectorValue) &&
    (zone === undefined || zone === found.zone) &&
    (container === undefined || spec.containers?.some(({ name }) => name === container) === true)
  );
};

const itemsOf = <T>(list: unknown): readonly T[] => {
  const items = (list as { readonly items?: unknown } | null)?.items;
  if (!Array.isArray(items)) throw new Error('the Kubernetes API did not list');
  return items;
};

/** The lab's clusters are named as the contexts of its kubeconfig. */
export const createEksPods = (layout: LabLayout): EksPods => {
  const { environment } = layout;
  const clients = new Map<string, ClusterClient>();
  const clientOf = (region: string): ClusterClient => {
    const known = clients.get(region) ?? createClusterClient(layout, 'operator', region);
    clients.set(region, known);
    return known;
  };
  const clusterOf = (region: string): string =>
    environment.regions.find(({ name }) => name === region)?.kubernetes.context ?? region;

  const list = async (region: string): Promise<readonly Found[]> => {
    const client = clientOf(region);
    const [nodes, pods] = await Promise.all(
      ['/api/v1/nodes', '/api/v1/pods'].map((url) => client.request('GET', url, { timeoutMs })),
    );
    const zones = new Map(
      itemsOf<ApiNode>(nodes).map(({ metadata }) => [metadata.name, metadata.labels?.[zoneLabel] ?? '']),
    );
    const account = `arn:aws:eks:${region}:${environment.aws.account}`;
    return itemsOf<ApiPod>(pods)
      .filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && status?.phase === 'Running')
      .map((pod) => {
        const { namespace, name, uid } = pod.metadata;
        const arn = `${account}:pod/${clusterOf(region)}/${namespace}/${name}/${uid}`;
        return { arn, pod, zone: zones.get(pod.spec.nodeName ?? '') ?? '' };
      });
  };

  return {
    async resources(region) {
      const clusters = [
        clusterOf(region),
        `arn:aws:eks:${region}:${environment.aws.account}:cluster/${clusterOf(region)}`,
      ];
      return (await list(region)).map((found) => ({
        arn: found.arn,
        tags: {},
        attributes: {},
        parameters: {},
        chosenBy: (parameters) => isChosen(found, clusters, parameters),
      }));
    },
    async address(region, arn) {
      const found = (await list(region)).find((one) => one.arn === arn);
      const port = found?.pod.metadata.annotations?.[portAnnotation];
      return found === undefined || port === undefined ? undefined : `${found.zone}:${port}`;
    },
  };
};
