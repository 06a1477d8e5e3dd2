import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { childEnvironment } from '../process.ts';
import { type ContainerProcess, type ProcessCommand, type ProcessExit, startProcess } from './container-process.ts';
import { type ProberOptions, runProber } from './health-prober.ts';
import { imagePrefix } from './initial-objects.ts';
import {
  type ContainerSpec,
  type ContainerState,
  type ContainerStatus,
  initialAnnotation,
  type PodObject,
  type ProbeSpec,
  timestamp,
} from './objects.ts';
import type { TakeTurn } from './turns.ts';

/** What a container needs of the node it runs on. All times are real milliseconds. */
export interface ContainerHost {
  readonly clock: Clock;
  /** The node's executable, main module and layout file: containers of the lab are processes of the same program. */
  readonly program: { readonly executable: string; readonly main: string; readonly layoutFile: string };
  readonly region: string;
  readonly zone: string;
  readonly logFolder: string;
  /** Documented milliseconds → real ones, and the same for time-outs, which have a floor. */
  scaled(documentedMs: number): number;
  scaledTimeout(documentedMs: number): number;
  newContainerId(): string;
  /** Waits until the node has time to start one more process. */
  startTurn: TakeTurn;
  truth(event: string, subject: string, detail: Record<string, unknown>): void;
  event(pod: PodObject, type: 'Normal' | 'Warning', reason: string, message: string): void;
  /** A helper with the node's PID namespace began or ended to run. */
  onHostProcess(running: boolean): void;
}

/** How one container of a pod is doing; changes are told to the pod, which reports them. */
export interface Container {
  status(): ContainerStatus;
  readonly port: number | undefined;
  readonly pid: number | undefined;
  /** Ends it: SIGTERM, the grace period (real milliseconds), SIGKILL. Resolves when it has ended. */
  stop(graceMs: number): Promise<void>;
}

const apps = ['gateway', 'orchestrator', 'rag', 'llm'];
const startedWithinMs = 20_000;
const livenessGraceLeastMs = 50;
/** Kubernetes' own back-off: none at first, then 10 s, doubling to 5 min, forgotten after 10 min of running. */
const backOff = { firstMs: 10_000, mostMs: 300_000, forgottenAfterMs: 600_000 };

/** Where a pod's output is kept. */
export const logFileOf = (folder: string, namespace: string, pod: string, container: string): string =>
  path.join(folder, `${namespace}_${pod}_${container}.log`.replaceAll('/', '_'));

const never: ContainerState = {};

/** The command of a container, or why this node cannot run it. */
const commandOf = (
  host: ContainerHost,
  pod: PodObject,
  spec: ContainerSpec,
  run: { readonly id: string; readonly first: boolean },
): ProcessCommand | { readonly refused: string; readonly message: string } => {
  const { name, namespace = '', annotations } = pod.metadata;
  const logFile = logFileOf(host.logFolder, namespace, name, spec.name);
  if (pod.spec.hostPID === true) {
    const [shell = '', flag = '', script = ''] = [...(spec.command ?? []), ...(spec.args ?? [])];
    if (!/^(\/bin\/)?sh$/.test(shell) || flag !== '-c') {
      return { refused: 'CreateContainerError', message: 'a helper pod of the lab runs ["/bin/sh", "-c", script]' };
    }
    const given = Object.fromEntries((spec.env ?? []).map((entry) => [entry.name, entry.value ?? '']));
    const env = { PATH: process.env['PATH'], HOSTNAME: name, ...given };
    return { file: '/bin/sh', args: ['-c', script], env, group: true, logFile };
  }
  const app = spec.image.startsWith(imagePrefix) ? spec.image.slice(imagePrefix.length).split(':')[0] : undefined;
  if (app === undefined || !apps.includes(app)) {
    return { refused: 'ErrImagePull', message: `the lab has no image "${spec.image}"` };
  }
  const { executable, main, layoutFile } = host.program;
  const initial = run.first && annotations?.[initialAnnotation] === 'true' ? ['initial=1'] : [];
  // By the container id among its arguments a helper finds the process on the node.
  const options = [`container-id=${run.id}`, `region=${host.region}`, `zone=${host.zone}`, `pod=${name}`, `app=${app}`];
  const args = ['--max-semi-space-size=1', main, app, layoutFile, ...options, ...initial];
  return { file: executable, args, env: childEnvironment(), group: false, logFile };
};

