import { writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  DeleteObjectCommand,
  GetBucketReplicationCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAwsPorts } from '../../adapters/aws-client.ts';
import { poll, systemClock } from '../../core/clock.ts';
import { callControl } from '../control.ts';
import { scaled } from '../layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../testing.ts';

const environment = labEnvironment();
const west = 'us-west-2';
const east = 'us-east-1';
const bucketOf = (region: string): string => `documents-${region}`;

let lab: StartedComponents;
/** Documented 30 s. */
let delayMs: number;

beforeAll(async () => {
  lab = await startComponents(environment, ['links', 'objects', 'aws'], { timeScale: 30 });
  delayMs = scaled(lab.layout, lab.layout.settings.stores.objectReplication);
});
afterAll(async () => {
  await lab?.stop();
});

/** The official SDK, as any client of the platform has it. */
const clientIn = (region: string): S3Client =>
  new S3Client({
    region,
    endpoint: `http://127.0.0.1:${lab.layout.control.aws}`,
    forcePathStyle: true,
    credentials: { accessKeyId: lab.layout.awsAccessKeyId, secretAccessKey: lab.layout.token },
    maxAttempts: 1,
  });

const put = async (Key: string, Body: string, region = west): Promise<string> => {
  const answer = await clientIn(region).send(new PutObjectCommand({ Bucket: bucketOf(region), Key, Body }));
  return answer.VersionId ?? '';
};
const statusOf = async (region: string, Key: string): Promise<string | undefined> => {
  try {
    const head = await clientIn(region).send(new HeadObjectCommand({ Bucket: bucketOf(region), Key }));
    return head.ReplicationStatus ?? 'none';
  } catch (error) {
    if (error instanceof Error && error.name === 'NotFound') return undefined;
    throw error;
  }
};
const until = <T>(look: () => Promise<T | undefined>): Promise<T> =>
  poll(systemClock, 20, AbortSignal.timeout(20_000), look);
const isCopied =
  (Key: string, region = east) =>
  async (): Promise<true | undefined> =>
    (await statusOf(region, Key)) === 'REPLICA' ? true : undefined;
const textOf = async (region: string, Key: string, VersionId?: string): Promise<string | undefined> => {
  const version = VersionId === undefined ? {} : { VersionId };
  const got = await clientIn(region).send(new GetObjectCommand({ Bucket: bucketOf(region), Key, ...version }));
  return await got.Body?.transformToString();
};

describe('the object store, by the official SDK', () => {
  it('keeps versions and delete markers, and shows how it is set up', async () => {
    const client = clientIn(west);
    const Bucket = bucketOf(west);
    expect((await client.send(new GetBucketVersioningCommand({ Bucket }))).Status).toBe('Enabled');
    const { ReplicationConfiguration } = await client.send(new GetBucketReplicationCommand({ Bucket }));
    expect(ReplicationConfiguration?.Rules?.map(({ Destination }) => Destination?.Bucket)).toEqual([
      'arn:aws:s3:::documents-us-east-1',
      'arn:aws:s3:::documents-eu-central-1',
    ]);
    const Key = 'sdk/a b&c';
    const first = await put(Key, 'first');
    const second = await put(Key, 'second');
    const { VersionId: marker, DeleteMarker } = await client.send(new DeleteObjectCommand({ Bucket, Key }));
    expect(DeleteMarker).toBe(true);
    await expect(textOf(west, Key)).rejects.toMatchObject({ name: 'NoSuchKey' });
    expect(await textOf(west, Key, first)).toBe('first');
    const listed = await client.send(new ListObjectVersionsCommand({ Bucket, Prefix: 'sdk/' }));
    expect(listed.Versions?.map(({ VersionId }) => VersionId)).toEqual([second, first]);
    expect(listed.DeleteMarkers?.map(({ VersionId, IsLatest }) => [VersionId, IsLatest])).toEqual([[marker, true]]);
    await client.send(new DeleteObjectCommand({ Bucket, Key, VersionId: marker }));
    expect(await textOf(west, Key)).toBe('second');
  });

  it('pages through a listing, from a key on', async () => {
    const keys = Array.from({ length: 7 }, (_, index) => `pages/${index}`);
    for (const key of keys) await put(key, key, east);
    const seen: (string | undefined)[] = [];
    let token: string | undefined;
    do {
      const page = await clientIn(east).send(
        new ListObjectsV2Command({
          Bucket: bucketOf(east),
          Prefix: 'pages/',
          StartAfter: 'pages/1',
          MaxKeys: 2,
          ...(token === undefined ? {} : { ContinuationToken: token }),
        }),
      );
      seen.push(...(page.Contents ?? []).map(({ Key }) => Key));
      token = page.NextContinuationToken;
    } while (token !== undefined);
    expect(seen).toEqual(keys.slice(2));
  });
});

