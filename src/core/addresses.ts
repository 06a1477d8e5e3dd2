import { readFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import type { Environment } from './environment.ts';
import { BlackstartError } from './errors.ts';

/**
 * Where the APIs and entry points of an environment are reached. For the lab they come from what runs (`lab status`);
 * elsewhere from the environment file. Secrets are never in here: tokens and keys are read late, from files or the
 * process environment.
 */
export const addressesSchema = z.strictObject({
  /** 1 outside the lab. Every documented duration takes `duration / timeScale` of real time. */
  timeScale: z.number().positive(),
  kubeconfig: z.string().nullable(),
  awsEndpoint: z.string().nullable(),
  /** Path of an AWS shared credentials file; null leaves the SDK's own chain. */
  awsCredentialsFile: z.string().nullable(),
  /** Client location → `host:port` of the DNS resolver it uses (UDP and TCP). */
  resolvers: z.record(z.string(), z.string()),
  /** Database credentials for probes: user, and the file that holds the password; null when there is none to offer. */
  database: z.strictObject({ user: z.string(), passwordFile: z.string() }).nullable(),
  /** `host:port` of each node of the cache; none where there is no cache. */
  cache: z.array(z.string()).default([]),
  /** Base URL of Alertmanager's API (v2); null where there is none. */
  alertmanager: z.string().nullable().default(null),
  /** Region → `host:port` of its vector store. */
  vectors: z.record(z.string(), z.string()).default({}),
});
export type Addresses = z.output<typeof addressesSchema>;

/** Folder in which labs keep their state, one folder per environment name. */
export const labHome = (): string =>
  process.env['BLACKSTART_LAB_HOME'] ?? path.join(tmpdir(), `blackstart-lab-${userInfo().uid}`);

/**
 * The addresses of an environment: what its file says, or, for a lab, what the running lab published.
 * Throws UNREACHABLE when the lab is not up.
 */
export const readAddresses = async (environment: Environment): Promise<Addresses> => {
  if (environment.lab === undefined) {
    return {
      timeScale: 1,
      kubeconfig: environment.addresses?.kubeconfig ?? null,
      awsEndpoint: environment.addresses?.awsEndpoint ?? null,
      awsCredentialsFile: null,
      resolvers: Object.fromEntries(
        environment.clients.flatMap((client) =>
          client.resolver === undefined ? [] : [[client.name, client.resolver]],
        ),
      ),
      database: null,
      cache: environment.addresses?.cache ?? [],
      alertmanager: environment.addresses?.alertmanager ?? null,
      vectors: environment.addresses?.vectors ?? {},
    };
  }
  const file = path.join(labHome(), environment.name, 'addresses.json');
  try {
    return addressesSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (cause) {
    throw new BlackstartError(
      'UNREACHABLE',
      `the lab of environment ${environment.name} is not up`,
      `Start it with "blackstart lab up --env ${environment.name}".`,
      { cause },
    );
  }
};

/** What the lock of an environment is named after: the platform itself, not the file that describes it. */
export const environmentIdentity = (environment: Environment, addresses: Addresses): string =>
  environment.lab === undefined
    ? `${environment.name} ${environment.aws.account} ${environment.regions.map((region) => region.kubernetes.context)}`
    : `lab ${path.join(labHome(), environment.name)} ${addresses.kubeconfig}`;