/** Runs one container: starts it, checks it, starts it again when it ends and its pod says so. */
export const runContainer = (
  host: ContainerHost,
  pod: PodObject,
  spec: ContainerSpec,
  onChange: () => void,
): Container => {
  const { clock } = host;
  const ending = new AbortController();
  let state: ContainerState = { waiting: { reason: 'ContainerCreating' } };
  let lastState: ContainerState = never;
  let process: ContainerProcess | undefined;
  let id = '';
  let port: number | undefined;
  let ready = false;
  let restartCount = 0;
  let graceMs: number | undefined;
  let finished: Promise<void> = Promise.resolve();

  const kill = async (running: ContainerProcess, withinMs: number): Promise<void> => {
    if (withinMs > 0) {
      running.signal('SIGTERM');
      const limit = new AbortController();
      await Promise.race([
        running.exited,
        clock.sleep(withinMs, limit.signal).then(
          () => running.signal('SIGKILL'),
          () => undefined,
        ),
      ]);
      limit.abort();
    } else {
      running.signal('SIGKILL');
    }
    await running.exited;
  };

  const setReady = (next: boolean): void => {
    if (ready === next) return;
    ready = next;
    onChange();
  };

  const probe = (
    running: ContainerProcess,
    wanted: ProbeSpec,
    at: number,
    signal: AbortSignal,
    liveness: boolean,
  ): void => {
    let failures = 0;
    const failuresMax = wanted.failureThreshold ?? 3;
    const kind = liveness ? 'Liveness' : 'Readiness';
    const onResult: ProberOptions['onResult'] = (problem) => {
      if (signal.aborted) return;
      if (problem === undefined) {
        failures = 0;
        if (!liveness) setReady(true);
        return;
      }
      failures += 1;
      host.event(pod, 'Warning', 'Unhealthy', `${kind} probe failed: ${problem}`);
      if (failures < failuresMax) return;
      if (!liveness) {
        setReady(false);
      } else if (failures === failuresMax) {
        const message = `Container ${spec.name} failed liveness probe, will be restarted`;
        host.event(pod, 'Normal', 'Killing', message);
        const graceSeconds = wanted.terminationGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
        // No floor as for work: a process that hears the signal ends at once, and one that hangs never hears it.
        kill(running, Math.max(host.scaled(graceSeconds * 1000), livenessGraceLeastMs)).catch(() => undefined);
      }
    };
    runProber({
      port: at,
      path: wanted.httpGet.path,
      periodMs: host.scaled((wanted.periodSeconds ?? 10) * 1000),
      timeoutMs: host.scaledTimeout((wanted.timeoutSeconds ?? 1) * 1000),
      clock,
      signal,
      onResult,
    }).catch((error: unknown) => host.truth('bug', pod.metadata.name, { message: String(error) }));
  };

  /** Runs until the process ends. */
  const runOnce = async (command: ProcessCommand): Promise<ProcessExit> => {
    const subject = pod.metadata.name;
    const detail = { uid: pod.metadata.uid, container: spec.name, containerId: id, zone: host.zone };
    const endTurn = command.group ? () => undefined : await host.startTurn(ending.signal);
    const startedAt = timestamp(clock.nowMs());
    const running = startProcess(command, clock.monotonicMs, (event, more) =>
      host.truth(event, subject, { ...detail, ...more }),
    );
    process = running;
    host.onHostProcess(command.group);
    const over = new AbortController();
    state = { running: { startedAt } };
    host.event(pod, 'Normal', 'Started', `Started container ${spec.name}`);
    if (command.group) ready = true;
    onChange();
    if (!command.group) {
      const slow = clock.sleep(startedWithinMs, over.signal).then(
        () => (port === undefined ? kill(running, 0) : undefined),
        () => undefined,
      );
      slow.catch(() => undefined);
      running.ready.then((said) => {
        endTurn();
        if (over.signal.aborted) return;
        port = Number(said['port']);
        onChange();
        if (spec.readinessProbe === undefined) setReady(true);
        else probe(running, spec.readinessProbe, port, over.signal, false);
        if (spec.livenessProbe !== undefined) probe(running, spec.livenessProbe, port, over.signal, true);
      });
    }
    // Being told to stop before there was a process to tell.
    if (graceMs !== undefined) kill(running, graceMs).catch(() => undefined);
    const exit = await running.exited;
    endTurn();
    over.abort();
    const exitCode = exit.code ?? 128 + (exit.signal === null ? 0 : signalNumber(exit.signal));
    const terminated = {
      exitCode,
      ...(exit.signal === null ? {} : { signal: signalNumber(exit.signal) }),
      reason: exitCode === 0 ? 'Completed' : 'Error',
      startedAt,
      finishedAt: timestamp(clock.nowMs()),
      containerID: `lab://${id}`,
    };
    process = undefined;
    port = undefined;
    ready = false;
    state = { terminated };
    onChange();
    if (command.group) host.onHostProcess(false);
    return exit;
  };

  const wantsRestart = (exit: ProcessExit): boolean => {
    if (ending.signal.aborted) return false;
    const policy = pod.spec.restartPolicy ?? 'Always';
    return policy === 'Always' || (policy === 'OnFailure' && exit.code !== 0);
  };

  const run = async (): Promise<void> => {
    let crashes = 0;
    while (!ending.signal.aborted) {
      id = host.newContainerId();
      const command = commandOf(host, pod, spec, { id, first: restartCount === 0 });
      if ('refused' in command) {
        state = { waiting: { reason: command.refused, message: command.message } };
        host.event(pod, 'Warning', 'Failed', command.message);
        onChange();
        return;
      }
      const startedMs = clock.monotonicMs();
      const exit = await runOnce(command);
      if (!wantsRestart(exit)) return;
      lastState = state;
      if (clock.monotonicMs() - startedMs > host.scaled(backOff.forgottenAfterMs)) crashes = 0;
      const pauseMs = crashes === 0 ? 0 : Math.min(backOff.firstMs * 2 ** (crashes - 1), backOff.mostMs);
      crashes += 1;
      if (pauseMs > 0) {
        const message = `back-off ${pauseMs / 1000}s restarting failed container=${spec.name}`;
        state = { waiting: { reason: 'CrashLoopBackOff', message } };
        onChange();
        await clock.sleep(host.scaled(pauseMs), ending.signal);
      }
      restartCount += 1;
    }
  };

  finished = run().catch((error: unknown) => {
    if (ending.signal.aborted) return;
    state = { waiting: { reason: 'CreateContainerError', message: String(error) } };
    onChange();
  });

  return {
    get port() {
      return port;
    },
    get pid() {
      return process?.pid;
    },
    status: () => ({
      name: spec.name,
      image: spec.image,
      imageID: `lab://${spec.image}`,
      ...(id === '' ? {} : { containerID: `lab://${id}` }),
      ready,
      started: state.running !== undefined && (port !== undefined || pod.spec.hostPID === true),
      restartCount,
      state,
      lastState,
    }),
    async stop(withinMs) {
      graceMs = Math.min(graceMs ?? Number.POSITIVE_INFINITY, withinMs);
      ending.abort(new Error('the pod ends'));
      const running = process;
      if (running !== undefined) {
        // Said once it is true: whoever waits for the kill on the API's side then knows that the process is gone.
        await kill(running, graceMs);
        host.event(pod, 'Normal', 'Killing', `Stopping container ${spec.name}`);
      }
      await finished;
    },
  };
};

const signalNumbers: Readonly<Partial<Record<NodeJS.Signals, number>>> = {
  SIGKILL: 9,
  SIGTERM: 15,
  SIGINT: 2,
  SIGHUP: 1,
  SIGSEGV: 11,
  SIGABRT: 6,
};
const signalNumber = (name: NodeJS.Signals): number => signalNumbers[name] ?? 0;
