import {
  ApiException,
  AuthorizationV1Api,
  type ConfigurationOptions,
  CoreV1Api,
  KubeConfig,
  setHeaderMiddleware,
  type V1ContainerStatus,
  type V1Node,
  type V1Pod,
  Watch,
} from '@kubernetes/client-node';
import pRetry from 'p-retry';
import { type Clock, deadline } from '../core/clock.ts';
import { BlackstartError, messageOf } from '../core/errors.ts';
import type { ClusterNode, HelperPod, KubernetesPort, Pod, PodContainer, PodEvent } from './ports.ts';

export interface KubernetesPortOptions {
  /** Path of a kubeconfig; null takes the usual one (KUBECONFIG, ~/.kube/config, in-cluster). */
  readonly kubeconfig: string | null;
  readonly context: string;
  readonly clock: Clock;
  /** An image with a POSIX shell, for helper pods. */
  readonly helperImage?: string;
}

const helperImageDefault = 'docker.io/library/busybox:1.37';
/** Real milliseconds: one attempt of one call. */
const attemptMs = 10_000;
const retriesMax = 3;
const retryFirstMs = 100;
const watchRetryMs = 200;
/** How long a helper has to put things back when it is told to end. */
const helperGraceSeconds = 5;

const zoneLabel = 'topology.kubernetes.io/zone';

/** List answers carry dates, watch events the text itself. */
const isoOf = (value: Date | string | undefined): string => (value === undefined ? '' : new Date(value).toISOString());

const containerOf = (status: V1ContainerStatus): PodContainer => ({
  name: status.name,
  id: status.containerID ?? '',
  ready: status.ready,
  restartCount: status.restartCount,
  startedAt: status.state?.running?.startedAt === undefined ? null : isoOf(status.state.running.startedAt),
});

const podOf = (pod: V1Pod, zones: ReadonlyMap<string, string>): Pod => {
  const { metadata = {}, spec, status } = pod;
  const node = spec?.nodeName ?? null;
  return {
    name: metadata.name ?? '',
    namespace: metadata.namespace ?? '',
    uid: metadata.uid ?? '',
    resourceVersion: metadata.resourceVersion ?? '',
    node,
    zone: node === null ? null : (zones.get(node) ?? null),
    labels: metadata.labels ?? {},
    annotations: metadata.annotations ?? {},
    phase: status?.phase ?? 'Unknown',
    ready: status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') ?? false,
    deleting: metadata.deletionTimestamp !== undefined && metadata.deletionTimestamp !== null,
    createdAt: isoOf(metadata.creationTimestamp),
    containers: (status?.containerStatuses ?? []).map(containerOf),
  };
};

const nodeOf = ({ metadata, status }: V1Node): ClusterNode => ({
  name: metadata?.name ?? '',
  zone: metadata?.labels?.[zoneLabel] ?? null,
  ready: status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') ?? false,
});

const helperBody = (helper: HelperPod, image: string): V1Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: helper.name,
    namespace: helper.namespace,
    labels: { ...helper.labels },
    annotations: { ...helper.annotations },
  },
  spec: {
    // Past the scheduler: it must run on this node, cordoned and tainted or not.
    nodeName: helper.node,
    tolerations: [{ operator: 'Exists' }],
    hostPID: true,
    restartPolicy: 'Never',
    activeDeadlineSeconds: helper.activeDeadlineSeconds,
    terminationGracePeriodSeconds: helperGraceSeconds,
    automountServiceAccountToken: false,
    containers: [
      {
        name: 'helper',
        image,
        command: ['/bin/sh', '-c', helper.script],
        env: Object.entries(helper.env).map(([name, value]) => ({ name, value })),
        securityContext: { privileged: true },
        resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '64Mi' } },
      },
    ],
  },
});

const statusCode = (error: unknown): number | undefined =>
  error instanceof ApiException ? Number(error.code) : undefined;

/** The `message` of a Status object, parsed or as text. */
const bodyMessage = (error: ApiException<unknown>): string => {
  const { body } = error;
  if (typeof body === 'object' && body !== null && 'message' in body) return messageOf(body.message);
  try {
    const parsed: unknown = JSON.parse(String(body));
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed) return messageOf(parsed.message);
  } catch {
    // Not a Status object: the text itself is what the server said.
  }
  return messageOf(String(body)).slice(0, 300);
};

