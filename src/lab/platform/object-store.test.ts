import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { withVersion } from './object-bucket.ts';
import { type CopyOutcome, createReplicator } from './object-replication.ts';
import { type ObjectStore, openObjectStore, replicationStatusOf } from './object-store.ts';
import { destinationsOf, isPaused, parseReplication, replicationTo } from './s3-replication-rules.ts';

const bucket = 'here';
const given = { modified: '2026-01-01T00:00:00.000Z', contentType: 'text/plain', metadata: {} };
let folder: string;
let store: ObjectStore;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'blackstart-store-'));
  store = openObjectStore(folder);
  store.createBucket(bucket, given.modified);
  store.changeSettings(bucket, { versioning: 'Enabled' });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the store of versions', () => {
  it('comes back from the disk as it was, in the same order', () => {
    const one = store.put(bucket, { ...given, key: 'a', copyTo: ['there'] }, Buffer.from('1'));
    store.put(bucket, { ...given, key: 'a', copyTo: ['there'] }, Buffer.from('2'));
    store.setCopyState(bucket, one, 'there', 'COMPLETED');
    store.put(bucket, { ...given, key: 'b' }, Buffer.from('3'));
    store.remove(bucket, { ...given, key: 'b' });
    const again = openObjectStore(folder);
    for (const key of ['a', 'b']) expect(again.versions(bucket, key)).toEqual(store.versions(bucket, key));
    expect(again.pending(bucket).map(({ size, key }) => [key, size])).toEqual([['a', 1]]);
    expect(again.settings(bucket)).toEqual(store.settings(bucket));
  });

  it('takes the same copy once, and an old one behind a newer one', () => {
    const version = { ...given, key: 'k', versionId: 'v1', isDeleteMarker: false, etag: '', size: 1 };
    const later = { ...version, versionId: 'v2', modified: '2026-01-01T00:00:01.000Z' };
    for (const one of [later, version, later]) store.putReplica(bucket, one, Buffer.from('x'));
    expect(store.versions(bucket, 'k').map(({ versionId }) => versionId)).toEqual(['v2', 'v1']);
    expect(store.head(bucket, 'k')?.replication).toBe('replica');
    expect(withVersion([later], { ...version, replication: 'replica' }).map((one) => one.versionId)).toEqual([
      'v2',
      'v1',
    ]);
  });

  it('says COMPLETED only when every destination has it, FAILED when one refused', () => {
    const put = store.put(bucket, { ...given, key: 'k', copyTo: ['x', 'y'] }, Buffer.from('1'));
    const status = (): unknown => store.versions(bucket, 'k').map(replicationStatusOf)[0];
    expect(status()).toBe('PENDING');
    store.setCopyState(bucket, put, 'x', 'COMPLETED');
    expect(status()).toBe('PENDING');
    store.setCopyState(bucket, put, 'y', 'COMPLETED');
    expect(status()).toBe('COMPLETED');
    store.setCopyState(bucket, put, 'y', 'FAILED');
    expect(status()).toBe('FAILED');
  });
});

