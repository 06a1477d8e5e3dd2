#!/usr/bin/env node
// Plain JavaScript, so that any Node starts it: below Node 24 it starts itself again under the one npm brought.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { constants } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const nodeMajorRequired = 24;
const major = Number(process.versions.node.split('.')[0]);

if (major >= nodeMajorRequired) {
  module.enableCompileCache(path.join(root, '.cache', 'compile'));
  const built = path.join(root, 'dist', 'cli.js');
  const { main } = await import(existsSync(built) ? built : path.join(root, 'src', 'cli.ts'));
  await main(process.argv);
} else {
  const candidates = ['node', 'node.exe'].map((name) => path.join(root, 'node_modules', '.bin', name));
  const newer = process.env.BLACKSTART_RELAUNCHED ? undefined : candidates.find((file) => existsSync(file));
  if (newer === undefined) {
    process.stderr.write(
      `blackstart: Node ${nodeMajorRequired} or newer is needed, this is ${process.versions.node}\n` +
        'Run "npm ci" in the checkout: it brings the right Node for it.\n',
    );
    process.exitCode = 78;
  } else {
    const child = spawn(newer, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
      stdio: 'inherit',
      env: { ...process.env, BLACKSTART_RELAUNCHED: '1' },
    });
    // The terminal sends Ctrl-C to the whole group: forwarding it too would make one press count as two.
    process.on('SIGINT', () => {});
    for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
    child.on('exit', (code, signal) => {
      process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0);
    });
  }
}
