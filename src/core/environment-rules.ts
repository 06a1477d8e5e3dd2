import type { Environment } from './environment.ts';
import { notAmong, type SchemaProblem } from './schema-words.ts';

type Path = readonly PropertyKey[];

const twice = (names: readonly string[], pathOf: (index: number) => Path, what: string): readonly SchemaProblem[] =>
  names.flatMap((name, index) =>
    names.indexOf(name) === index
      ? []
      : [{ path: pathOf(index), at: 'value' as const, text: `there are two ${what} named ${name}` }],
  );

const among = (path: Path, value: string | undefined, allowed: readonly string[]): readonly SchemaProblem[] =>
  value === undefined || allowed.includes(value) ? [] : [{ path, at: 'value', text: notAmong(path, value, allowed) }];

const databaseProblems = (environment: Environment, index: number): readonly SchemaProblem[] => {
  const region = environment.regions[index];
  if (region === undefined) return [];
  const { database, role } = region;
  const path = ['regions', index, 'database'];
  const zones = region.zones.map((zone) => zone.name);
  const problems = [
    ...among([...path, 'zone'], database.zone, zones),
    ...among([...path, 'standbyZone'], database.standbyZone, zones),
  ];
  if (database.standbyZone === database.zone) {
    const text = `regions[${index}].database.standbyZone must be another zone than its zone (${database.zone})`;
    problems.push({ path: [...path, 'standbyZone'], at: 'value', text });
  }
  if (role === 'primary' && database.lag !== undefined) {
    const text = `regions[${index}].database.lag is for replicas; the primary region has none`;
    problems.push({ path: [...path, 'lag'], at: 'key', text });
  }
  return problems;
};

/** Lab or not: a standby in the writer's own region would go with it. */
const billingProblems = ({ billing, regions }: Environment): readonly SchemaProblem[] => {
  if (billing === undefined) return [];
  const regionOf = (wanted: string): number =>
    regions.findIndex(({ zones }) => zones.some((zone) => zone.name === wanted));
  const zones = regions.flatMap((region) => region.zones.map((zone) => zone.name));
  const problems = [
    ...among(['billing', 'zone'], billing.zone, zones),
    ...among(['billing', 'standbyZone'], billing.standbyZone, zones),
  ];
  if (problems.length === 0 && regionOf(billing.zone) === regionOf(billing.standbyZone)) {
    const text = `billing.standbyZone must be in another region than its zone (${billing.zone})`;
    problems.push({ path: ['billing', 'standbyZone'], at: 'value', text });
  }
  if (regions.some(({ database }) => database.instance === billing.instance)) {
    const text = `billing.instance must be another database instance than those of the regions`;
    problems.push({ path: ['billing', 'instance'], at: 'value', text });
  }
  return problems;
};

/** A vector store follows the primary region's, and each of its syncs ends before the next one is due. */
const vectorProblems = (environment: Environment, index: number): readonly SchemaProblem[] => {
  const region = environment.regions[index];
  if (region?.vectors === undefined) return [];
  const path = ['regions', index, 'vectors'];
  if (region.role === 'primary') {
    const text = `regions[${index}].vectors is for replicas; the primary region's store follows none`;
    return [{ path, at: 'key', text }];
  }
  const syncMs = environment.lab?.stores.syncDuration ?? 0;
  if (region.vectors.deltaSync > syncMs) return [];
  const text = `regions[${index}].vectors.deltaSync must be longer than what a sync takes, lab.stores.syncDuration`;
  return [{ path: [...path, 'deltaSync'], at: 'value', text }];
};

const primaryProblems = (environment: Environment): readonly SchemaProblem[] => {
  const primaries = environment.regions.flatMap((region, index) => (region.role === 'primary' ? [index] : []));
  if (primaries.length === 0) {
    return [{ path: ['regions'], at: 'key', text: 'no region has "role: primary": one must' }];
  }
  return primaries.slice(1).map((index) => ({
    path: ['regions', index, 'role'],
    at: 'value',
    text: `regions[${index}] is a second primary region: there can be one`,
  }));
};

/** What must hold between the keys of an environment file. */
export const environmentProblems = (environment: Environment): readonly SchemaProblem[] => {
  const { regions, clients } = environment;
  const zones = regions.flatMap((region, regionIndex) =>
    region.zones.map((zone, zoneIndex) => ({
      name: zone.name,
      path: ['regions', regionIndex, 'zones', zoneIndex, 'name'],
    })),
  );
  return [
    ...primaryProblems(environment),
    ...twice(
      regions.map((region) => region.name),
      (index) => ['regions', index, 'name'],
      'regions',
    ),
    ...twice(
      zones.map((zone) => zone.name),
      (index) => zones[index]?.path ?? [],
      'zones',
    ),
    ...twice(
      regions.map((region) => region.database.instance),
      (index) => ['regions', index, 'database', 'instance'],
      'database instances',
    ),
    ...twice(
      regions.map((region) => region.kubernetes.context),
      (index) => ['regions', index, 'kubernetes', 'context'],
      'Kubernetes contexts',
    ),
    ...twice(
      clients.map((client) => client.name),
      (index) => ['clients', index, 'name'],
      'client locations',
    ),
    ...regions.flatMap((_, index) => databaseProblems(environment, index)),
    ...billingProblems(environment),
    ...regions.flatMap((_, index) => vectorProblems(environment, index)),
    ...labProblems(environment),
  ];
};

/** The lab runs what its zones say; outside it, somebody else runs it. */
const labProblems = (environment: Environment): readonly SchemaProblem[] =>
  environment.regions.flatMap((region, regionIndex) =>
    region.zones.flatMap((zone, zoneIndex) => {
      if (environment.lab === undefined || zone.pods !== undefined) return [];
      const path = ['regions', regionIndex, 'zones', zoneIndex];
      return [{ path, at: 'value' as const, text: `zone ${zone.name} needs "pods": the lab runs what it says` }];
    }),
  );

/** Things that are allowed and worth knowing: names in preference lists that are in no region list. */
export const environmentFindings = (environment: Environment): readonly SchemaProblem[] => {
  const known = environment.regions.map((region) => region.name);
  return environment.clients.flatMap((client, index) =>
    client.prefers.flatMap((region, preference) =>
      known.includes(region)
        ? []
        : [
            {
              path: ['clients', index, 'prefers', preference],
              at: 'value' as const,
              text: `${client.name} prefers ${region}, which is in no region list: it never gets an answer from there`,
            },
          ],
    ),
  );
};
