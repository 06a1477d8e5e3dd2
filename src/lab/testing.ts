import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { type Environment, environmentSchema } from '../core/environment.ts';
import { buildLayout } from './build-layout.ts';
import { createCertificates } from './certificates.ts';
import type { Truth } from './component.ts';
import { type Instance, instancesOf } from './instances.ts';
import type { LabLayout } from './layout.ts';
import { type ComponentProcess, layoutFileOf, logFileOf, startComponent } from './process.ts';
import { readTruth } from './truth.ts';

/** The environment file of the documented platform, for tests. */
export const labEnvironment = (): Environment => {
  const file = path.join(import.meta.dirname, '../../experiments/environments/lab.yaml');
  return environmentSchema.parse(parse(readFileSync(file, 'utf8')));
};

/** A layout on free ports with a fresh state folder (certificates included) that `remove` deletes. */
export const testLayout = async (
  environment: Environment,
  options: { readonly timeScale?: number } = {},
): Promise<{ readonly layout: LabLayout; remove(): void }> => {
  const stateDir = mkdtempSync(path.join(os.tmpdir(), 'blackstart-test-'));
  chmodSync(stateDir, 0o711);
  mkdirSync(path.join(stateDir, 'logs'), { mode: 0o700 });
  const layout = await buildLayout({ environment, stateDir, ...options });
  createCertificates(stateDir);
  writeFileSync(layoutFileOf(stateDir), JSON.stringify(layout), { mode: 0o600 });
  return { layout, remove: () => rmSync(stateDir, { recursive: true, force: true, maxRetries: 5 }) };
};

export interface StartedComponents {
  readonly layout: LabLayout;
  /** By instance name: `links`, `balancer-us-west-2a`… */
  readonly processes: ReadonlyMap<string, ComponentProcess>;
  truth(): readonly Truth[];
  /** What a component wrote into its log so far. */
  log(name: string): string;
  /** Stops every process and removes the state folder. */
  stop(): Promise<void>;
}

const startInOrder = async (
  layout: LabLayout,
  instances: readonly Instance[],
  processes: Map<string, ComponentProcess>,
): Promise<void> => {
  const readyByKind = new Map<string, Promise<unknown>[]>();
  for (const instance of instances) {
    const before = instance.after.flatMap((kind) => readyByKind.get(kind) ?? []);
    const ready = Promise.all(before).then(() => {
      const started = startComponent({ stateDir: layout.stateDir, ...instance });
      processes.set(instance.name, started);
      return started.ready;
    });
    readyByKind.set(instance.kind, [...(readyByKind.get(instance.kind) ?? []), ready]);
  }
  const results = await Promise.allSettled([...readyByKind.values()].flat());
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
};

/**
 * Starts the components of the given kinds as real processes, each with its own options, in dependency order; `links`
 * first when it is among them. A `kind:name` such as `balancer:us-west-2a` starts that instance alone.
 */
export const startComponents = async (
  environment: Environment,
  kinds: readonly string[],
  options: { readonly timeScale?: number } = {},
): Promise<StartedComponents> => {
  const { layout, remove } = await testLayout(environment, options);
  const processes = new Map<string, ComponentProcess>();
  const stop = async (): Promise<void> => {
    await Promise.all([...processes.values()].map((process) => process.stop()));
    remove();
  };
  const wanted = new Set(kinds.map((kind) => kind.replace(':', '-')));
  const instances = instancesOf(layout).filter(({ kind, name }) => wanted.has(kind) || wanted.has(name));
  try {
    await startInOrder(layout, instances, processes);
  } catch (error) {
    const logs = instances.map(({ name }) => `--- ${name}\n${readLog(layout, name)}`).join('\n');
    await stop();
    throw new Error(`a component did not come up\n${logs}`, { cause: error });
  }
  return { layout, processes, truth: () => readTruth(layout.stateDir), log: (name) => readLog(layout, name), stop };
};

const readLog = (layout: LabLayout, name: string): string => {
  try {
    return readFileSync(logFileOf(layout.stateDir, name), 'utf8');
  } catch (error) {
    return `(no log: ${error instanceof Error ? error.message : error})`;
  }
};
