import { z } from 'zod';
import { resolveRegion } from '../../../core/places.ts';
import { defineFault } from '../../fault.ts';

const undoSchema = z.strictObject({
  region: z.string(),
  zoneId: z.string(),
  host: z.string(),
  weightBefore: z.number(),
  weightsOurs: z.array(z.number()),
});

/** Changes which share of its clients a region gets. A drill holds traffic back with it, and returns it in steps. */
export const trafficShift = defineFault({
  name: 'traffic.shift',
  summary: 'Sets the share of its clients that a region gets from GeoDNS.',
  params: z.strictObject({
    region: z.string().default('primary').meta({ description: 'Region whose share changes.' }),
    percent: z.number().min(0).max(100).default(0).meta({ description: 'Share in per cent.' }),
    steps: z.array(z.number().min(0).max(100)).default([]).meta({ description: 'Shares a drill sets afterwards.' }),
  }),
  undo: undoSchema,
  expiry: 'none on the target side: a DNS weight stays until it is changed',

  permissions: (_params, environment) => [
    {
      provider: 'aws',
      action: 'route53:ChangeResourceRecordSets',
      resource: `arn:aws:route53:::hostedzone/${environment.service.hostedZoneId}`,
    },
  ],

  async plan({ region, percent, steps }, { environment, ports, signal }) {
    const { name } = resolveRegion(environment, region);
    const { hostedZoneId: zoneId, host } = environment.service;
    const weightBefore = await ports.route53().getWeight(zoneId, host, name, signal);
    const undo = { region: name, zoneId, host, weightBefore, weightsOurs: [percent, ...steps] };
    return [{ target: `traffic/${name}`, undo, blast: { pods: 0, zones: [], regions: [], workloads: {} } }];
  },

  async inject({ undo }, { percent }, { ports, signal }) {
    await ports.route53().putWeight(undo.zoneId, undo.host, undo.region, percent, signal);
  },

  async bites({ undo }, { ports, signal }) {
    const weight = await ports.route53().getWeight(undo.zoneId, undo.host, undo.region, signal);
    return weight === undo.weightsOurs[0] ? `weight of ${undo.region} is ${weight}` : undefined;
  },

  async revert(undo, { ports, signal }) {
    const weight = await ports.route53().getWeight(undo.zoneId, undo.host, undo.region, signal);
    const isOurs = undo.weightsOurs.includes(weight);
    if (weight === undo.weightBefore || !isOurs) return;
    await ports.route53().putWeight(undo.zoneId, undo.host, undo.region, undo.weightBefore, signal);
  },

  async isReverted(undo, { ports, signal }) {
    const weight = await ports.route53().getWeight(undo.zoneId, undo.host, undo.region, signal);
    if (weight === undo.weightBefore) return { state: 'reverted' };
    if (undo.weightsOurs.includes(weight)) return { state: 'pending', detail: `weight of ${undo.region} is ${weight}` };
    return {
      state: 'conflict',
      difference: `weight of ${undo.region}: was ${undo.weightBefore}, is now ${weight}, which no step of ours set`,
    };
  },

  discover: async () => [],
});
