import { type LabLayout, type Place, regionPlace, zonePlace } from '../layout.ts';
import type { Geography } from './rules.ts';

/** Where the places of a layout are, and how far apart. */
export interface Distances extends Geography {
  /** One-way delay in real milliseconds of an ordinary connection between two places. */
  baseDelayMs(source: Place, target: Place): number;
  /** One-way delay from an endpoint to a source: as far as the places are, or longer for a replica's WAL. */
  walDelayMs(source: Place, endpoint: string): number;
  /** Those delays, as they are now. */
  walDelays(): LabLayout['walDelays'];
  /** Changes the delay of every log that comes to `source`; the number of its streams. */
  setWalDelay(source: Place, delayMs: number): number;
}

export const distancesOf = (layout: LabLayout): Distances => {
  const { environment, settings } = layout;
  const regions = new Map<Place, Place>();
  for (const { name, zones } of environment.regions) {
    regions.set(regionPlace(name), regionPlace(name));
    for (const zone of zones) regions.set(zonePlace(zone.name), regionPlace(name));
  }
  const nearest = new Map<Place, Place>();
  for (const client of environment.clients) {
    const name = client.prefers.find((preferred) => regions.has(regionPlace(preferred)));
    if (name !== undefined) nearest.set(`client/${client.name}`, regionPlace(name));
  }
  const clients = environment.clients.map((client): Place => `client/${client.name}`);
  const places = new Set<Place>([...regions.keys(), ...clients, 'edge', 'operator']);
  const wal = new Map(layout.walDelays.map((one) => [`${one.source} ${one.endpoint}`, { ...one }]));

  const baseDelayMs = (source: Place, target: Place): number => {
    const { withinRegion, betweenRegions, clientToNearest, clientToFurther } = settings.network;
    const client = [source, target].find((place) => place.startsWith('client/'));
    if (client !== undefined) {
      const other = client === source ? target : source;
      return regions.get(other) === nearest.get(client) ? clientToNearest : clientToFurther;
    }
    const ends = [regions.get(source), regions.get(target)];
    // The edge and the operator are everywhere: health checkers and control planes stand beside what they look at.
    return ends.includes(undefined) || ends[0] === ends[1] ? withinRegion : betweenRegions;
  };

  return {
    places,
    regionOf: (place) => regions.get(place),
    baseDelayMs,
    endpoints: new Set(layout.endpoints.map(({ id }) => id)),
    walDelayMs: (source, endpoint) => wal.get(`${source} ${endpoint}`)?.delayMs ?? 0,
    walDelays: () => [...wal.values()],
    setWalDelay: (source, delayMs) => {
      const streams = [...wal.values()].filter((one) => one.source === source);
      for (const one of streams) one.delayMs = delayMs;
      return streams.length;
    },
  };
};
