import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './cli.ts';
import { systemClock } from './core/clock.ts';
import { BlackstartError, exitCodes } from './core/errors.ts';
import type { Terminal } from './core/terminal.ts';
import { itWith } from './testing/needs.ts';

const launcher = path.join(import.meta.dirname, '..', 'bin', 'blackstart.mjs');

const run = async (...argv: readonly string[]): Promise<{ code: number; out: string; notes: string }> => {
  const out: string[] = [];
  const notes: string[] = [];
  const terminal: Terminal = {
    out: (text) => void out.push(text),
    note: (text) => void notes.push(text),
    isInteractive: false,
    hasColor: false,
    columns: 100,
  };
  const cli = {
    terminal,
    clock: systemClock,
    signal: new AbortController().signal,
    launcher,
    undoing: () => undefined,
  };
  const code = await runCli(argv, cli, '1.2.3');
  return { code, out: out.join('\n'), notes: notes.join('\n') };
};

const commands = [
  'demo',
  'lab',
  'lab up',
  'lab down',
  'lab status',
  'lab logs',
  'lab env',
  'list',
  'validate',
  'plan',
  'run',
  'drill',
  'check',
  'observe',
  'recover',
  'abort',
  'status',
  'report',
  'schema',
];

describe('help', () => {
  it.each(commands)('%s has examples', async (command) => {
    const { code, out } = await run(...command.split(' '), '--help');
    expect(code).toBe(exitCodes.pass);
    expect(out).toContain('Examples:\n  $ ');
    expect(out).toContain(`blackstart ${command}`);
  });

  it('lists every command and the exit codes, and not the watchdog', async () => {
    const { code, out } = await run('--help');
    expect(code).toBe(exitCodes.pass);
    for (const command of commands) expect(out).toContain(command.split(' ')[0]);
    expect(out).toContain('130  aborted');
    expect(out).not.toContain('watchdog');
  });

  it('prints the version', async () => expect(await run('--version')).toMatchObject({ code: 0, out: '1.2.3' }));
});

describe('bad usage', () => {
  it.each([
    [['rn', 'kill-llm-pod'], /unknown command 'rn'\n\(Did you mean run\?\)/],
    [['run', 'kill-llm-pod', '--sed', '1'], /unknown option '--sed'\n\(Did you mean --seed\?\)/],
    [['lab', 'upp'], /unknown command 'upp'\n\(Did you mean up\?\)/],
    [['run'], /missing required argument 'experiment'/],
    [['run', 'kill-llm-pd'], /there is no experiment "kill-llm-pd"; did you mean "kill-llm-pod"\?/],
    [['run', 'region-failover'], /there is no experiment "region-failover"/],
    [['run', 'experiments/drills/region-failover.yaml'], /is a drill\nRun it with "blackstart drill"/],
    [['run', 'kill-llm-pod', '--env', 'labb'], /there is no environment "labb"; did you mean "lab"\?/],
    [['run', 'kill-llm-pod', '--seed', 'x'], /Use a whole number/],
    [['list', '--format', 'xml'], /Allowed choices are text, json/],
    [['list', 'fault'], /Allowed choices are experiments/],
    [['drill', 'region-failover'], /nobody is at the keyboard/],
    [['observe', 'localhost'], /localhost is not an http or https URL/],
    [['observe', 'http://127.0.0.1:1/', '--every', '3'], /--every does not allow "3"/],
    [['validate', 'no-such-file.yaml'], /no-such-file\.yaml: there is no such file/],
    [['report', 'no-such-run'], /there is no run "no-such-run"/],
    [['lab', 'up', '--time-scale', '0'], /Use a number above 0/],
  ] as const)('%j says what is wrong and exits 64', async (argv, message) => {
    const { code, out, notes } = await run(...argv);
    expect(notes).toMatch(message);
    expect(notes).not.toMatch(/\n\s+at /);
    expect(out).toBe('');
    expect(code).toBe(exitCodes.usage);
  });
});

