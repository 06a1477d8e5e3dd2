import type { LabLayout, Place } from './layout.ts';
import { regionPlace, zonePlace } from './layout.ts';

/** One process of the lab as the supervisor sees it; pods are not among them: node agents start those. */
export interface Instance {
  /** Unique, file-name safe: `links`, `balancer-us-west-2a`. */
  readonly name: string;
  readonly kind: string;
  readonly place: Place;
  readonly options: Readonly<Record<string, string>>;
  /** Kinds that must be ready before this one starts. */
  readonly after: readonly string[];
  /** Whether a real platform would start it again after a crash. */
  readonly restarts: boolean;
}

/** Every process the supervisor starts for a layout, in an order that is never against `after`. Pure. */
export const instancesOf = (layout: LabLayout): readonly Instance[] => {
  const regions = layout.environment.regions.map((region) => region.name);
  const zones = layout.environment.regions.flatMap((region) => region.zones.map((zone) => zone.name));
  const single = (kind: string, place: Place, after: readonly string[]): Instance => ({
    name: kind,
    kind,
    place,
    options: {},
    after,
    restarts: false,
  });
  const perZone = (kind: string, after: readonly string[]): Instance[] =>
    zones.map((zone) => ({
      name: `${kind}-${zone}`,
      kind,
      place: zonePlace(zone),
      options: { zone },
      after,
      restarts: true,
    }));
  const perRegion = (kind: string): Instance[] =>
    regions.map((region) => ({
      name: `${kind}-${region}`,
      kind,
      place: regionPlace(region),
      options: { region },
      after: [],
      restarts: true,
    }));
  const caches = layout.endpoints
    .filter((endpoint) => endpoint.id.startsWith('cache/'))
    .map((endpoint): Instance => {
      const index = endpoint.id.slice('cache/'.length);
      const { place } = endpoint;
      return { name: `cache-${index}`, kind: 'cache', place, options: { index }, after: ['links'], restarts: false };
    });
  return [
    // First and at once: making its data directories takes longest, and nobody talks to it before that is done.
    single('database', 'operator', []),
    single('links', 'operator', []),
    single('kubernetes', 'operator', []),
    single('dns', 'edge', ['links']),
    single('aws', 'operator', []),
    { ...single('monitoring', 'operator', ['links', 'dns', 'database']), restarts: true },
    ...perRegion('vector'),
    ...perRegion('objects'),
    ...caches,
    ...perZone('balancer', ['links', 'kubernetes']),
    ...perZone('node-agent', ['links', 'kubernetes']),
  ];
};
