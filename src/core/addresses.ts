import { z } from 'zod';

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
});
export type Addresses = z.output<typeof addressesSchema>;