const asKnown = (error: unknown, context: string, what: string): BlackstartError => {
  const where = `Kubernetes context ${context}: ${what}`;
  if (!(error instanceof ApiException)) {
    const cause = error instanceof Error && error.cause !== undefined ? `: ${messageOf(error.cause)}` : '';
    const hint = `Check that "kubectl --context ${context} get pods" works from here.`;
    return new BlackstartError('UNREACHABLE', `${where}: ${messageOf(error)}${cause}`, hint, { cause: error });
  }
  const message = `${where}: ${error.code} ${bodyMessage(error)}`;
  if (error.code === 409) {
    const hint = 'Somebody else changed it meanwhile: plan again, and see who.';
    return new BlackstartError('CONFLICT', message, hint, { cause: error });
  }
  if (error.code === 401 || error.code === 403) {
    const hint = `Give this user the permissions that "blackstart plan" lists, or use another context.`;
    return new BlackstartError('PLAN_REFUSED', message, hint, { cause: error });
  }
  const hint = `Check that "kubectl --context ${context} get pods" works from here.`;
  return new BlackstartError('UNREACHABLE', message, hint, { cause: error });
};

/** Reads may be tried again when the server is busy or the connection broke; what it refused stays refused. */
const isPassing = (error: unknown): boolean => {
  const code = statusCode(error);
  return code === undefined || code === 429 || code >= 500;
};

