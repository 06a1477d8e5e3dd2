import { z } from 'zod';
import { DnsError } from '../adapters/failure.ts';
import { EmptyAnswer, type ServiceRecord } from './names.ts';
import { defineProbe } from './probe.ts';
import { serviceOf } from './service.ts';

/**
 * The region and zones that an answer leads to, by its targets `<zone>.<region>.<host>`; `undefined` for an answer that
 * names its targets otherwise.
 */
export const regionOfAnswer = (
  records: readonly ServiceRecord[],
  host: string,
): { readonly region: string; readonly zones: readonly string[] } | undefined => {
  const suffix = `.${host.toLowerCase()}`;
  const places = records.map(({ name }) => {
    const bare = name.toLowerCase().replace(/\.$/, '');
    return bare.endsWith(suffix) ? bare.slice(0, -suffix.length).split('.') : [];
  });
  const region = places[0]?.at(-1);
  if (region === undefined || places.some((labels) => labels.length !== 2 || labels[1] !== region)) return undefined;
  return { region, zones: places.flatMap((labels) => labels.slice(0, 1)) };
};

export const dns = defineProbe({
  name: 'dns',
  summary: "What this location's resolver answers for the service: region, and its zones in order.",
  params: z.strictObject({}),
  required: false,
  defaults: { everyMs: 200, timeoutMs: 1000 },
  async open(_params, context) {
    const { host } = serviceOf(context);
    return {
      async look(attempt) {
        try {
          const records = await context.names.services(`_http._tcp.${host}`, attempt.signal);
          const endedMs = context.clock.monotonicMs();
          const place = regionOfAnswer(records, host);
          attempt.seen.answer = place?.region ?? records.map((record) => `${record.name}:${record.port}`).join(' ');
          if (place !== undefined) {
            attempt.seen.region = place.region;
            attempt.seen.zone = place.zones.join(',');
          }
          return { code: 'ok', endedMs };
        } catch (error) {
          const endedMs = context.clock.monotonicMs();
          if (error instanceof DnsError || error instanceof EmptyAnswer) return { code: error.code, endedMs };
          if (attempt.signal.aborted) return { code: 'timeout', endedMs };
          throw error;
        }
      },
      close: () => Promise.resolve(),
    };
  },
});
