import { Agent, request } from 'undici';
import { z } from 'zod';
import { BlackstartError, messageOf } from '../core/errors.ts';
import type { Alert, AlertsPort } from './ports.ts';

/** What is read of Alertmanager's answer (`gettableAlerts` of its API v2); the rest of it is not ours to judge. */
const alertsSchema = z.array(
  z.object({
    fingerprint: z.string(),
    labels: z.record(z.string(), z.string()),
    annotations: z.record(z.string(), z.string()).default({}),
    receivers: z.array(z.object({ name: z.string() })),
    startsAt: z.string(),
    status: z.object({ state: z.enum(['unprocessed', 'active', 'suppressed']) }),
  }),
);

const bytesMax = 16 * 1024 * 1024;
/** The library's own limits lie beyond the signal of each call, which decides. */
const libraryTimeoutMs = 60_000;

const alertOf = ({
  fingerprint,
  labels,
  annotations,
  receivers,
  startsAt,
}: z.output<typeof alertsSchema>[number]): Alert => ({
  fingerprint,
  name: labels['alertname'] ?? '',
  labels,
  description: annotations['description'] ?? annotations['summary'] ?? '',
  receivers: receivers.map(({ name }) => name).toSorted(),
  startsAt,
});

/** Alertmanager's API (v2) over HTTP, at its base URL. */
export const createAlertsPort = (baseUrl: string): AlertsPort => {
  const dispatcher = new Agent({
    connect: { timeout: libraryTimeoutMs },
    headersTimeout: libraryTimeoutMs,
    bodyTimeout: libraryTimeoutMs,
    maxResponseSize: bytesMax,
  });
  const url = new URL(`${baseUrl.replace(/\/+$/, '')}/api/v2/alerts`);
  url.search = new URLSearchParams({ active: 'true', silenced: 'false', inhibited: 'false' }).toString();

  const read = async (signal: AbortSignal): Promise<readonly Alert[]> => {
    const { statusCode, body } = await request(url, { dispatcher, signal, headers: { accept: 'application/json' } });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`it answered ${statusCode}`);
    const alerts = alertsSchema.parse(JSON.parse(text));
    return alerts.filter(({ status }) => status.state !== 'suppressed').map(alertOf);
  };

  return {
    async firing(signal) {
      try {
        return await read(signal);
      } catch (cause) {
        const why = cause instanceof z.ZodError ? 'its answer is none of the API v2' : messageOf(cause);
        throw new BlackstartError(
          'UNREACHABLE',
          `Alertmanager at ${url.origin} does not say what fires: ${why}`,
          'See addresses.alertmanager in the environment file; in a lab, see "blackstart lab logs monitoring".',
          { cause },
        );
      }
    },
    close() {
      // Nothing waits for it: a dispatcher that is destroyed ends what is in flight.
      dispatcher.destroy().catch(() => undefined);
    },
  };
};