const loadConfig = ({ kubeconfig, context }: KubernetesPortOptions): KubeConfig => {
  const config = new KubeConfig();
  try {
    if (kubeconfig === null) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (error) {
    throw new BlackstartError(
      'UNREACHABLE',
      `the kubeconfig ${kubeconfig ?? '(default)'} cannot be read: ${messageOf(error)}`,
      'Name a kubeconfig in the environment file, or bring the lab up with "blackstart lab up".',
      { cause: error },
    );
  }
  if (config.getContextObject(context) === null) {
    throw new BlackstartError(
      'BAD_FILE',
      `the kubeconfig has no context "${context}"`,
      `Use one of: ${config
        .getContexts()
        .map(({ name }) => name)
        .join(', ')}.`,
    );
  }
  config.setCurrentContext(context);
  return config;
};

/** Carries the abort into the request: the generated client has no parameter for it. */
const withSignal = (signal: AbortSignal): ConfigurationOptions => {
  const named = setHeaderMiddleware('user-agent', 'blackstart');
  const middleware = {
    pre: (request: Parameters<typeof named.pre>[0]) => {
      request.setSignal(signal);
      return named.pre(request);
    },
    post: named.post,
  };
  return { middleware: [middleware], middlewareMergeStrategy: 'append' };
};

/** One cluster, on the official client. Every call is bounded: by its signal, and by a limit of its own. */
export const createKubernetesPort = (options: KubernetesPortOptions): KubernetesPort => {
  const { context, clock } = options;
  const config = loadConfig(options);
  const core = config.makeApiClient(CoreV1Api);
  const authorization = config.makeApiClient(AuthorizationV1Api);
  const zones = new Map<string, string>();

  const attempt = async <T>(
    signal: AbortSignal,
    what: string,
    call: (request: ConfigurationOptions) => Promise<T>,
  ): Promise<T> => {
    const limit = deadline(clock, attemptMs, new Error(`no answer within ${attemptMs} ms: ${what}`), signal);
    try {
      return await call(withSignal(limit.signal));
    } catch (error) {
      // An aborted fetch wraps its reason now and then: the reason itself says more.
      throw limit.signal.aborted ? limit.signal.reason : error;
    } finally {
      limit.dispose();
    }
  };

  const failed = (error: unknown, signal: AbortSignal, what: string): unknown =>
    signal.aborted ? signal.reason : asKnown(error, context, what);

  const read = async <T>(
    signal: AbortSignal,
    what: string,
    call: (request: ConfigurationOptions) => Promise<T>,
  ): Promise<T> => {
    signal.throwIfAborted();
    try {
      return await pRetry(() => attempt(signal, what, call), {
        retries: retriesMax,
        minTimeout: retryFirstMs,
        factor: 2,
        signal,
        shouldRetry: ({ error }) => isPassing(error),
      });
    } catch (error) {
      throw failed(error, signal, what);
    }
  };

  /** Once: a change that may have happened is looked at, not repeated. */
  const change = async <T>(
    signal: AbortSignal,
    what: string,
    call: (request: ConfigurationOptions) => Promise<T>,
  ): Promise<T> => {
    signal.throwIfAborted();
    try {
      return await attempt(signal, what, call);
    } catch (error) {
      throw failed(error, signal, what);
    }
  };

  const listNodes = async (signal: AbortSignal): Promise<readonly ClusterNode[]> => {
    const { items } = await read(signal, 'list nodes', (request) => core.listNode({}, request));
    const nodes = items.map(nodeOf);
    for (const { name, zone } of nodes) if (zone !== null) zones.set(name, zone);
    return nodes;
  };

  /** Pods name their node only; which zone that is in does not change while the node lives. */
  const knowZones = async (pods: readonly V1Pod[], signal: AbortSignal): Promise<void> => {
    const isUnknown = (node: string | undefined): boolean => node !== undefined && !zones.has(node);
    if (pods.some(({ spec }) => isUnknown(spec?.nodeName))) await listNodes(signal);
  };

  const listRaw = async (
    namespace: string,
    labelSelector: string,
    signal: AbortSignal,
  ): Promise<{ readonly items: readonly V1Pod[]; readonly revision: string }> => {
    const what = `list pods of ${namespace}`;
    const list = await read(signal, what, (request) => core.listNamespacedPod({ namespace, labelSelector }, request));
    await knowZones(list.items, signal);
    return { items: list.items, revision: list.metadata?.resourceVersion ?? '' };
  };

  const watcher = { config, zones, listRaw, knowZones, clock };

  return {
    async listPods(namespace, selector, signal) {
      const { items } = await listRaw(namespace, selector, signal);
      return items.map((pod) => podOf(pod, zones));
    },
    async getPod(namespace, name, signal) {
      const what = `read pod ${namespace}/${name}`;
      const pod = await read(signal, what, async (request) => {
        try {
          return await core.readNamespacedPod({ namespace, name }, request);
        } catch (error) {
          if (statusCode(error) === 404) return undefined;
          throw error;
        }
      });
      if (pod === undefined) return undefined;
      await knowZones([pod], signal);
      return podOf(pod, zones);
    },
    async deletePod(namespace, name, { uid, gracePeriodSeconds }, signal) {
      const body = { preconditions: { uid }, gracePeriodSeconds };
      await change(signal, `delete pod ${namespace}/${name}`, async (request) => {
        try {
          await core.deleteNamespacedPod({ namespace, name, body }, request);
        } catch (error) {
          if (statusCode(error) !== 404) throw error;
        }
      });
    },
    async createHelperPod(helper, signal) {
      const body = helperBody(helper, options.helperImage ?? helperImageDefault);
      const what = `create helper pod ${helper.namespace}/${helper.name}`;
      const { namespace } = helper;
      const pod = await change(signal, what, (request) => core.createNamespacedPod({ namespace, body }, request));
      return podOf(pod, zones);
    },
    async podLog(namespace, name, signal) {
      const what = `read the log of ${namespace}/${name}`;
      return await read(signal, what, (request) => core.readNamespacedPodLog({ namespace, name }, request));
    },
    async podEvents(namespace, uid, signal) {
      const fieldSelector = `involvedObject.uid=${uid}`;
      const what = `list events of ${namespace}`;
      const { items } = await read(signal, what, (request) =>
        core.listNamespacedEvent({ namespace, fieldSelector }, request),
      );
      return items.map(({ reason, message }) => ({ reason: reason ?? '', message: message ?? '' }));
    },
    listNodes,
    watchPods: (namespace, selector, signal, onEvent) => watchPods(watcher, namespace, selector, signal, onEvent),
    async canI(verb, resource, namespace, signal) {
      const [plural = '', subresource] = resource.split('/');
      const [name = '', ...group] = plural.split('.');
      const resourceAttributes = {
        verb,
        namespace,
        resource: name,
        ...(group.length === 0 ? {} : { group: group.join('.') }),
        ...(subresource === undefined ? {} : { subresource }),
      };
      const body = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes },
      };
      const review = await read(signal, `ask whether it may ${verb} ${resource}`, (request) =>
        authorization.createSelfSubjectAccessReview({ body }, request),
      );
      return review.status?.allowed ?? false;
    },
  };
};

