import { spawn } from 'node:child_process';
import path from 'node:path';

/*
 * What takes too long for the tests: `npm run bench` runs all of it, `npm run bench -- command-line` one. Exits 1 when a
 * bound is missed.
 */
const benches = ['command-line', 'analysis', 'instrument', 'truth', 'survival', 'replication-loss'] as const;

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !benches.some((bench) => bench === name));
if (unknown.length > 0) {
  process.stderr.write(`there is no bench ${unknown.join(', ')}; there are: ${benches.join(', ')}\n`);
  process.exitCode = 64;
} else {
  for (const name of wanted.length > 0 ? wanted : benches) {
    process.stdout.write(`== ${name}\n`);
    const child = spawn(process.execPath, [path.join(import.meta.dirname, `${name}.ts`)], { stdio: 'inherit' });
    const code = await new Promise((resolve) => child.on('close', resolve));
    if (code !== 0) process.exitCode = 1;
  }
}
