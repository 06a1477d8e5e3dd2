import type { Addresses } from '../core/addresses.ts';
import type { Clock } from '../core/clock.ts';
import type { Environment, Region } from '../core/environment.ts';
import { resolveRegion } from '../core/places.ts';
import type { Instrument } from '../experiments/harness.ts';
import type { Scenario } from '../experiments/scenario.ts';
import { probes } from '../probes/index.ts';
import { finishLedgers } from '../probes/ledger/final.ts';
import type { Blind } from '../probes/sample.ts';
import { type ProbedStream, startSenders } from '../probes/senders.ts';

const isLedger = (name: string): boolean => probes.find((probe) => probe.name === name)?.openLedger !== undefined;

/** One stream per probe and location, named so that it says all that matters: `chat/us-west/fresh`. */
export const streamsOf = (scenario: Scenario): readonly ProbedStream[] =>
  scenario.probes.flatMap((use) =>
    use.locations.map((location) => ({
      stream: `${use.name}/${location}/${use.connection}`,
      name: use.name,
      probe: use.probe,
      location,
      // Writes are kept synchronously, which no probe should wait for; and either may be killed without the other.
      sender: isLedger(use.probe) ? `${location}.ledgers` : location,
      connection: use.connection,
      everyMs: use.everyMs,
      timeoutMs: use.timeoutMs,
      slowAfterMs: use.slowAfterMs,
      required: use.required,
      params: { ...use.with },
    })),
  );

/** A DNS name for each region, by every name that files may use for the region. */
const perRegion = (environment: Environment, hostOf: (region: Region) => string): Readonly<Record<string, string>> => {
  const { regions } = environment;
  const references = ['primary', ...(regions.length > 1 ? ['failover'] : []), ...regions.map(({ name }) => name)];
  return Object.fromEntries(references.map((reference) => [reference, hostOf(resolveRegion(environment, reference))]));
};

/** A store that cannot be read for so long is not read at all; who pressed Ctrl-C waits no longer than this. */
const readAtMostMs = 60_000;
const removeAtMostMs = 2000;

export interface InstrumentParts {
  readonly environment: Environment;
  readonly addresses: Addresses;
  readonly clock: Clock;
  readonly runId: string;
  readonly seed: number;
  readonly streams: readonly ProbedStream[];
  readonly signal: AbortSignal;
  /** For people: probes that cannot look, and senders that are gone. */
  note(text: string): void;
}

/** The senders of a run as the engine knows them, and what they say of their own blindness. */
export const startInstrument = async (
  parts: InstrumentParts,
  folder: string,
): Promise<Instrument & { onBlind(listener: (blind: Blind) => void): void }> => {
  const { environment, addresses, clock, runId, seed, streams, signal } = parts;
  const { host, databaseHost, databaseDomain, databaseName, objectsHost, model } = environment.service;
  const common = {
    runId,
    streams,
    resolvers: addresses.resolvers,
    service: {
      host,
      databaseHost,
      databaseName,
      objectsHost,
      model,
      regions: environment.regions.map(({ name, role }) => ({ name, role })),
      billing: environment.billing && {
        host: environment.billing.host,
        databaseName: environment.billing.databaseName,
      },
      databaseInstances: perRegion(environment, ({ database }) => `${database.instance}.${databaseDomain}`),
      objectsHosts:
        objectsHost === undefined ? undefined : perRegion(environment, ({ name }) => `${name}.${objectsHost}`),
    },
    database: addresses.database,
    awsCredentialsFile: addresses.awsCredentialsFile,
    folder,
    clock,
  };
  const senders = await startSenders({ ...common, seed, signal });
  const told = new Set<string>();
  senders.onTrouble((stream, message) => {
    const text = `${stream}: ${message}`;
    if (told.has(text)) return;
    told.add(text);
    parts.note(text);
  });
  senders.onLoss((location, error) => parts.note(`the sender of ${location} is gone: ${error.message}`));
  return {
    streams: streams.map(({ params: _, ...stream }) => stream),
    onSample: senders.onSample,
    onBlind: senders.onBlind,
    stop: senders.stop,
    finishLedgers: (mode) =>
      finishLedgers({ ...common, mode, atMostMs: mode === 'read' ? readAtMostMs : removeAtMostMs, note: parts.note }),
  };
};
