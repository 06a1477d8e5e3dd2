import { z } from 'zod';
import type { Environment } from '../../../core/environment.ts';
import { BlackstartError } from '../../../core/errors.ts';
import { resolveRegion } from '../../../core/places.ts';
import { type NetworkSpec, networkFault } from '../network.ts';
import { blastOfZones } from '../network-blast.ts';

interface Params {
  readonly region: string;
  readonly from: 'others' | readonly string[];
}

/** The region that is cut off, and those it is cut off from. */
const sidesOf = ({ region, from }: Params, environment: Environment) => {
  const one = resolveRegion(environment, region);
  const others =
    from === 'others'
      ? environment.regions.filter((other) => other !== one)
      : [...new Set(from.map((reference) => resolveRegion(environment, reference)))];
  if (others.length > 0 && !others.includes(one)) return { one, others };
  throw new BlackstartError(
    'PLAN_REFUSED',
    others.length === 0
      ? `${one.name} is the only region of ${environment.name}: there is nothing to cut it off from`
      : `${one.name} cannot be cut off from itself`,
    'Name other regions in "from", or write "others".',
  );
};

/**
 * Routes between one region and others lead nowhere, in both directions; clients still reach every region. FIS cuts
 * what leaves a region, so each region involved has an experiment of its own.
 */
export const regionPartition = networkFault({
  name: 'region.partition',
  summary: 'One region and others cannot reach each other; clients still reach all of them.',
  params: z.strictObject({
    region: z.string().default('primary').meta({ description: 'primary, failover, or the name of a region.' }),
    from: z
      .union([z.literal('others'), z.array(z.string()).min(1)])
      .default('others')
      .meta({ description: 'Regions it is cut off from, or all others.' }),
  }),
  layer: 'routes',
  spec(params, environment) {
    const { one, others } = sidesOf(params, environment);
    const cut = (region: string) => ({
      actionId: 'aws:network:route-table-disrupt-cross-region-connectivity',
      parameters: { region },
    });
    const parts = environment.regions
      .filter((region) => region === one || others.includes(region))
      .map((region): NetworkSpec['parts'][number] => ({
        region: region.name,
        zones: region.zones.map(({ name }) => name),
        actions: region === one ? others.map(({ name }) => cut(name)) : [cut(one.name)],
      }));
    return { target: `partition/${one.name}`, parts };
  },
  async blast(params, context) {
    const { one } = sidesOf(params, context.environment);
    // Nothing stops: every pod goes on serving the clients that reach it.
    const blast = await blastOfZones({ zones: [], regions: [] }, context);
    return { ...blast, regions: [one.name] };
  },
});
