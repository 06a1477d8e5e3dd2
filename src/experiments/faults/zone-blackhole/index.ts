import { z } from 'zod';
import { BlackstartError } from '../../../core/errors.ts';
import { primaryRegion, resolveZone } from '../../../core/places.ts';
import { networkFault } from '../network.ts';
import { blastOfZones } from '../network-blast.ts';

/** Nothing enters or leaves the zone's subnets: connections hang, as when a zone loses its network. */
export const zoneBlackhole = networkFault({
  name: 'zone.blackhole',
  summary: 'Nothing enters or leaves one zone: its connections hang.',
  params: z.strictObject({
    zone: z
      .string()
      .default('primary')
      .meta({ description: 'primary (of the database writer), standby, or the name of a zone.' }),
  }),
  layer: 'acl',
  permissions: [{ provider: 'aws', action: 'rds:DescribeDBInstances', resource: '*' }],
  // After a failover the writer is not where the environment file says it started.
  async locate({ zone: role }, { environment, ports, signal }) {
    if (role !== 'primary' && role !== 'standby') return { zone: role };
    const { name, database } = primaryRegion(environment);
    const now = await ports.rds(name).describe(database.instance, signal);
    const zone = role === 'primary' ? now?.zone : now?.secondaryZone;
    if (typeof zone === 'string') return { zone };
    throw new BlackstartError(
      'PLAN_REFUSED',
      `${database.instance} has no ${role} at present`,
      'Wait until it is available and redundant again, or name a zone.',
    );
  },
  spec({ zone: reference }, environment) {
    const { zone, region } = resolveZone(environment, reference);
    const actions = [{ actionId: 'aws:network:disrupt-connectivity', parameters: { scope: 'all' } }];
    return { target: `zone/${zone}`, parts: [{ region: region.name, zones: [zone], actions }] };
  },
  blast: async ({ zone }, context) =>
    await blastOfZones({ zones: [resolveZone(context.environment, zone).zone], regions: [] }, context),
});
