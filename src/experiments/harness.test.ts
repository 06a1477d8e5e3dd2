import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlackstartError } from '../core/errors.ts';
import { readJournal } from '../core/journal.ts';
import { type Switch, sessionOf } from '../testing/fake-platform.ts';
import { type RunRequest, withRun } from './harness.ts';
import { journalFile, recoverByDiscovery, recoverRun, unfinishedRuns } from './recover.ts';
import type { Running } from './running.ts';
import { dueBackMs } from './watchdog.ts';

let home: string;
beforeAll(() => {
  home = mkdtempSync(path.join(tmpdir(), 'blackstart-harness-'));
  process.env['XDG_STATE_HOME'] = home;
});
afterAll(() => {
  delete process.env['XDG_STATE_HOME'];
  rmSync(home, { recursive: true, force: true });
});

let count = 0;
const setUp = (changes: Partial<RunRequest> = {}) => {
  count += 1;
  const platform: Switch = { state: 'on', unreachable: false };
  const abort = new AbortController();
  const request: RunRequest = {
    session: sessionOf(platform, `harness-${count}`),
    scenario: {
      kind: 'experiment',
      name: 'switch',
      title: 'Switch',
      steadyForMs: 0,
      probes: [],
      errorsMax: 0.01,
      targets: [],
      source: {},
    },
    runId: `run-${count}`,
    seed: 1,
    reports: path.join(home, String(count)),
    versions: {},
    approve: 'auto',
    ask: async () => 'yes',
    signal: abort.signal,
    live: () => undefined,
    streams: [],
    startInstrument: async () => ({
      streams: [],
      onSample: () => undefined,
      stop: async () => undefined,
      finishLedgers: async () => undefined,
    }),
    steadyState: () => ({
      add: () => undefined,
      baseline: () => ({ missing: [], failed: [] }),
      baselineNeedsMs: () => 0,
      missingSince: () => [],
    }),
    startWatchdog: undefined,
    ...changes,
  };
  return { platform, abort, request };
};

const off = { fault: 'switch.off', with: {}, atMostMs: 60_000 };
const typesOf = async (folder: string) => (await readJournal(journalFile(folder))).map((event) => event.type);

