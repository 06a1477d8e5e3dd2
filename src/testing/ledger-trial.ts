import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { checkLedger, finalRead, holesOf, isRead, type Sets } from '../analysis/ledger/check.ts';
import { epochsOf } from '../analysis/ledger/epochs.ts';
import { type History, historyOf, type Write } from '../analysis/ledger/history.ts';
import { type Handover, handoverOf } from '../analysis/ledger/recovery.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Environment } from '../core/environment.ts';
import { toRanges } from '../core/ranges.ts';
import { clientPlace, type LabLayout } from '../lab/layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../lab/testing.ts';
import { type LedgerLine, ledgerFileName, ledgerLineSchema } from '../probes/ledger/line.ts';
import type { InstrumentRecord } from '../probes/sample.ts';
import type { ProbedStream } from '../probes/sender-messages.ts';
import { startSenders } from '../probes/senders.ts';
import { labDatabase } from './lab-database.ts';

/*
 * Ledgers against databases whose truth is known: real PostgreSQL, real senders in processes of their own.
 */

const location = 'us-west';
const instance = (environment: Environment, region: string): string => {
  const found = environment.regions.find(({ name }) => name === region)?.database.instance;
  if (found === undefined) throw new Error(`no region ${region}`);
  return `${found}.${environment.service.databaseDomain}`;
};

export interface LedgerPlan {
  readonly name: string;
  readonly probe?: 'postgres-ledger' | 'billing-ledger';
  readonly everyMs: number;
  readonly params?: Record<string, unknown>;
}

/** `kept` connections: at hundreds of writes a second a new one for each would be the load. */
const streamOf = ({ name, probe = 'postgres-ledger', everyMs, params }: LedgerPlan): ProbedStream => ({
  stream: `${name}/${location}/kept`,
  name,
  probe,
  location,
  sender: `${location}.ledgers`,
  connection: 'kept',
  everyMs,
  timeoutMs: 2000,
  slowAfterMs: 2000,
  required: false,
  params: params ?? {},
});

export interface Writing {
  readonly runId: string;
  /** Process of the ledgers. */
  readonly pid: number;
  /** What the sender said of itself so far. */
  instrument(): readonly InstrumentRecord[];
  /** The ledger's lines as they are on the disk now. */
  lines(name: string): Promise<readonly LedgerLine[]>;
  /** Name under which the rows of a ledger are stored. */
  rowsName(name: string): string;
  stop(): Promise<void>;
  remove(): Promise<void>;
}

