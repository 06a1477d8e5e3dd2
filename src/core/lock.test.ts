import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from './clock.ts';
import { acquireLock, currentHolder, type Holder, tryLock } from './lock.ts';

const signal = new AbortController().signal;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'blackstart-lock-'));
  process.env['XDG_STATE_HOME'] = folder;
});
afterAll(() => {
  delete process.env['XDG_STATE_HOME'];
  rmSync(folder, { recursive: true, force: true });
});

const holder = (runId: string, role: Holder['role'] = 'run'): Holder => ({
  role,
  pid: process.pid,
  runId,
  folder: '/x',
  since: 'noon',
});

/** Another process that takes the lock and keeps it until it is killed. */
const otherProcess = async (identity: string, role: Holder['role']) => {
  const script = path.join(folder, `${identity}.ts`);
  const module = new URL('./lock.ts', import.meta.url).href;
  writeFileSync(
    script,
    `import { tryLock } from ${JSON.stringify(module)};
     const holder = { ...${JSON.stringify(holder('other', role))}, pid: process.pid };
     const lock = tryLock(${JSON.stringify(identity)}, holder);
     console.log(lock === undefined ? 'refused' : 'held');
     setInterval(() => lock, 1000);`,
  );
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said] = await once(child.stdout, 'data');
  return { child, said: String(said).trim() };
};

describe('the lock of an environment', () => {
  it('is exclusive between processes, says who holds it, and falls free on kill -9', async () => {
    const { child, said } = await otherProcess('kill', 'run');
    expect(said).toBe('held');
    expect(tryLock('kill', holder('mine'))).toBeUndefined();
    expect(currentHolder('kill')).toMatchObject({ runId: 'other', pid: child.pid });
    await expect(acquireLock(systemClock, 'kill', holder('mine'), 5000, signal)).rejects.toMatchObject({
      code: 'LOCKED',
      message: expect.stringContaining(`run other (pid ${child.pid})`),
    });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const lock = tryLock('kill', holder('mine'));
    expect(lock).toBeDefined();
    lock?.release();
    expect(currentHolder('kill')).toBeUndefined();
  });

  it('waits for a watchdog to finish, where it would refuse at once for a run', async () => {
    const { child } = await otherProcess('wait', 'watchdog');
    const waiting = acquireLock(systemClock, 'wait', holder('mine', 'recover'), 10_000, signal);
    setTimeout(() => child.kill('SIGKILL'), 300);
    (await waiting).release();
  });

  it('knows nobody where nobody ever worked', () => {
    expect(currentHolder('never')).toBeUndefined();
  });
});
