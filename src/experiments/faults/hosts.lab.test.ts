import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createAwsPorts } from '../../adapters/aws-client.ts';
import type { Ports } from '../../adapters/ports.ts';
import { systemClock } from '../../core/clock.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../../lab/testing.ts';
import { insertText, labDatabase } from '../../testing/lab-database.ts';
import type { Fault, FaultContext, Planned } from '../fault.ts';
import { databaseKill } from './database-kill/index.ts';
import { replicationDelay } from './replication-delay/index.ts';
import { replicationPause } from './replication-pause/index.ts';

const timeScale = 20;
const environment = labEnvironment();
let lab: StartedComponents;
let credentialsFile: string;
const { sql, indexesIn, until, untilInstance, instance } = labDatabase(() => lab);

beforeAll(async () => {
  lab = await startComponents(environment, ['links', 'dns', 'database', 'aws'], { timeScale });
  credentialsFile = path.join(lab.layout.stateDir, 'test-credentials');
  const { awsAccessKeyId, token } = lab.layout;
  const lines = ['[default]', `aws_access_key_id = ${awsAccessKeyId}`, `aws_secret_access_key = ${token}`];
  writeFileSync(credentialsFile, `${lines.join('\n')}\n`, { mode: 0o600 });
});
afterAll(() => lab.stop());

const context = (): FaultContext => ({
  runId: 'run-1',
  environment,
  timeScale,
  clock: systemClock,
  ports: {
    ...createAwsPorts({
      endpoint: `http://127.0.0.1:${lab.layout.control.aws}`,
      credentialsFile,
      clock: systemClock,
    }),
    vectors: () => null,
  } as unknown as Ports,
  signal: AbortSignal.timeout(60_000),
  random: () => 0,
  expiryMs: 30 * 60_000,
});

const inject = async (fault: Fault, params: Readonly<Record<string, unknown>>): Promise<Planned<unknown>> => {
  const [planned] = await fault.plan(params, context());
  if (planned === undefined) throw new Error('nothing was planned');
  await fault.prepare?.(planned, params, context());
  await fault.inject(planned, params, context());
  expect(await fault.bites(planned, context())).toContain('FIS experiment');
  return planned;
};

const visibleAfterMs = async (stream: string): Promise<number> => {
  await sql('us-west-2a', insertText, [stream, 1]);
  const fromMs = systemClock.monotonicMs();
  await until(`${stream} on the replica`, async () =>
    (await indexesIn('us-east-1a', stream)).length === 1 ? true : undefined,
  );
  return systemClock.monotonicMs() - fromMs;
};

it('a delayed log shows a write later, and as before once the delay is taken away', async () => {
  const planned = await inject(replicationDelay, { region: 'failover', delay: '30s' });
  expect(await visibleAfterMs('delayed')).toBeGreaterThan((30_000 + 5000) / timeScale - 50);
  await replicationDelay.revert(planned.undo, context());
  expect(await replicationDelay.isReverted(planned.undo, context())).toEqual({ state: 'reverted' });
  expect(await visibleAfterMs('in time')).toBeLessThan(35_000 / timeScale);
});

it('a paused log shows nothing until it flows again, and other regions go on', async () => {
  const planned = await inject(replicationPause, { store: 'postgres', region: 'failover' });
  await sql('us-west-2a', insertText, ['paused', 1]);
  await until('the row in Europe', async () =>
    (await indexesIn('eu-central-1a', 'paused')).length === 1 ? true : undefined,
  );
  await systemClock.sleep(1000);
  expect(await indexesIn('us-east-1a', 'paused')).toEqual([]);
  await replicationPause.revert(planned.undo, context());
  await until('the row in the east', async () =>
    (await indexesIn('us-east-1a', 'paused')).length === 1 ? true : undefined,
  );
});

it('a killed server is gone, its standby takes over, and redundancy returns', async () => {
  const planned = await inject(databaseKill, {});
  const [killed] = lab
    .truth()
    .filter(({ event, why }) => event === 'process.signalled' && why === 'killed on its host');
  expect(killed).toMatchObject({ subject: 'postgres/us-west-2a', signal: 'SIGKILL' });
  await databaseKill.revert(planned.undo, context());
  await untilInstance('conversations-us-west-2', 'in the other zone', ({ zone }) => zone === 'us-west-2b');
  await until('redundancy', async () => {
    const { state } = await databaseKill.isReverted(planned.undo, context());
    return state === 'reverted' ? true : undefined;
  });
  expect(await instance('conversations-us-west-2')).toMatchObject({ secondaryZone: 'us-west-2a' });
});
