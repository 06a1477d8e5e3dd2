import { readFileSync } from 'node:fs';
import path from 'node:path';

/** The version in package.json, wherever this runs from. */
export const packageVersion = (): string => {
  const file = path.join(import.meta.dirname, '..', '..', 'package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  return version;
};

/** What made a run, for its journal. */
export const versions = (): Readonly<Record<string, string>> => ({
  blackstart: packageVersion(),
  node: process.versions.node,
  platform: `${process.platform}-${process.arch}`,
});