/** Starts ledgers from one location, in a process of their own, as a run does. */
export const startLedgers = async (
  layout: LabLayout,
  plans: readonly LedgerPlan[],
  clock: Clock = systemClock,
): Promise<Writing> => {
  const folder = await mkdtemp(path.join(tmpdir(), 'blackstart-ledger-'));
  const passwordFile = path.join(folder, 'password');
  await writeFile(passwordFile, `${layout.databasePassword}\n`, { mode: 0o600 });
  const { environment } = layout;
  const { service, billing, regions } = environment;
  const runId = path.basename(folder);
  const senders = await startSenders({
    runId,
    seed: 11,
    streams: plans.map(streamOf),
    resolvers: { [location]: `127.0.0.1:${layout.resolvers[clientPlace(location)]}` },
    service: {
      ...service,
      billing: billing && { host: billing.host, databaseName: billing.databaseName },
      databaseInstances: Object.fromEntries(regions.map(({ name }) => [name, instance(environment, name)])),
    },
    database: { user: layout.databaseUser, passwordFile },
    folder,
    clock,
    signal: new AbortController().signal,
  });
  const instrument: InstrumentRecord[] = [];
  senders.onInstrument((record) => void instrument.push(record));
  // A loss is what some trials are about; `stop` tells of one that was not expected.
  senders.onLoss(() => undefined);
  const nameOf = (name: string): string => `${name}/${location}/kept`;
  return {
    runId,
    pid: senders.pids.get(`${location}.ledgers`) ?? 0,
    instrument: () => instrument,
    async lines(name) {
      const file = path.join(folder, 'ledgers', ledgerFileName(nameOf(name)));
      const text = await readFile(file, 'utf8');
      // A process that was killed may have left a last line half written.
      const whole = text
        .slice(0, text.lastIndexOf('\n') + 1)
        .split('\n')
        .filter(Boolean);
      return whole.map((line) => ledgerLineSchema.parse(JSON.parse(line)));
    },
    rowsName: (name) => `${runId}/${nameOf(name)}`,
    stop: senders.stop,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
};

/** The conversations alone, and nothing that would take over by itself: loss is then what was under way. */
const lossEnvironment = (delayMs: number, timeScale: number): Environment => {
  const { billing: _billing, ...environment } = labEnvironment();
  const { lab } = environment;
  if (lab === undefined) throw new Error('the lab environment has no lab');
  const lag = delayMs * timeScale;
  return {
    ...environment,
    lab: { ...lab, database: { ...lab.database, promotion: 0 } },
    regions: environment.regions
      .filter(({ name }) => name !== 'eu-central-1')
      .map((region) => {
        const { standbyZone: _standbyZone, ...database } = region.database;
        return { ...region, database: region.role === 'primary' ? database : { ...database, lag } };
      }),
  };
};

/** A full read of the authority, after everything. */
export const finalLine = (seqs: readonly number[]): LedgerLine => ({
  kind: 'read',
  copy: null,
  final: true,
  startMs: systemClock.monotonicMs(),
  endMs: systemClock.monotonicMs(),
  code: 'ok',
  since: 0,
  seen: toRanges(seqs),
});

const checked = (history: History): Sets => {
  const last = finalRead(history);
  if (!isRead(last)) throw new Error(last.missing);
  return checkLedger(history, last);
};

/** From the client to its nearest region, as the lab environment has it. */
const oneWayMs = 2;

export interface LossTrial {
  readonly delayMs: number;
  readonly acknowledged: number;
  readonly lost: number;
  /** Acknowledged after the log was cut: they are lost whatever the delay. */
  readonly afterCut: number;
  /** Acknowledged less than the delay before the log was cut, or after: what must be lost. */
  readonly expected: number;
  /** The same by the rate of the two seconds before. */
  readonly expectedByRate: number;
  readonly holes: number;
  readonly resurrected: number;
  readonly phantom: number;
  readonly handover: Handover;
  readonly cpuCores: number;
}

const ratePerMs = (writes: readonly Write[], untilMs: number): number => {
  const windowMs = 2000;
  const seen = writes.filter(({ out, endedMs }) => out === 'ok' && endedMs > untilMs - windowMs && endedMs <= untilMs);
  return seen.length / windowMs;
};

/**
 * A primary with one replica `delayMs` of log behind it; 200 writes a second; the log's way is cut and the primary's
 * processes are killed at once (what was under way never arrives, as when a machine dies), and the replica is promoted.
 */
export const runLossTrial = async (
  delayMs: number,
  options: { readonly everyMs: number; readonly writeMs: number },
): Promise<LossTrial> => {
  const timeScale = 20;
  const lab: StartedComponents = await startComponents(
    lossEnvironment(Math.max(delayMs, 500), timeScale),
    ['links', 'dns', 'database'],
    { timeScale },
  );
  const { walDelay, until, sql, rule, kill, act, untilInstance, indexesIn, truthAt } = labDatabase(() => lab);
  let writing: Writing | undefined;
  try {
    // The handshake of a stream crosses its way several times: let it be short until the stream stands.
    await walDelay('us-east-1a', 1);
    await until('the replica streams', async () => {
      const { rowCount } = await sql('us-east-1a', "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'");
      return rowCount === 1 ? true : undefined;
    });
    await walDelay('us-east-1a', delayMs);
    writing = await startLedgers(lab.layout, [{ name: 'postgres-ledger', everyMs: options.everyMs }]);
    await systemClock.sleep(options.writeMs + 2 * delayMs);
    const way = { from: ['region/us-west-2'], to: ['region/us-east-1'], endpoints: ['wal/us-west-2a'] };
    await Promise.all([rule('wal', way, 'blackhole'), kill('us-west-2a')]);
    await act('conversations-us-east-1', 'promote');
    await untilInstance('conversations-us-east-1', 'a primary', ({ source }) => source === null);
    await writing.stop();
    const rows = writing.rowsName('postgres-ledger');
    const lines = [...(await writing.lines('postgres-ledger'))];
    for (let read = 0; read < 2; read += 1) lines.push(finalLine(await indexesIn('us-east-1a', rows)));
    const history = historyOf('postgres-ledger', lines);
    const sets = checked(history);
    const [epoch] = epochsOf(history.writes);
    if (epoch === undefined) throw new Error('nothing was acknowledged');
    const holes = holesOf(history.writes, sets);
    const killedMs = truthAt('process.exited', 'postgres/us-west-2a');
    const cutMs = truthAt('link.rule-added', 'wal');
    // A commit is in the log one way before its acknowledgement is here.
    const since = (fromMs: number): number => epoch.writes.filter(({ endedMs }) => endedMs - oneWayMs > fromMs).length;
    const afterCut = since(cutMs);
    const cores = writing.instrument().map(({ cpuCores }) => cpuCores);
    return {
      delayMs,
      acknowledged: epoch.writes.length,
      lost: sets.lost.size,
      afterCut,
      expected: since(cutMs - delayMs),
      expectedByRate: ratePerMs(history.writes, Math.min(cutMs, epoch.lastAckMs)) * delayMs + afterCut,
      holes: holes.size,
      resurrected: sets.resurrected.size,
      phantom: sets.phantom.size,
      handover: handoverOf(epoch, history.writes, sets, holes, { fencedMs: killedMs }),
      cpuCores: cores.reduce((sum, one) => sum + one, 0) / Math.max(1, cores.length),
    };
  } finally {
    await writing?.stop().catch(() => undefined);
    await writing?.remove();
    await lab.stop();
  }
};
