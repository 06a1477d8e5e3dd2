import { z } from 'zod';
import { resolveRegion } from '../../core/places.ts';
import { defineStep, requireArmed } from '../step.ts';

export const pointDatabase = defineStep({
  name: 'point-database',
  summary: "Points the database's DNS name at a region's instance. Undone with the promotion it belongs to.",
  params: z.strictObject({ region: z.string().default('failover') }),
  describe: ({ region }) => `point the database's name at region ${region}`,
  async run({ region }, running) {
    const { environment, ports } = running.session;
    const { instance } = resolveRegion(environment, region).database;
    await requireArmed(running, 'database.promote', `database/${instance}`, 'promote');
    const { hostedZoneId, databaseHost: name, databaseDomain } = environment.service;
    const value = `${instance}.${databaseDomain}`;
    const before = await ports.route53().getRecord(hostedZoneId, name, running.signal);
    const ttlSeconds = before?.ttlSeconds ?? 60;
    await ports.route53().putRecord(hostedZoneId, { name, type: 'CNAME', value, ttlSeconds }, running.signal);
  },
});
