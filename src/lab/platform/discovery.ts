import { readFileSync } from 'node:fs';
import type http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import type { ComponentContext } from '../component.ts';
import type { LabLayout, Place } from '../layout.ts';
import { forwardPort } from '../layout.ts';
import { alarm } from './http.ts';

/** A pod that can be called, as the region's Kubernetes API described it last. */
export interface PodTarget {
  /** Changes when the pod's process does: a restarted container is a new target. */
  readonly key: string;
  readonly name: string;
  readonly app: string;
  readonly zone: string;
  readonly port: number;
}

export interface Discovery {
  /** Ready pods of a workload. The last known ones while the API cannot be reached. */
  ready(app: string): readonly PodTarget[];
  /** Whether the API was reached at least once: until then an empty list means nothing. */
  isSynced(): boolean;
  onChange(listener: () => void): void;
}

const listTimeoutMs = 3000;
const pauseMs = 100;
/** A watch is asked to end after this, and is given up a little later: a black hole must not hold it for ever. */
const watchSeconds = 60;
const watchSlackMs = 5000;

interface ApiPod {
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly nodeName?: string };
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly containerID?: string }[];
  };
}

interface ApiNode {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}

interface ApiList<T> {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly T[];
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: ApiPod;
}

const zoneLabel = 'topology.kubernetes.io/zone';
const portAnnotation = 'lab.blackstart.dev/port';

interface Api {
  /** Resolves with a 200 response whose body is still to be read. */
  get(url: string, timeoutMs: number): Promise<http.IncomingMessage>;
}

const connectApi = (layout: LabLayout, place: Place, region: string, signal: AbortSignal): Api => {
  const port = forwardPort(layout, place, `kubernetes/${region}`);
  const agent = new https.Agent({ keepAlive: false, ca: readFileSync(path.join(layout.stateDir, 'ca.pem')) });
  const headers = { authorization: `Bearer ${layout.token}`, accept: 'application/json' };
  return {
    get: (url, timeoutMs) =>
      new Promise((resolve, reject) => {
        const request = https.get({ host: '127.0.0.1', port, path: url, agent, headers, signal }, (response) => {
          late.clear();
          if (response.statusCode === 200) resolve(response);
          else {
            response.destroy();
            reject(new Error(`the Kubernetes API answered ${response.statusCode} to ${url}`));
          }
        });
        const late = alarm(timeoutMs, () => request.destroy(new Error(`the Kubernetes API of ${region} is silent`)));
        request.on('error', (error) => {
          late.clear();
          reject(error);
        });
      }),
  };
};

const readJson = async <T>(response: http.IncomingMessage, timeoutMs: number): Promise<T> => {
  const late = alarm(timeoutMs, () => response.destroy(new Error('the answer of the Kubernetes API did not end')));
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } finally {
    late.clear();
  }
};

/** Feeds the lines of a watch to `onLine` until the API ends it; a stalled one is cut after its time. */
const readLines = (response: http.IncomingMessage, limitMs: number, onLine: (line: string) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    let rest = '';
    const late = alarm(limitMs, () => response.destroy());
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      try {
        for (const line of lines) if (line !== '') onLine(line);
      } catch (error) {
        response.destroy();
        reject(error);
      }
    });
    response.once('error', () => response.destroy());
    response.once('close', () => {
      late.clear();
      resolve();
    });
  });

