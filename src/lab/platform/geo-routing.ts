import type { Environment } from '../../core/environment.ts';
import type { Place } from '../layout.ts';
import { regionOfZone } from '../layout.ts';

/** What GeoDNS knows of the regions when it answers. */
export interface RoutingState {
  isRegionHealthy(region: string): boolean;
  isZoneHealthy(zone: string): boolean;
  /** Traffic share of a region where it is preferred, 0–100. */
  weightOf(region: string): number;
}

/** What a question is answered with: a region, and its zones in the order in which clients should try them. */
export interface Route {
  readonly region: string;
  readonly zones: readonly string[];
}

/**
 * The regions a place prefers, those that do not exist left out. A zone prefers its own region; the operator the
 * primary; both then the others in the order of the environment.
 */
export const preferencesOf = (environment: Environment, place: Place): readonly string[] => {
  const regions = environment.regions.map((region) => region.name);
  const [kind, name = ''] = place.split('/');
  const client = kind === 'client' ? environment.clients.find((one) => one.name === name) : undefined;
  const primary = environment.regions.filter((region) => region.role === 'primary').map((region) => region.name);
  const first = client?.prefers ?? (kind === 'zone' ? [regionOfZone(environment, name)] : primary);
  return [...new Set([...first.filter((region) => regions.includes(region)), ...regions])];
};

/** Zones of a region to offer: the healthy ones, or all of them when none is (offering none helps nobody). */
export const zonesOf = (environment: Environment, region: string, state: RoutingState): readonly string[] => {
  const zones = environment.regions.find(({ name }) => name === region)?.zones.map((zone) => zone.name) ?? [];
  const healthy = zones.filter((zone) => state.isZoneHealthy(zone));
  return healthy.length > 0 ? healthy : zones;
};

/**
 * The first healthy region of the preferences, then any healthy region. A region with a traffic share below 100 is
 * taken with that probability and passed over otherwise. With no healthy region at all every region counts as healthy,
 * as in Route 53: an answer that may be wrong is better than none.
 */
export const routeOf = (
  environment: Environment,
  place: Place,
  state: RoutingState,
  random: () => number,
): Route | undefined => {
  const preferences = preferencesOf(environment, place);
  const healthy = preferences.filter((region) => state.isRegionHealthy(region));
  const candidates = healthy.length > 0 ? healthy : preferences;
  const drawn = candidates.find((region) => random() * 100 < state.weightOf(region));
  const region = drawn ?? candidates.findLast((one) => state.weightOf(one) > 0) ?? candidates[0];
  return region === undefined ? undefined : { region, zones: zonesOf(environment, region, state) };
};
