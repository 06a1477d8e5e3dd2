import { type ClusterClient, ClusterClientError } from './client.ts';
import { type Container, type ContainerHost, runContainer } from './container.ts';
import {
  type Condition,
  type ContainerStatus,
  conditionOf,
  isReady,
  type PodObject,
  type PodPhase,
  type PodStatus,
  portAnnotation,
  timestamp,
  withCondition,
} from './objects.ts';

export interface PodWorker {
  readonly uid: string;
  readonly pids: readonly number[];
  /** The API's newest view of the pod. */
  update(pod: PodObject): void;
  /** The pod is gone from the API, or has to go from the node: ends what runs, without grace. */
  abandon(): Promise<void>;
}

export interface PodWorkerOptions {
  readonly host: ContainerHost;
  readonly client: ClusterClient;
  readonly requestTimeoutMs: number;
  readonly retryMs: number;
  readonly signal: AbortSignal;
  onFinished(): void;
  log(line: string): void;
}

const phaseOf = (pod: PodObject, statuses: readonly ContainerStatus[]): PodPhase => {
  if (statuses.every(({ state }) => state.terminated !== undefined) && pod.spec.restartPolicy !== 'Always') {
    return statuses.every(({ state }) => state.terminated?.exitCode === 0) ? 'Succeeded' : 'Failed';
  }
  const begun = statuses.some(({ state, restartCount }) => state.waiting === undefined || restartCount > 0);
  return begun ? 'Running' : 'Pending';
};

/** Runs one pod on its node, and tells the API how it is whenever the API can be reached: the node knows. */
export const startPod = (first: PodObject, options: PodWorkerOptions): PodWorker => {
  const { host, client, signal, requestTimeoutMs } = options;
  const { clock } = host;
  const { name, namespace = '', uid } = first.metadata;
  const url = `/api/v1/namespaces/${namespace}/pods/${name}`;
  const startTime = timestamp(clock.nowMs());
  const deadlineOver = new AbortController();
  let seen = first;
  let conditions: readonly Condition[] = first.status.conditions ?? [];
  let deadlineExceeded = false;
  let gone = false;
  let ending: Promise<void> | undefined;
  let dirty = false;
  let reporting = false;
  let toldPort: number | undefined;

  const status = (): PodStatus => {
    const containerStatuses = containers.map((container) => container.status());
    const now = timestamp(clock.nowMs());
    const allReady = containerStatuses.every((one) => one.ready) && ending === undefined;
    const value = allReady ? ('True' as const) : ('False' as const);
    const reason = allReady ? {} : { reason: 'ContainersNotReady' };
    for (const type of ['Initialized', 'ContainersReady', 'Ready']) {
      const next = type === 'Initialized' ? { type, status: 'True' as const } : { type, status: value, ...reason };
      conditions = withCondition(conditions, next, now);
    }
    return {
      phase: deadlineExceeded ? 'Failed' : phaseOf(first, containerStatuses),
      ...(deadlineExceeded
        ? { reason: 'DeadlineExceeded', message: 'Pod was active on the node longer than the specified deadline' }
        : {}),
      hostIP: '127.0.0.1',
      podIP: '127.0.0.1',
      startTime,
      conditions,
      containerStatuses,
    };
  };

  /** Tells the API, one report at a time, the newest state only; tries again until it is told or the pod is gone. */
  const report = async (): Promise<void> => {
    while (dirty && !gone && !signal.aborted) {
      dirty = false;
      try {
        const port = containers.find((container) => container.port !== undefined)?.port;
        if (port !== undefined && port !== toldPort) {
          const body = { metadata: { uid, annotations: { [portAnnotation]: String(port) } } };
          await client.request('PATCH', url, { body, timeoutMs: requestTimeoutMs, signal });
          toldPort = port;
        }
        const body = { metadata: { uid }, status: status() };
        await client.request('PATCH', `${url}/status`, { body, timeoutMs: requestTimeoutMs, signal });
      } catch (error) {
        // 404: deleted meanwhile; 409: the name belongs to another pod by now. The watch tells, and ends this one.
        if (error instanceof ClusterClientError && (error.status === 404 || error.status === 409)) return;
        dirty = true;
        await clock.sleep(options.retryMs, signal).catch(() => undefined);
      }
    }
  };

  const tell = (): void => {
    dirty = true;
    if (reporting) return;
    reporting = true;
    report()
      .catch((error: unknown) => options.log(`${name}: ${String(error)}`))
      .finally(() => {
        reporting = false;
      });
  };

  const containers: readonly Container[] = first.spec.containers.map((spec) => runContainer(host, first, spec, tell));

  const stopAll = async (graceMs: number): Promise<void> => {
    await Promise.all(containers.map((container) => container.stop(graceMs)));
  };

  /** The pod is marked for deletion: end it in its grace period, then take it off the API. */
  const terminate = async (graceSeconds: number): Promise<void> => {
    tell();
    await stopAll(graceSeconds === 0 ? 0 : host.scaledTimeout(graceSeconds * 1000));
    while (!gone && !signal.aborted) {
      try {
        const body = { gracePeriodSeconds: 0, preconditions: { uid } };
        await client.request('DELETE', url, { body, timeoutMs: requestTimeoutMs, signal });
        gone = true;
      } catch (error) {
        if (error instanceof ClusterClientError && (error.status === 404 || error.status === 409)) gone = true;
        else await clock.sleep(options.retryMs, signal).catch(() => undefined);
      }
    }
    options.onFinished();
  };

  const enforceDeadline = async (seconds: number): Promise<void> => {
    await clock.sleep(host.scaled(seconds * 1000), deadlineOver.signal);
    deadlineExceeded = true;
    const graceSeconds = first.spec.terminationGracePeriodSeconds ?? 30;
    await stopAll(host.scaledTimeout(graceSeconds * 1000));
    tell();
  };
  const { activeDeadlineSeconds } = first.spec;
  if (activeDeadlineSeconds !== undefined) {
    enforceDeadline(activeDeadlineSeconds).catch((error: unknown) => {
      if (!deadlineOver.signal.aborted) options.log(`${name}: ${String(error)}`);
    });
  }

  const end = (how: () => Promise<void>): Promise<void> => {
    deadlineOver.abort(new Error('the pod ends'));
    ending = how();
    ending.catch((error: unknown) => options.log(`${name}: ${String(error)}`));
    return ending;
  };

  return {
    uid,
    get pids() {
      return containers.map((container) => container.pid).filter((pid) => pid !== undefined);
    },
    update(pod) {
      seen = pod;
      const graceSeconds = pod.metadata.deletionGracePeriodSeconds;
      if (graceSeconds !== undefined) {
        if (ending === undefined) end(() => terminate(graceSeconds));
        return;
      }
      // The control plane declared the pod not ready while its node could not be heard: say how it really is.
      const mine = containers.every((container) => container.status().ready);
      if (!dirty && isReady(seen) !== mine && conditionOf(seen, 'Ready') !== undefined) tell();
    },
    abandon() {
      gone = true;
      return end(async () => {
        await stopAll(0);
        options.onFinished();
      });
    },
  };
};
