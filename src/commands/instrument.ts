import type { Addresses } from '../core/addresses.ts';
import type { Clock } from '../core/clock.ts';
import type { Environment, Region } from '../core/environment.ts';
import { resolveRegion } from '../core/places.ts';
import type { Instrument } from '../experiments/harness.ts';
import type { Scenario } from '../experiments/scenario.ts';
import { probes } from '../probes/index.ts';
import { finishLedgers } from '../probes/ledger/final.ts';
import type { ProbedService } from '../probes/probe.ts';
import type { Blind } from '../probes/sample.ts';
import { type ProbedStream, startSenders } from '../probes/senders.ts';

const isLedger = (name: string): boolean => probes.find((probe) => probe.name === name)?.openLedger !== undefined;

/** A stream that is not sent, because the platform lacks what it would look at. */
export interface LeftOut {
  readonly stream: string;
  readonly why: string;
}

/**
 * One stream per probe and location, named so that it says all that matters: `chat/us-west/fresh`. What the platform
 * lacks is left out, unless the run must hold by it: then its sender says what is missing.
 */
export const streamsFor = (
  scenario: Pick<Scenario, 'probes'>,
  service: ProbedService,
): { readonly streams: readonly ProbedStream[]; readonly leftOut: readonly LeftOut[] } => {
  const streams: ProbedStream[] = [];
  const leftOut: LeftOut[] = [];
  for (const stream of streamsOf(scenario)) {
    const why = probes.find(({ name }) => name === stream.probe)?.absent?.(service);
    if (why === undefined || stream.required) streams.push(stream);
    else leftOut.push({ stream: stream.stream, why });
  }
  return { streams, leftOut };
};

const streamsOf = (scenario: Pick<Scenario, 'probes'>): readonly ProbedStream[] =>
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

/** A name of each region, by every name that files may use for the region. */
const perRegion = (environment: Environment, hostOf: (region: Region) => string): Readonly<Record<string, string>> => {
  const { regions } = environment;
  const references = ['primary', ...(regions.length > 1 ? ['failover'] : []), ...regions.map(({ name }) => name)];
  return Object.fromEntries(references.map((reference) => [reference, hostOf(resolveRegion(environment, reference))]));
};

/** The platform as probes know it. */
export const probedServiceOf = (environment: Environment, addresses: Addresses): ProbedService => {
  const { host, databaseHost, databaseDomain, databaseName, objectsHost, vectorDomain, model } = environment.service;
  return {
    host,
    databaseHost,
    databaseName,
    objectsHost,
    model,
    regions: environment.regions.map(({ name, role }) => ({ name, role })),
    databaseInstances: perRegion(environment, ({ database }) => `${database.instance}.${databaseDomain}`),
    objectsHosts:
      objectsHost === undefined ? undefined : perRegion(environment, ({ name }) => `${name}.${objectsHost}`),
    billing: environment.billing && {
      host: environment.billing.host,
      databaseName: environment.billing.databaseName,
    },
    cacheNodes: addresses.cache,
    vectorStores:
      vectorDomain === undefined ? undefined : perRegion(environment, ({ name }) => `${name}.${vectorDomain}`),
  };
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
  const common = {
    runId,
    streams,
    resolvers: addresses.resolvers,
    service: probedServiceOf(environment, addresses),
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
      finishLedgers({
        ...common,
        mode,
        atMostMs: mode === 'read' ? readAtMostMs : removeAtMostMs,
        ...(mode === 'read' ? { stop: signal } : {}),
        note: parts.note,
      }),
  };
};
