import { z } from 'zod';
import type { Environment } from '../../../core/environment.ts';
import { resolveRegion } from '../../../core/places.ts';
import { networkFault } from '../network.ts';
import { blastOfZones } from '../network-blast.ts';

const placesOf = (environment: Environment, reference: string) => {
  const region = resolveRegion(environment, reference);
  return { region: region.name, zones: region.zones.map(({ name }) => name) };
};

/**
 * All subnets of a region at once, in one experiment. Traffic between its zones dies with the rest: FIS leaves traffic
 * within a subnet alone, and nothing else.
 */
export const regionBlackhole = networkFault({
  name: 'region.blackhole',
  summary: 'Nothing enters or leaves any zone of a region, from outside or from its other zones.',
  params: z.strictObject({
    region: z.string().default('primary').meta({ description: 'primary, failover, or the name of a region.' }),
  }),
  layer: 'acl',
  spec({ region: reference }, environment) {
    const { region, zones } = placesOf(environment, reference);
    const actions = [{ actionId: 'aws:network:disrupt-connectivity', parameters: { scope: 'all' } }];
    return { target: `region/${region}`, parts: [{ region, zones, actions }] };
  },
  async blast({ region: reference }, context) {
    const { region, zones } = placesOf(context.environment, reference);
    return await blastOfZones({ zones, regions: [region] }, context);
  },
});
