import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock as clock, poll } from '../../core/clock.ts';
import type { Truth } from '../component.ts';
import { callControl } from '../control.ts';
import { forwardPort } from '../layout.ts';
import { labEnvironment, type StartedComponents, startComponents } from '../testing.ts';

/** Vector stores, object stores and links as real processes: one documented hour is three seconds. */

const timeScale = 1200;
const hourMs = 3_600_000 / timeScale;
const syncMs = hourMs / 12;
const source = 'us-west-2';
const near = 'us-east-1';

let lab: StartedComponents;

interface Asked {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

const ask = async (region: string, method: string, path: string, body?: unknown): Promise<Asked> => {
  const port = forwardPort(lab.layout, 'operator', `vector/${region}`);
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { ...init, signal: AbortSignal.timeout(20_000) });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};

const vectorOf = (seed: number): readonly number[] => Array.from({ length: 16 }, (_, at) => Math.sin(seed + at * 7));

const put = async (id: string, seed = 1): Promise<number> => {
  const { status } = await ask(source, 'POST', '/upsert', { items: [{ id, vector: vectorOf(seed), text: id }] });
  expect(status).toBe(200);
  return clock.monotonicMs();
};

const has = async (region: string, id: string): Promise<boolean> =>
  (await ask(region, 'GET', `/vectors/${encodeURIComponent(id)}`)).status === 200;

const eventually = <T>(withinMs: number, look: () => Promise<T | undefined>): Promise<T> =>
  poll(clock, 20, AbortSignal.timeout(withinMs), look);

/** The first event of this kind in a region at or after an instant. */
const eventSince = (region: string, event: string, sinceMs: number, withinMs = 2 * hourMs): Promise<Truth> =>
  eventually(withinMs, async () =>
    lab.truth().find((one) => one.event === event && one.subject === region && one.atMs >= sinceMs),
  );

const status = async (region: string) => (await ask(region, 'GET', '/status')).body as unknown as Status;
interface Status {
  readonly state: string;
  readonly role: string;
  readonly count: number;
  readonly digest: string;
  readonly sync: {
    readonly periodMs: number;
    readonly durationMs: number;
    readonly running: unknown;
    readonly last: { readonly kind: string; readonly error: string | null } | null;
    readonly nextDueInMs: number;
    readonly shown: { readonly takenAgoMs: number; readonly digest: string; readonly count: number };
  } | null;
  readonly snapshot: { readonly last: { readonly count: number } | null };
  readonly rebuild: { readonly from: string; readonly finishedAgoMs: number | null; readonly error: string | null };
}

const rule = (id: string, effect: unknown): Promise<unknown> =>
  callControl(lab.layout, 'links', 'PUT', `/rules/${id}`, {
    body: { match: { from: [`region/${source}`], to: [`region/${near}`] }, effect, owner: 'test' },
  });

beforeAll(async () => {
  const environment = labEnvironment();
  const { lab: settings } = environment;
  if (settings === undefined) throw new Error('the lab environment has a lab section');
  // A full sync every third one, so that a test does not wait for a day.
  const stores = { ...settings.stores, fullSync: 3 * 3_600_000 };
  lab = await startComponents({ ...environment, lab: { ...settings, stores } }, ['links', 'vector', 'objects'], {
    timeScale,
  });
}, 60_000);

afterAll(async () => {
  await lab?.stop();
});

afterEach(async () => {
  await callControl(lab.layout, 'links', 'DELETE', '/rules/break');
});

describe('a delta sync', { timeout: 60_000 }, () => {
  it('carries what was put before it starts, shows it at its end, and nothing sooner', async () => {
    const started = await eventSince(near, 'vector.sync-started', clock.monotonicMs());
    const lateMs = await put('delta/late');
    const finished = await eventSince(near, 'vector.synced', started.atMs);
    expect(await has(near, 'delta/late')).toBe(false);
    const earlyMs = await put('delta/early');
    expect(lateMs).toBeLessThan(earlyMs);
    const next = await eventSince(near, 'vector.sync-started', finished.atMs);
    expect(next.atMs - started.atMs).toBeGreaterThan(hourMs - 200);
    expect(next.atMs - started.atMs).toBeLessThan(hourMs + 200);
    await clock.sleep(syncMs / 2);
    expect(await has(near, 'delta/late')).toBe(false);
    const end = await eventSince(near, 'vector.synced', next.atMs);
    expect(end.atMs - next.atMs).toBeGreaterThan(syncMs - 20);
    expect(await has(near, 'delta/late')).toBe(true);
    expect(await has(near, 'delta/early')).toBe(true);
    const { sync } = await status(near);
    expect(sync?.shown.takenAgoMs).toBeLessThan(clock.monotonicMs() - next.atMs + 50);
  });

  it('is known beforehand by the status of the copy', async () => {
    const before = clock.monotonicMs();
    const { sync, role } = await status(near);
    expect(role).toBe('replica');
    expect(sync).toMatchObject({ periodMs: hourMs, durationMs: syncMs });
    const dueMs = before + (sync?.nextDueInMs ?? 0);
    const started = await eventSince(near, 'vector.sync-started', dueMs - 100);
    expect(Math.abs(started.atMs - dueMs)).toBeLessThan(100);
  });
});

