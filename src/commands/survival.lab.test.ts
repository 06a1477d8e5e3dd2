import { CreateNetworkAclCommand, EC2Client, ReplaceNetworkAclAssociationCommand } from '@aws-sdk/client-ec2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callerFor } from '../adapters/aws-call.ts';
import { systemClock } from '../core/clock.ts';
import { exitCodes } from '../core/errors.ts';
import { eventually, isRunning, type LabCli, startLabCli } from '../testing/lab-cli.ts';
import {
  begins,
  differences,
  drillFile,
  interruptIn,
  killBoth,
  residueOf,
  runFile,
  runIdOf,
  whole,
} from '../testing/survival.ts';

/**
 * The whole lab, the real command line as a process, and everything that can end it. Every phase and step, and random
 * instants, are gone through by `npm run bench -- survival`; here is what stands for them.
 */

const timeScale = 20;
const region = 'us-west-2';
const zone = 'us-west-2a';

let lab: LabCli;
beforeAll(async () => {
  lab = await startLabCli(timeScale);
});
afterAll(async () => {
  await lab?.down();
});

const short = (): string => lab.write('run.yaml', runFile({ holds: '20s', atMost: '20m' }));
const long = (atMost = '30m'): string => lab.write('long-run.yaml', runFile({ holds: atMost, atMost }));
const writing = (): string => lab.write('writing.yaml', runFile({ holds: '30m', atMost: '30m', ledger: true }));
const drill = (): string => lab.write('drill.yaml', drillFile);

/** Whether the zone answers its clients at all, and says that it is well. */
const zoneAnswers = async (): Promise<boolean> => {
  try {
    const response = await fetch(`${await lab.zoneUrl(zone)}/health`, { signal: AbortSignal.timeout(400) });
    await response.text();
    return response.ok;
  } catch {
    // Refused, reset or not answered in time: the zone is dark.
    return false;
  }
};

const until = async (what: string, look: () => Promise<boolean>): Promise<void> =>
  void (await eventually(what, async () => ((await look()) ? true : undefined), 60_000));

/** A run under way whose zone is seen dark. */
const inTheDark = async (file: string) => {
  const before = await whole(lab);
  const known = lab.runIds();
  const going = lab.start('run', file);
  await going.said(begins('fault'));
  await until('darkness', async () => !(await zoneAnswers()));
  return { before, going, runId: await runIdOf(lab, known) };
};

describe('SIGKILL while a zone is dark', { timeout: 120_000 }, () => {
  it('ends the darkness by the watchdog, with nobody to help', async () => {
    const { before, going, runId } = await inTheDark(long());
    const killedMs = systemClock.monotonicMs();
    going.kill();
    await until('light', zoneAnswers);
    const darkMs = systemClock.monotonicMs() - killedMs;
    expect(darkMs).toBeLessThan(15_000);
    await until('the end of the undo', async () => (await lab.left(runId)).length === 0);
    expect(await residueOf(lab, before)).toEqual([]);
    await whole(lab);
  });

  it('of the watchdog too leaves it to "recover", which puts all back at once', async () => {
    const { before, going, runId } = await inTheDark(long());
    await killBoth(lab, going, runId);
    expect((await lab.run('status')).code).toBe(exitCodes.rollbackIncomplete);
    const refused = await lab.run('run', short());
    expect(refused).toMatchObject({ code: exitCodes.usage, notes: expect.stringContaining(`recover ${runId}`) });
    expect(await zoneAnswers()).toBe(false);
    const recovered = await lab.run('recover');
    expect(recovered).toMatchObject({ code: exitCodes.pass, out: `${runId}: 1 target put back\n` });
    expect(recovered.tookMs).toBeLessThan(10_000);
    expect(await residueOf(lab, before)).toEqual([]);
    await until('light', zoneAnswers);
    await whole(lab);
  });

  it('of the watchdog too, without "recover": the duration of the FIS experiment ends it', async () => {
    const documentedMinutes = 3;
    const { before, going, runId } = await inTheDark(long(`${documentedMinutes}m`));
    await killBoth(lab, going, runId);
    expect(await zoneAnswers()).toBe(false);
    await until('light', zoneAnswers);
    await until('the subnets as they were', async () => {
      const { fis: _, ...after } = await lab.platform();
      return differences({ ...before, fis: [] }, { ...after, fis: [] }).length === 0;
    });
    // The journal does not know yet, and the template is there: "recover" finds nothing to mend, and tidies up.
    expect((await lab.run('recover')).code).toBe(exitCodes.pass);
    expect(await residueOf(lab, before)).toEqual([]);
    await whole(lab);
  });
});

describe('what a ledger wrote', { timeout: 120_000 }, () => {
  it('is taken away by the watchdog of a run that was killed, and by "recover" when both were', async () => {
    for (const end of ['watchdog', 'recover']) {
      const { before, going, runId } = await inTheDark(writing());
      await until('rows', async () => (await lab.ledgers()).length > 0);
      if (end === 'recover') {
        await killBoth(lab, going, runId);
        expect((await lab.run('recover')).code).toBe(exitCodes.pass);
      } else {
        going.kill();
        await until('the end of its rows', async () => (await lab.ledgers()).length === 0);
      }
      expect(await lab.ledgers()).toEqual([]);
      expect(await residueOf(lab, before)).toEqual([]);
      await until('light', zoneAnswers);
      await whole(lab);
    }
  });
});