interface PodWatcher {
  readonly config: KubeConfig;
  readonly zones: ReadonlyMap<string, string>;
  readonly clock: Clock;
  listRaw(
    namespace: string,
    selector: string,
    signal: AbortSignal,
  ): Promise<{ readonly items: readonly V1Pod[]; readonly revision: string }>;
  knowZones(pods: readonly V1Pod[], signal: AbortSignal): Promise<void>;
}

const eventTypes: Readonly<Record<string, PodEvent['type']>> = {
  ADDED: 'added',
  MODIFIED: 'modified',
  DELETED: 'deleted',
};

/** What a fresh list means to somebody who knew `before`; afterwards they know the list. */
const relisted = (before: Map<string, Pod>, now: readonly Pod[]): readonly PodEvent[] => {
  const uids = new Set(now.map((pod) => pod.uid));
  const gone = [...before.values()].filter((pod) => !uids.has(pod.uid));
  const events: PodEvent[] = gone.map((pod) => ({ type: 'deleted', pod }));
  for (const pod of gone) before.delete(pod.uid);
  for (const pod of now) {
    const known = before.get(pod.uid);
    if (known?.resourceVersion !== pod.resourceVersion) {
      events.push({ type: known === undefined ? 'added' : 'modified', pod });
    }
    before.set(pod.uid, pod);
  }
  return events;
};

/** Follows one watch stream from `revision`; resolves with the revision to go on from, or undefined to list again. */
const followOnce = (
  { config, zones, knowZones }: PodWatcher,
  path: { readonly namespace: string; readonly selector: string; readonly revision: string },
  signal: AbortSignal,
  onPod: (type: PodEvent['type'], pod: Pod) => void,
): Promise<string | undefined> => {
  const query = { labelSelector: path.selector, resourceVersion: path.revision, allowWatchBookmarks: true };
  let revision: string | undefined = path.revision;
  // Pods on a node not seen before wait for its zone, and the events after them wait too: order is part of the meaning.
  let queue = Promise.resolve();
  return new Promise((resolve, reject) => {
    const finish = (error: unknown): void => {
      signal.removeEventListener('abort', onAbort);
      if (error !== null && error !== undefined) reject(error);
      else queue.then(() => resolve(revision), reject);
    };
    const onAbort = (): void => finish(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    new Watch(config)
      .watch(
        `/api/v1/namespaces/${path.namespace}/pods`,
        query,
        (phase: string, object: V1Pod) => {
          if (phase === 'ERROR') {
            revision = undefined;
            return;
          }
          revision = object.metadata?.resourceVersion ?? revision;
          const type = eventTypes[phase];
          if (type === undefined) return;
          queue = queue.then(async () => {
            await knowZones([object], signal);
            if (!signal.aborted) onPod(type, podOf(object, zones));
          });
        },
        finish,
      )
      .then((controller) => {
        if (signal.aborted) controller.abort();
        else signal.addEventListener('abort', () => controller.abort(), { once: true });
      }, finish);
  });
};

const watchPods = async (
  watcher: PodWatcher,
  namespace: string,
  selector: string,
  signal: AbortSignal,
  onEvent: (event: PodEvent) => void,
): Promise<void> => {
  const known = new Map<string, Pod>();
  let revision: string | undefined;
  while (!signal.aborted) {
    try {
      if (revision === undefined) {
        const list = await watcher.listRaw(namespace, selector, signal);
        const pods = list.items.map((pod) => podOf(pod, watcher.zones));
        for (const event of relisted(known, pods)) onEvent(event);
        revision = list.revision;
      }
      const path = { namespace, selector, revision };
      revision = await followOnce(watcher, path, signal, (type, pod) => {
        if (type === 'deleted') known.delete(pod.uid);
        else known.set(pod.uid, pod);
        onEvent({ type, pod });
      });
    } catch (error) {
      if (signal.aborted) return;
      // The stream broke or could not be opened: what happened meanwhile shows in a fresh list.
      revision = undefined;
      const isRefused = error instanceof BlackstartError && error.code === 'PLAN_REFUSED';
      if (isRefused) throw error;
      await watcher.clock.sleep(watchRetryMs, signal).catch(() => undefined);
    }
  }
};