describe('a run', () => {
  it('arms before it breaks, proves that it bit, and puts back', async () => {
    const { platform, request } = setUp();
    let during = '';
    const { folder, error } = await withRun(request, [], async (running) => {
      await running.inject(off);
      during = platform.state;
    });
    expect([during, platform.state, error]).toEqual(['off', 'on', undefined]);
    const types = await typesOf(folder);
    const order = ['undo.armed', 'fault.injected', 'fault.effective', 'undo.done', 'run.ended'] as const;
    expect(order.map((type) => types.indexOf(type))).toEqual(
      order.map((type) => types.indexOf(type)).sort((left, right) => left - right),
    );
    expect(types).toEqual(expect.arrayContaining([...order]));
  });

  it('refuses to inject when the targets changed since they were planned', async () => {
    const { platform, request } = setUp();
    const { error } = await withRun(request, [off], async (running) => {
      platform.state = 'dimmed';
      await running.inject(off);
    });
    expect(platform.state).toBe('dimmed');
    expect(error).toMatchObject({ code: 'PLAN_REFUSED', message: expect.stringContaining('changed since the plan') });
  });

  it('injects nothing into a platform that is not well', async () => {
    const { platform, request } = setUp({
      steadyState: () => ({
        add: () => undefined,
        baseline: () => ({ missing: [], failed: ['chat/home/fresh: 12 of 100 answers were bad'] }),
        baselineNeedsMs: () => 0,
        missingSince: () => [],
      }),
    });
    let reached = false;
    const { folder, error } = await withRun(request, [], async () => {
      reached = true;
    });
    expect([reached, platform.state]).toEqual([false, 'on']);
    expect(error).toMatchObject({ code: 'BASELINE', exitCode: 2 });
    expect(await typesOf(folder)).not.toContain('undo.armed');
  });

  it('says what it is putting back, for a person who presses Ctrl-C again', async () => {
    const undoing: (string | undefined)[] = [];
    const { request } = setUp({
      live: (event) => {
        if (event.type === 'note') undoing.push(event.undoing);
      },
    });
    await withRun(request, [], async (running) => {
      running.live({ type: 'note', text: 'somebody does not answer' });
      await running.inject(off);
    });
    expect(undoing).toEqual([undefined, 'switch/1', 'switch/1']);
  });

  it('takes an abort as a reason to roll back, not to stop', async () => {
    const { platform, abort, request } = setUp();
    const { error } = await withRun(request, [], async (running: Running) => {
      await running.inject(off);
      setTimeout(() => abort.abort(new BlackstartError('ABORTED', 'Ctrl-C', 'x')), 20);
      await running.session.clock.sleep(60_000, running.signal);
    });
    expect(platform.state).toBe('on');
    expect(error).toMatchObject({ code: 'ABORTED', exitCode: 130 });
  });

  it('has no verdict when somebody stops the reading of what was written', async () => {
    const stopping = new AbortController();
    const modes: string[] = [];
    const { request } = setUp({
      signal: stopping.signal,
      startInstrument: async () => ({
        streams: [],
        onSample: () => undefined,
        stop: async () => undefined,
        finishLedgers: async (mode) => {
          modes.push(mode);
          stopping.abort(new BlackstartError('ABORTED', 'Ctrl-C', 'x'));
        },
      }),
    });
    const { folder, error } = await withRun(request, [], async () => undefined);
    expect(modes).toEqual(['read']);
    expect(error).toMatchObject({ code: 'ABORTED', exitCode: 130 });
    const events = await readJournal(journalFile(folder));
    expect(events.at(-1)).toMatchObject({ type: 'run.ended', reason: 'aborted' });
    expect(events).toContainEqual(expect.objectContaining({ type: 'phase.finished', phase: 'read' }));
  });

  it('plans before anybody probes', async () => {
    const order: string[] = [];
    const { platform, request } = setUp({
      startWatchdog: async () => {
        order.push('watchdog');
        return 1;
      },
      startInstrument: async () => {
        order.push('probes');
        throw new Error('no probes');
      },
    });
    const { error } = await withRun(request, [off], async () => undefined);
    expect([order, platform.state]).toEqual([['watchdog', 'probes'], 'on']);
    expect(error).toMatchObject({ message: 'no probes' });
  });

  it('rolls back when a step fails, and keeps the first error', async () => {
    const { platform, request } = setUp();
    const { error } = await withRun(request, [], async (running) => {
      await running.inject(off);
      throw new BlackstartError('UNREACHABLE', 'the cloud does not answer', 'x');
    });
    expect(platform.state).toBe('on');
    expect(error).toMatchObject({ code: 'UNREACHABLE' });
  });

  it('does not overwrite what somebody else set meanwhile: exit 3 with the difference', async () => {
    const { platform, request } = setUp();
    const { error } = await withRun(request, [], async (running) => {
      await running.inject(off);
      platform.state = 'dimmed';
    });
    expect(platform.state).toBe('dimmed');
    expect(error).toMatchObject({ exitCode: 3, message: expect.stringContaining('was on, is now dimmed') });
  });

  it('leaves what it cannot reach to recover, refuses a new run until then, and recover finishes it', async () => {
    const { platform, request } = setUp();
    const { folder, error } = await withRun(request, [], async (running) => {
      await running.inject(off);
      platform.unreachable = true;
    });
    expect(error).toMatchObject({ code: 'ROLLBACK_INCOMPLETE', exitCode: 3 });
    await expect(withRun({ ...request, runId: 'second' }, [], async () => undefined)).rejects.toMatchObject({
      code: 'PLAN_REFUSED',
      hint: expect.stringContaining(`recover ${request.runId}`),
    });
    platform.unreachable = false;
    const options = {
      folder,
      runId: request.runId,
      role: 'recover' as const,
      waitMs: 0,
      signal: request.signal,
      onProgress: () => undefined,
    };
    expect((await recoverRun(request.session, options)).outstanding).toEqual([]);
    expect(platform.state).toBe('on');
    expect(await unfinishedRuns(request.reports)).toEqual([]);
  });

  it('is not stuck while what it broke is still on its way back', () => {
    const [fault] = sessionOf({ state: 'on', unreachable: false }, 'due').faults;
    if (fault === undefined) throw new Error('no fault');
    const slow = { ...fault, name: 'slow', wayBackMs: 6 * 3_600_000 };
    const left = [
      { fault: 'slow', expiresAtMs: 1000 },
      { fault: fault.name, expiresAtMs: 2000 },
    ];
    expect(dueBackMs({ faults: [slow, fault], timeScale: 20 }, left)).toBe(1000 + (6 * 3_600_000) / 20);
  });

  it('lets a change without an expiry stay as long as a run may last: no watchdog takes it for stuck', async () => {
    const { request } = setUp();
    const { folder } = await withRun(request, [], async (running) => {
      await running.arm({ ...off, atMostMs: 0 });
    });
    const armed = (await readJournal(journalFile(folder))).find((event) => event.type === 'undo.armed');
    const runMaxMs = request.session.environment.limits.runMax / request.session.timeScale;
    expect(armed?.type === 'undo.armed' ? armed.expiresAtMs - armed.atMs : 0).toBeGreaterThan(runMaxMs * 0.9);
  });

  it('undoes what was armed ahead after what was broken later', async () => {
    const { request } = setUp();
    const { folder } = await withRun(request, [], async (running) => {
      await running.arm({ ...off, with: { bites: false } });
      await running.inject(off);
    });
    const done = (await readJournal(journalFile(folder))).flatMap((event) =>
      event.type === 'undo.done' ? [event.undoId] : [],
    );
    expect(done).toEqual(['2-switch.off', '1-switch.off']);
  });
});

describe('recovery without a journal', () => {
  it('mends what it finds, and names what it could not look for', async () => {
    const platform: Switch = { state: 'off', unreachable: false };
    const session = sessionOf(platform, 'discovery');
    const [fault] = session.faults;
    if (fault === undefined) throw new Error('no fault');
    const silent = { ...fault, name: 'silent.part', discover: () => Promise.reject(new Error('no answer')) };
    const found = { ...fault, discover: async () => [{ before: 'on' }] };
    const { outcome, unseen } = await recoverByDiscovery(
      { ...session, faults: [silent, found] },
      {
        folder: path.join(home, 'discovery'),
        runId: 'recover-1',
        ofRun: undefined,
        role: 'recover',
        waitMs: 0,
        signal: new AbortController().signal,
        onProgress: () => undefined,
      },
    );
    expect([platform.state, outcome.reverted.length, unseen]).toEqual(['on', 1, ['silent.part: no answer']]);
  });
});