describe('what is thrown', () => {
  const throwing = (error: unknown): Parameters<typeof runCli>[1] => ({
    terminal: {
      out: () => {
        throw error;
      },
      note: (text) => void notes.push(text),
      isInteractive: false,
      hasColor: false,
      columns: 80,
    },
    clock: systemClock,
    signal: new AbortController().signal,
    launcher,
    undoing: () => undefined,
  });
  const notes: string[] = [];

  it('is a bug with its stack and exit code 70 when nobody expected it', async () => {
    notes.length = 0;
    expect(await runCli(['schema'], throwing(new TypeError('x is not a function')), '1')).toBe(exitCodes.bug);
    expect(notes.join('\n')).toMatch(/this is a bug[\s\S]*TypeError: x is not a function\n\s+at /);
  });

  it('is two lines and its own exit code when it is known', async () => {
    notes.length = 0;
    const known = new BlackstartError('ROLLBACK_INCOMPLETE', 'zone/a is not back', 'Run "blackstart recover".');
    expect(await runCli(['schema'], throwing(known), '1')).toBe(exitCodes.rollbackIncomplete);
    expect(notes).toEqual(['blackstart: zone/a is not back', 'Run "blackstart recover".']);
  });
});

describe('output for programs', () => {
  it.each([['list'], ['list', 'targets'], ['list', 'runs'], ['validate'], ['schema']])(
    '%s is JSON',
    async (...argv) => {
      const { code, out } = await run(...argv, ...(argv[0] === 'schema' ? [] : ['--format', 'json']));
      expect(code).toBe(exitCodes.pass);
      expect(() => JSON.parse(out)).not.toThrow();
    },
  );
});

describe('the process', () => {
  let url = '';
  const server = createServer((_request, response) => response.end('ok'));
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  afterAll(() => void server.close());

  it('survives a reader that goes away', async () => {
    const { stdout } = await promisify(execFile)('sh', [
      '-c',
      `"$0" "$1" schema | head -n 1`,
      process.execPath,
      launcher,
    ]);
    expect(stdout).toBe('{\n');
  });

  const script = ['/usr/bin/script', '/bin/script'].find((file) => existsSync(file));
  const isLinux = process.platform === 'linux';

  itWith('script', script !== undefined && isLinux)('ends in good order when its terminal goes away', async () => {
    const reports = mkdtempSync(path.join(os.tmpdir(), 'blackstart-hangup-'));
    const journal = (): string => {
      const [run] = readdirSync(reports);
      const file = path.join(reports, run ?? '', 'journal.jsonl');
      return run !== undefined && existsSync(file) ? readFileSync(file, 'utf8') : '';
    };
    const until = async (pattern: RegExp): Promise<void> => {
      for (let look = 0; look < 400 && !pattern.test(journal()); look += 1) await systemClock.sleep(50);
      expect(journal()).toMatch(pattern);
    };
    const command = `"${process.execPath}" "${launcher}" observe ${url} --for 60s --every 50ms`;
    const terminal = spawn(script ?? '', ['-qc', command, '/dev/null'], {
      // As a person has it, not as CI does: what is drawn must be written to the terminal that goes away.
      env: { ...process.env, CI: '', TERM: 'xterm', BLACKSTART_REPORTS: reports },
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    await until(/"phase.started"/);
    await systemClock.sleep(500);
    terminal.kill('SIGKILL');
    await until(/"run.ended"/);
    rmSync(reports, { recursive: true });
  });

  it('ends an observation on Ctrl-C with what it saw, exit 130, and nothing but JSON on standard output', async () => {
    const child = spawn(
      process.execPath,
      [launcher, 'observe', url, '--for', '60s', '--every', '50ms', '--format', 'json'],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {
          ...process.env,
          BLACKSTART_REPORTS: path.join(process.env['TMPDIR'] ?? '/tmp', `blackstart-cli-${process.pid}`),
        },
      },
    );
    let out = '';
    let notes = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      out += piece;
    });
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      notes += piece;
      if (piece.includes('every sample goes to')) systemClock.sleep(3000).then(() => child.kill('SIGINT'));
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(notes).toContain('SIGINT: stopping');
    expect(JSON.parse(out)).toMatchObject({ schemaVersion: 3, outages: [] });
    expect(code).toBe(exitCodes.aborted);
  });
});