/** The pods one region's API shows, kept by watching it from a place through that place's link. */
export const startDiscovery = (
  context: ComponentContext,
  where: { readonly place: Place; readonly region: string },
  apps: readonly string[],
): Discovery => {
  const { layout, signal, log } = context;
  const region = layout.environment.regions.find((candidate) => candidate.name === where.region);
  if (region === undefined) throw new Error(`no region ${where.region}`);
  const api = connectApi(layout, where.place, where.region, signal);
  const selector = encodeURIComponent(`app in (${apps.join(',')})`);
  const podsUrl = `/api/v1/namespaces/${region.kubernetes.namespace}/pods?labelSelector=${selector}`;
  const zoneOfNode = new Map<string, string>();
  const pods = new Map<string, ApiPod>();
  const listeners: (() => void)[] = [];
  let byApp = new Map<string, PodTarget[]>();
  let synced = false;

  const targetOf = ({ metadata, spec, status }: ApiPod): PodTarget | undefined => {
    const zone = metadata.labels?.[zoneLabel] ?? zoneOfNode.get(spec.nodeName ?? '');
    const port = Number(metadata.annotations?.[portAnnotation] ?? 0);
    const ready = status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') ?? false;
    if (!ready || metadata.deletionTimestamp !== undefined || zone === undefined || port === 0) return undefined;
    const container = status?.containerStatuses?.[0]?.containerID ?? '';
    const app = metadata.labels?.['app'] ?? '';
    return { key: `${metadata.name}/${container}:${port}`, name: metadata.name, app, zone, port };
  };
  const publish = (): void => {
    const next = new Map<string, PodTarget[]>(apps.map((app) => [app, []]));
    for (const pod of pods.values()) {
      const target = targetOf(pod);
      if (target !== undefined) next.get(target.app)?.push(target);
    }
    byApp = next;
    for (const listener of listeners) listener();
  };
  const learnNodes = async (): Promise<void> => {
    const nodes = await readJson<ApiList<ApiNode>>(await api.get('/api/v1/nodes', listTimeoutMs), listTimeoutMs);
    for (const { metadata } of nodes.items) {
      const zone = metadata.labels?.[zoneLabel];
      if (zone !== undefined) zoneOfNode.set(metadata.name, zone);
    }
  };
  /** A node that joined after the last list: its pods count once its zone is known. */
  const meetNode = (pod: ApiPod): void => {
    const { nodeName } = pod.spec;
    if (nodeName === undefined || zoneOfNode.has(nodeName)) return;
    learnNodes().then(publish, (error: unknown) => log(`cannot see node ${nodeName}: ${messageOf(error)}`));
  };
  const list = async (): Promise<string> => {
    await learnNodes();
    const found = await readJson<ApiList<ApiPod>>(await api.get(podsUrl, listTimeoutMs), listTimeoutMs);
    pods.clear();
    for (const pod of found.items) pods.set(pod.metadata.name, pod);
    synced = true;
    publish();
    return found.metadata.resourceVersion;
  };
  /** Follows from a version; resolves with the version to go on from, or `undefined` when it must list again. */
  const watch = async (from: string): Promise<string | undefined> => {
    let version: string | undefined = from;
    const url = `${podsUrl}&watch=1&allowWatchBookmarks=true&timeoutSeconds=${watchSeconds}&resourceVersion=${from}`;
    const response = await api.get(url, listTimeoutMs);
    await readLines(response, watchSeconds * 1000 + watchSlackMs, (line) => {
      const { type, object }: WatchEvent = JSON.parse(line);
      if (type === 'ERROR') {
        version = undefined;
        return;
      }
      version = object.metadata.resourceVersion;
      if (type === 'BOOKMARK') return;
      if (type === 'DELETED') pods.delete(object.metadata.name);
      else {
        pods.set(object.metadata.name, object);
        meetNode(object);
      }
      publish();
    });
    return version;
  };
  const follow = async (): Promise<void> => {
    let version: string | undefined;
    let complained = false;
    while (!signal.aborted) {
      try {
        version = version === undefined ? await list() : await watch(version);
        complained = false;
      } catch (error) {
        version = undefined;
        if (!complained && !signal.aborted) log(`cannot see pods: ${messageOf(error)}`);
        complained = true;
      }
      await systemClock.sleep(pauseMs, signal).catch(() => undefined);
    }
  };
  void follow();
  return {
    ready: (app) => byApp.get(app) ?? [],
    isSynced: () => synced,
    onChange: (listener) => listeners.push(listener),
  };
};
