import type { Environment, Region } from './environment.ts';
import { BlackstartError } from './errors.ts';

/**
 * Experiments name places by role, so that one file fits every environment: a region is `primary`, `failover` or a
 * name; a zone is `primary` (where the database writer starts), `standby` (where its standby is) or a name.
 */
export const primaryRegion = (environment: Environment): Region => {
  const region = environment.regions.find((candidate) => candidate.role === 'primary');
  if (region === undefined) {
    throw new BlackstartError(
      'BAD_FILE',
      `environment ${environment.name} has no primary region`,
      'Give one of its regions "role: primary".',
    );
  }
  return region;
};

/** Where clients nearest to the primary go next: the first active region that any preference list names after it. */
export const failoverRegion = (environment: Environment): Region => {
  const primary = primaryRegion(environment).name;
  for (const client of environment.clients) {
    const after = client.prefers[0] === primary ? client.prefers.slice(1) : [];
    const next = environment.regions.find((region) => region.name === after[0]);
    if (next !== undefined) return next;
  }
  const active = environment.regions.find((region) => region.role === 'active');
  if (active === undefined) {
    throw new BlackstartError(
      'BAD_FILE',
      `environment ${environment.name} has no region to fail over to`,
      'Add a second region with "role: active".',
    );
  }
  return active;
};

export const resolveRegion = (environment: Environment, reference: string): Region => {
  if (reference === 'primary') return primaryRegion(environment);
  if (reference === 'failover') return failoverRegion(environment);
  const region = environment.regions.find((candidate) => candidate.name === reference);
  if (region === undefined) {
    throw new BlackstartError(
      'PLAN_REFUSED',
      `environment ${environment.name} has no region "${reference}"`,
      `Use primary, failover or one of: ${environment.regions.map((one) => one.name).join(', ')}.`,
    );
  }
  return region;
};

/** Every database of the platform, and the region whose RDS knows it. */
export const databasesOf = ({
  regions,
  billing,
}: Pick<Environment, 'regions' | 'billing'>): readonly { readonly region: string; readonly instance: string }[] => {
  const home = regions.find(({ zones }) => zones.some(({ name }) => name === billing?.zone));
  return [
    ...regions.map(({ name, database }) => ({ region: name, instance: database.instance })),
    ...(billing === undefined || home === undefined ? [] : [{ region: home.name, instance: billing.instance }]),
  ];
};

/** The bucket of a region's documents. */
export const bucketOf = ({ name: environment }: Environment, { name, objects }: Region): string => {
  if (objects !== undefined) return objects.bucket;
  throw new BlackstartError(
    'PLAN_REFUSED',
    `environment ${environment} does not say which bucket ${name} has`,
    'Give the region "objects: { bucket: … }".',
  );
};

/** The zone's name and its region. */
export const resolveZone = (
  environment: Environment,
  reference: string,
): { readonly zone: string; readonly region: Region } => {
  const primary = primaryRegion(environment);
  if (reference === 'primary') return { zone: primary.database.zone, region: primary };
  const wanted = reference === 'standby' ? primary.database.standbyZone : reference;
  const region = environment.regions.find((candidate) => candidate.zones.some((zone) => zone.name === wanted));
  if (region === undefined || wanted === undefined) {
    const names = environment.regions.flatMap((one) => one.zones.map((zone) => zone.name));
    throw new BlackstartError(
      'PLAN_REFUSED',
      `environment ${environment.name} has no zone "${reference}"`,
      `Use primary, standby or one of: ${names.join(', ')}.`,
    );
  }
  return { zone: wanted, region };
};

/**
 * The client location a reference means: `primary` or `failover` is the first location whose nearest existing region is
 * that one; anything else is a location's name. `undefined` when there is none.
 */
export const resolveClient = (environment: Environment, reference: string): string | undefined => {
  const named = environment.clients.find((client) => client.name === reference);
  if (named !== undefined || (reference !== 'primary' && reference !== 'failover')) return named?.name;
  const region = resolveRegion(environment, reference).name;
  const exists = (name: string): boolean => environment.regions.some((one) => one.name === name);
  return environment.clients.find((client) => client.prefers.find(exists) === region)?.name;
};