describe('replication to other regions', () => {
  it('takes its documented delay, keeps the version, and says so on both sides', async () => {
    const key = 'replicated/one';
    const putMs = systemClock.monotonicMs();
    const versionId = await put(key, 'text');
    const acknowledgedMs = systemClock.monotonicMs();
    expect([await statusOf(west, key), await statusOf(east, key)]).toEqual(['PENDING', undefined]);
    await until(isCopied(key));
    const seenMs = systemClock.monotonicMs();
    expect(seenMs - putMs).toBeGreaterThanOrEqual(delayMs);
    expect(seenMs - acknowledgedMs).toBeLessThan(delayMs + 1500);
    await until(async () => ((await statusOf(west, key)) === 'COMPLETED' ? true : undefined));
    expect(await textOf(east, key, versionId)).toBe('text');
    expect(await statusOf('eu-central-1', key)).toBe('REPLICA');
    expect(await statusOf(west, 'handbook/first-steps.txt')).toBe('none');
  });

  it('leaves delete markers where they are, and goes one way', async () => {
    await put('replicated/kept', 'x');
    await put('replicated/eastern', 'x', east);
    await until(isCopied('replicated/kept'));
    await clientIn(west).send(new DeleteObjectCommand({ Bucket: bucketOf(west), Key: 'replicated/kept' }));
    await systemClock.sleep(2 * delayMs);
    expect(await statusOf(west, 'replicated/kept')).toBeUndefined();
    expect(await statusOf(east, 'replicated/kept')).toBe('REPLICA');
    expect(await statusOf(west, 'replicated/eastern')).toBeUndefined();
    expect(await statusOf(east, 'replicated/eastern')).toBe('none');
  });

  it('stands still while a region cannot be reached, and follows once it can', async () => {
    const body = {
      match: { from: [`region/${west}`], to: [`region/${east}`] },
      effect: { kind: 'blackhole' },
      owner: 'test',
    };
    await callControl(lab.layout, 'links', 'PUT', '/rules/dark', { body });
    await put('cut/one', 'x');
    await until(isCopied('cut/one', 'eu-central-1'));
    await systemClock.sleep(2 * delayMs);
    expect([await statusOf(west, 'cut/one'), await statusOf(east, 'cut/one')]).toEqual(['PENDING', undefined]);
    await callControl(lab.layout, 'links', 'DELETE', '/rules/dark');
    await until(isCopied('cut/one'));
    await until(async () => ((await statusOf(west, 'cut/one')) === 'COMPLETED' ? true : undefined));
  });
});

describe('a pause of replication through FIS', () => {
  const fis = () =>
    createAwsPorts({
      endpoint: `http://127.0.0.1:${lab.layout.control.aws}`,
      credentialsFile: path.join(lab.layout.stateDir, 'test-credentials'),
      clock: systemClock,
    }).fis(west);
  const start = async (token: string, duration: string): Promise<string> => {
    const keys = [`aws_access_key_id = ${lab.layout.awsAccessKeyId}`, `aws_secret_access_key = ${lab.layout.token}`];
    writeFileSync(path.join(lab.layout.stateDir, 'test-credentials'), ['[default]', ...keys].join('\n'));
    const signal = AbortSignal.timeout(20_000);
    const template = await fis().createTemplate(
      {
        description: 'pause',
        roleArn: environment.aws.experimentRole,
        tags: {},
        stopConditions: [{ source: 'none' }],
        targets: {
          buckets: {
            resourceType: 'aws:s3:bucket',
            resourceTags: { 'blackstart:environment': environment.name },
            selectionMode: 'ALL',
          },
        },
        actions: {
          pause: {
            actionId: 'aws:s3:bucket-pause-replication',
            parameters: { duration, region: east },
            targets: { Buckets: 'buckets' },
          },
        },
      },
      token,
      signal,
    );
    const { id } = await fis().start(template, token, {}, signal);
    await until(async () => ((await fis().get(id, signal))?.status === 'running' ? true : undefined));
    await until(async () => {
      const actions = Object.values((await fis().get(id, signal))?.actions ?? {});
      return actions.every(({ status }) => status === 'running') ? true : undefined;
    });
    return id;
  };

  it('holds what goes to the one region, and lets it follow when it is stopped', async () => {
    const id = await start('stopped', 'PT1H');
    await put('paused/one', 'x');
    await until(isCopied('paused/one', 'eu-central-1'));
    await systemClock.sleep(2 * delayMs);
    expect([await statusOf(west, 'paused/one'), await statusOf(east, 'paused/one')]).toEqual(['PENDING', undefined]);
    await fis().stop(id, AbortSignal.timeout(5000));
    await until(isCopied('paused/one'));
  });

  it('ends by itself after its duration', async () => {
    await start('expires', 'PT2M');
    const startedMs = systemClock.monotonicMs();
    await put('paused/two', 'x');
    await until(isCopied('paused/two'));
    expect(systemClock.monotonicMs() - startedMs).toBeGreaterThan(scaled(lab.layout, 2 * 60_000) - 500);
  });
});