describe('Ctrl-C', { timeout: 180_000 }, () => {
  const clean = { code: exitCodes.aborted, residue: [] };

  it.each([
    ['plan', 100],
    ['warm-up', 0],
    ['baseline', 500],
    ['inject', 0],
    ['inject', 120],
    ['fault', 200],
    ['confirm', 100],
  ])('in the phase %s of a run, %i ms into it, leaves nothing', async (phase, intoMs) => {
    expect(await interruptIn(lab, short(), phase, intoMs)).toMatchObject(clean);
  });

  it.each(['promote', 'shift-traffic'])('in the step %s of a drill leaves nothing', async (phase) => {
    expect(await interruptIn(lab, drill(), phase, 300)).toMatchObject(clean);
  });

  it('twice says what is being put back, three times leaves that to the watchdog', async () => {
    const before = await whole(lab);
    const known = lab.runIds();
    const going = lab.start('drill', drill(), '--approve', 'auto');
    await going.said(begins('hold'));
    const runId = await runIdOf(lab, known);
    going.press('SIGINT');
    await going.said(/database\/\S+: putting back/);
    going.press('SIGINT');
    await going.said(
      new RegExp(
        `still putting back database/[^:]+; a third SIGINT leaves it\\.\\n"blackstart recover ${runId}" puts back`,
      ),
    );
    const thirdMs = systemClock.monotonicMs();
    going.press('SIGINT');
    const ended = await going.ended;
    expect(systemClock.monotonicMs() - thirdMs).toBeLessThan(1000);
    expect(ended).toMatchObject({
      code: exitCodes.rollbackIncomplete,
      notes: expect.stringContaining(`Run "blackstart recover ${runId}" now`),
    });
    const recovered = await lab.run('recover', runId);
    expect(recovered.code).toBe(exitCodes.pass);
    expect(await residueOf(lab, before)).toEqual([]);
    await whole(lab);
  });
});

describe('abort from another terminal', { timeout: 120_000 }, () => {
  it('makes the run roll back and end as aborted', async () => {
    const { before, going, runId } = await inTheDark(long());
    const aborted = await lab.run('abort');
    expect(aborted).toMatchObject({ code: exitCodes.pass, out: `${runId}: stopped, everything is back\n` });
    expect((await going.ended).code).toBe(exitCodes.aborted);
    expect(await residueOf(lab, before)).toEqual([]);
    await whole(lab);
  });
});

describe('what somebody else changes during a run', { timeout: 120_000 }, () => {
  const client = (): EC2Client => {
    const { awsEndpoint: endpoint, awsCredentialsFile: credentialsFile } = lab.addresses;
    return new EC2Client(callerFor('EC2', region, { endpoint, credentialsFile }).config);
  };

  it('is not overwritten, is shown, and "recover" ends once it is put right: a network ACL', async () => {
    const ec2 = client();
    const signal = AbortSignal.timeout(100_000);
    const { before, going, runId } = await inTheDark(long());
    const port = lab.ports.ec2(region);
    const [subnet] = await port.subnets({ zones: [zone] }, signal);
    const subnetId = subnet?.id ?? '';
    const made = await ec2.send(new CreateNetworkAclCommand({ VpcId: subnet?.vpcId }));
    const theirs = made.NetworkAcl?.NetworkAclId ?? '';
    const attach = async (NetworkAclId: string): Promise<void> => {
      const [now] = await port.subnetAcls([subnetId], signal);
      await ec2.send(new ReplaceNetworkAclAssociationCommand({ AssociationId: now?.associationId, NetworkAclId }));
    };
    await attach(theirs);
    const difference = `${subnetId}: network ACL was ${before.acls[subnetId]}, is now ${theirs}`;
    going.press('SIGINT');
    const ended = await going.ended;
    expect(ended).toMatchObject({
      code: exitCodes.rollbackIncomplete,
      notes: expect.stringContaining(difference),
    });
    expect((await lab.platform()).acls[subnetId]).toBe(theirs);
    const recovered = await lab.run('recover');
    expect(recovered.code).toBe(exitCodes.rollbackIncomplete);
    expect(recovered.notes + recovered.out).toContain(difference);
    expect((await lab.platform()).acls[subnetId]).toBe(theirs);
    await attach(before.acls[subnetId] ?? '');
    expect(await lab.run('recover')).toMatchObject({ code: exitCodes.pass, out: `${runId}: 1 target put back\n` });
    expect(await residueOf(lab, before)).toEqual([]);
    await whole(lab);
  });

  it('is not overwritten, is shown, and "recover" ends once it is put right: the share of a region', async () => {
    const before = await whole(lab);
    const known = lab.runIds();
    const file = lab.write('shift.yaml', runFile({ fault: 'traffic.shift', holds: '20m', atMost: '30m' }));
    const going = lab.start('run', file);
    await going.said(begins('fault'));
    const runId = await runIdOf(lab, known);
    const { hostedZoneId, host } = lab.environment.service;
    const route53 = lab.ports.route53();
    const signal = AbortSignal.timeout(100_000);
    await route53.putWeight(hostedZoneId, host, 'us-east-1', 37, signal);
    going.press('SIGINT');
    const difference = 'weight of us-east-1: was 100, is now 37';
    const ended = await going.ended;
    expect(ended).toMatchObject({ code: exitCodes.rollbackIncomplete, notes: expect.stringContaining(difference) });
    const recovered = await lab.run('recover');
    expect(recovered.code).toBe(exitCodes.rollbackIncomplete);
    expect(recovered.notes + recovered.out).toContain(difference);
    expect((await lab.platform()).weights['us-east-1']).toBe(37);
    await route53.putWeight(hostedZoneId, host, 'us-east-1', 100, signal);
    expect(await lab.run('recover')).toMatchObject({ code: exitCodes.pass, out: `${runId}: 1 target put back\n` });
    expect(await residueOf(lab, before)).toEqual([]);
  });
});

it('leaves no watchdog of any run behind', () => {
  const watchdogs = lab.runIds().flatMap((runId) => lab.watchdogOf(runId) ?? []);
  expect(watchdogs.filter(isRunning)).toEqual([]);
});