describe('a full sync', { timeout: 120_000 }, () => {
  it('takes away what deletions and drift left, which delta syncs do not', async () => {
    await put('full/deleted');
    await eventually(3 * hourMs, async () => ((await has(near, 'full/deleted')) ? true : undefined));
    // Right after a full sync, so that the next one is a delta.
    await eventually(4 * hourMs, async () => ((await status(near)).sync?.last?.kind === 'full' ? true : undefined));
    const sinceMs = clock.monotonicMs();
    await ask(source, 'POST', '/delete', { ids: ['full/deleted'] });
    const stray = { id: 'full/stray', vector: vectorOf(5), text: 'drift' };
    const changed = { id: 'document-7', vector: vectorOf(9), text: 'drift' };
    expect((await ask(near, 'POST', '/upsert', { items: [stray] })).status).toBe(409);
    expect((await ask(near, 'POST', '/upsert?force=true', { items: [stray, changed] })).status).toBe(200);
    const delta = await eventSince(near, 'vector.synced', sinceMs);
    expect(delta['kind']).toBe('delta');
    expect(await has(near, 'full/deleted')).toBe(true);
    const drifted = await status(near);
    expect(drifted.digest).not.toBe(drifted.sync?.shown.digest);
    await eventually(4 * hourMs, async () =>
      lab
        .truth()
        .find(
          ({ event, subject, kind, atMs }) =>
            event === 'vector.synced' && subject === near && kind === 'full' && atMs > sinceMs,
        ),
    );
    expect(await has(near, 'full/deleted')).toBe(false);
    expect(await has(near, 'full/stray')).toBe(false);
    const { body } = await ask(near, 'GET', '/vectors/document-7');
    expect(body['text']).not.toBe('drift');
    const whole = await status(near);
    expect(whole.digest).toBe(whole.sync?.shown.digest);
  });
});

describe('a source that is cut off', { timeout: 60_000 }, () => {
  it.each([{ kind: 'cut' }, { kind: 'blackhole' }])(
    'ends the sync under way ($kind); the next one carries all',
    async (effect) => {
      await put(`cut/${effect.kind}`);
      const started = await eventSince(near, 'vector.sync-started', clock.monotonicMs());
      await clock.sleep(syncMs / 2);
      await rule('break', effect);
      const failed = await eventSince(near, 'vector.sync-failed', started.atMs);
      expect(await has(near, `cut/${effect.kind}`)).toBe(false);
      expect((await status(near)).sync?.last?.error).not.toBe(null);
      await callControl(lab.layout, 'links', 'DELETE', '/rules/break');
      await eventSince(near, 'vector.synced', failed.atMs);
      expect(await has(near, `cut/${effect.kind}`)).toBe(true);
    },
  );

  it('waits while its syncs are paused', async () => {
    await ask(near, 'POST', '/sync/pause', { owner: 'test', forMs: 60_000 });
    const sinceMs = clock.monotonicMs();
    await clock.sleep(hourMs + 100);
    expect(
      lab.truth().filter((one) => one.event === 'vector.sync-started' && one.subject === near && one.atMs > sinceMs),
    ).toEqual([]);
    await ask(near, 'POST', '/sync/resume');
    await eventSince(near, 'vector.synced', sinceMs);
  });
});

describe('a lost index', { timeout: 60_000 }, () => {
  const rebuiltFrom = async (region: string, from: string): Promise<number> => {
    const sinceMs = clock.monotonicMs();
    await ask(region, 'POST', '/rebuild', { from });
    expect((await ask(region, 'POST', '/rebuild', { from })).status).toBe(409);
    await eventually(4 * hourMs, async () => ((await status(region)).state === 'serving' ? true : undefined));
    expect((await status(region)).rebuild).toMatchObject({ from, error: null });
    return clock.monotonicMs() - sinceMs;
  };

  it('answers nothing until it is rebuilt from the newest snapshot, without what came after that', async () => {
    await put('snapshot/in');
    expect((await ask(source, 'POST', '/snapshot')).status).toBe(200);
    const { digest } = await status(source);
    await put('snapshot/after');
    await ask(source, 'POST', '/lose', { owner: 'test', expiresMs: 60_000 });
    expect((await ask(source, 'GET', '/count')).status).toBe(503);
    expect((await ask(source, 'POST', '/query', { vector: vectorOf(1) })).status).toBe(503);
    expect((await status(source)).state).toBe('lost');
    const tookMs = await rebuiltFrom(source, 'snapshot');
    expect(tookMs).toBeGreaterThan(3 * hourMs - 50);
    expect((await status(source)).digest).toBe(digest);
    expect(await has(source, 'snapshot/in')).toBe(true);
    expect(await has(source, 'snapshot/after')).toBe(false);
    // Numbers begin anew after a loss: the copy still gets what is put from now on.
    const putMs = await put('snapshot/later');
    await eventSince(near, 'vector.synced', putMs, 3 * hourMs);
    await eventually(3 * hourMs, async () => ((await has(near, 'snapshot/later')) ? true : undefined));
  });

  it('of a copy is read from the source again, or comes back by itself', async () => {
    await ask(near, 'POST', '/lose', { owner: 'test', expiresMs: 60_000 });
    await rebuiltFrom(near, 'source');
    const now = await status(near);
    expect(now.digest).toBe(now.sync?.shown.digest);
    await ask(near, 'POST', '/lose', { owner: 'test', expiresMs: 100 });
    await eventually(5 * hourMs, async () => ((await status(near)).state === 'serving' ? true : undefined));
    expect((await status(near)).rebuild).toMatchObject({ from: 'snapshot', error: null });
  });
});