describe('replication rules', () => {
  const rules = parseReplication(replicationTo('role', ['there', 'elsewhere']));

  it('copy objects everywhere, and delete markers nowhere, unless told to', () => {
    expect(destinationsOf(rules, 'k', false)).toEqual(['there', 'elsewhere']);
    expect(destinationsOf(rules, 'k', true)).toEqual([]);
    const asked = replicationTo('role', ['there']).replace(
      '<DeleteMarkerReplication><Status>Disabled',
      '<DeleteMarkerReplication><Status>Enabled',
    );
    expect(destinationsOf(parseReplication(asked), 'k', true)).toEqual(['there']);
    const first = asked
      .replace(/<Filter>.*<\/Filter>/, '<Prefix>logs/</Prefix>')
      .replace(/<Delete.*<\/Delete[^>]*>/, '');
    expect(destinationsOf(parseReplication(first), 'logs/k', true)).toEqual(['there']);
    expect(destinationsOf(parseReplication(first), 'k', false)).toEqual([]);
  });

  it('are refused when they are not whole', () => {
    expect(() => parseReplication('<Other/>')).toThrow();
    expect(() => parseReplication(replicationTo('role', []))).toThrow();
    expect(() => parseReplication(replicationTo('role', ['NO BUCKET']))).toThrow();
  });

  it('are paused by source, destination and prefix', () => {
    const copy = { bucket, key: 'k', destination: 'there' };
    expect(isPaused([{ bucket, destinations: ['there'], prefixes: undefined }], rules, copy)).toBe(true);
    expect(isPaused([{ bucket, destinations: ['elsewhere'], prefixes: undefined }], rules, copy)).toBe(false);
    expect(isPaused([{ bucket: 'other', destinations: ['there'], prefixes: undefined }], rules, copy)).toBe(false);
    expect(isPaused([{ bucket, destinations: ['there'], prefixes: ['logs/'] }], rules, copy)).toBe(false);
    expect(isPaused([{ bucket, destinations: ['there'], prefixes: [''] }], rules, copy)).toBe(true);
  });
});

describe('the replicator', () => {
  const start = (send: (destination: string) => Promise<CopyOutcome>, delayMs = 0) => {
    const stop = new AbortController();
    const copied: string[] = [];
    const replicator = createReplicator(
      {
        store,
        clock: systemClock,
        delayMs,
        retryMs: 10,
        rulesOf: () => [],
        send,
        onCopied: (_bucket, { key }, destination, outcome) => void copied.push(`${key} ${destination} ${outcome}`),
        log: () => undefined,
      },
      stop.signal,
    );
    const put = (key: string): void => {
      replicator.add(bucket, store.put(bucket, { ...given, key, copyTo: ['there'] }, Buffer.from('x')));
    };
    return { replicator, copied, put, stop: () => stop.abort() };
  };
  const until = async (look: () => boolean): Promise<void> => {
    const lastMs = systemClock.monotonicMs() + 10_000;
    while (!look()) {
      if (systemClock.monotonicMs() > lastMs) throw new Error('it did not happen');
      await systemClock.sleep(5);
    }
  };

  it('tries again until the other region answers, and goes on after a restart', async () => {
    let isUp = false;
    const send = async (): Promise<CopyOutcome> => {
      if (!isUp) throw new Error('no answer');
      return 'stored';
    };
    const first = start(send);
    first.put('a');
    first.put('b');
    await systemClock.sleep(50);
    expect(first.copied).toEqual([]);
    first.stop();
    isUp = true;
    const second = start(send);
    await until(() => second.copied.length === 2);
    expect(second.copied).toEqual(['a there stored', 'b there stored']);
    expect(store.pending(bucket)).toEqual([]);
    second.stop();
  });

  it('holds what is paused, also past its due time, and follows up when the pause ends by itself', async () => {
    const running = start(async () => 'stored');
    const pause = { bucket, destinations: ['there'], prefixes: undefined };
    await running.replicator.pause('p', pause, 60_000);
    running.put('a');
    await systemClock.sleep(50);
    expect(running.copied).toEqual([]);
    await running.replicator.pause('p', pause, 20);
    await until(() => running.copied.length === 1);
    expect(running.replicator.pauses.size).toBe(0);
    running.stop();
  });

  it('waits its delay, and never copies what was taken away for good meanwhile', async () => {
    const running = start(async () => 'refused', 100);
    running.put('a');
    const taken = store.put(bucket, { ...given, key: 'gone', copyTo: ['there'] }, Buffer.from('x'));
    running.replicator.add(bucket, taken);
    store.removeVersion(bucket, 'gone', taken.versionId);
    await systemClock.sleep(50);
    expect(running.copied).toEqual([]);
    await until(() => running.copied.length === 1);
    expect(running.copied).toEqual(['a there refused']);
    expect(store.versions(bucket, 'a').map(replicationStatusOf)).toEqual(['FAILED']);
    running.stop();
  });
});
