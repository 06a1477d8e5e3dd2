import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BadFileError, decodeText, kindOfSource, parseSource } from '../core/load.ts';
import { kinds, type Platform, parseEnvironment, parseScenario, parseTargets } from './documents.ts';

const root = path.join(import.meta.dirname, '..', '..', 'experiments');
const fixtures = path.join(import.meta.dirname, 'fixtures');

const yamlIn = (folder: string): readonly Buffer[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => readFileSync(path.join(folder, name)));

const good = [root, path.join(root, 'drills'), path.join(root, 'environments'), fixtures].flatMap(yamlIn);

const platform: Platform = {
  environment: parseEnvironment(readFileSync(path.join(fixtures, 'environment.yaml'), 'utf8'), 'environment.yaml'),
  targets: ['az.disruption', 'route.west'].map((id) => ({
    id,
    promise: id,
    text: id,
    source: 'here',
    measure: 'not-yet',
    with: {},
  })),
  file: 'environment.yaml',
};

/** What `validate` does with the bytes of a file. */
const read = (bytes: Uint8Array): void => {
  const text = decodeText(bytes, 'file.yaml');
  const parsed = parseSource(text, 'file.yaml');
  if (!parsed.ok) throw new BadFileError(parsed.problems);
  const kind = kindOfSource(parsed.source, kinds);
  if (!kind.ok) throw new BadFileError(kind.problems);
  if (kind.value === 'Environment') parseEnvironment(text, 'file.yaml');
  else if (kind.value === 'Targets') parseTargets(text, 'file.yaml');
  else parseScenario(text, 'file.yaml', platform);
};

const oneLine = /^file\.yaml:\d+:\d+: \S.*$/;

/** Good, or a known error whose every line has a place. */
const expectKnown = (bytes: Uint8Array): void => {
  try {
    read(bytes);
  } catch (error) {
    if (!(error instanceof BadFileError)) throw error;
    for (const line of error.message.split('\n')) {
      if (!/^and \d+ more$/.test(line)) expect(line).toMatch(oneLine);
      expect(line.length).toBeLessThan(2000);
    }
  }
};

type Mutation = (bytes: Buffer) => Buffer;

const replaceAt = (bytes: Buffer, at: number, length: number, by: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + length)]);

const place = fc.double({ min: 0, max: 0.999_999, noNaN: true });
const at = (bytes: Buffer, share: number): number => Math.floor(share * bytes.length);

const lines = (bytes: Buffer): string[] => bytes.toString('latin1').split('\n');
const joined = (all: readonly string[]): Buffer => Buffer.from(all.join('\n'), 'latin1');

const snippets = [
  '\t',
  '"',
  "'",
  ': ',
  '- ',
  '{',
  '}',
  '[',
  ']',
  '&a ',
  '*a',
  '!!int ',
  '? ',
  '|',
  '>',
  '---\n',
  '#',
  '\u0000',
  '\r',
  '~',
  '<<: ',
  '1e999',
  '.nan',
  '__proto__: 1\n',
  '[[[[[[[[',
  '%YAML 3\n',
  '\ufeff',
  '🙂',
  '0x1F',
  '-0',
  'null',
];

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ share: place, bit: fc.integer({ min: 0, max: 7 }) }).map(
    ({ share, bit }): Mutation =>
      (bytes) => {
        const flipped = Buffer.from(bytes);
        const index = at(bytes, share);
        flipped[index] = (flipped[index] ?? 0) ^ (1 << bit);
        return flipped;
      },
  ),
  fc.record({ share: place, length: fc.integer({ min: 1, max: 60 }) }).map(
    ({ share, length }): Mutation =>
      (bytes) =>
        replaceAt(bytes, at(bytes, share), length, Buffer.alloc(0)),
  ),
  fc.record({ share: place, text: fc.constantFrom(...snippets) }).map(
    ({ share, text }): Mutation =>
      (bytes) =>
        replaceAt(bytes, at(bytes, share), 0, Buffer.from(text)),
  ),
  fc.record({ one: place, other: place }).map(
    ({ one, other }): Mutation =>
      (bytes) => {
        const all = lines(bytes);
        const [left, right] = [Math.floor(one * all.length), Math.floor(other * all.length)];
        [all[left], all[right]] = [all[right] ?? '', all[left] ?? ''];
        return joined(all);
      },
  ),
  fc.record({ share: place, indent: fc.integer({ min: -4, max: 4 }) }).map(
    ({ share, indent }): Mutation =>
      (bytes) => {
        const all = lines(bytes);
        const index = Math.floor(share * all.length);
        const line = all[index] ?? '';
        all[index] = indent < 0 ? line.slice(-indent) : ' '.repeat(indent) + line;
        return joined(all);
      },
  ),
  // A slip in a key: a letter left out, doubled, or swapped with the next.
  fc.record({ share: place, how: fc.constantFrom('drop', 'double', 'swap') }).map(
    ({ share, how }): Mutation =>
      (bytes) => {
        const text = bytes.toString('latin1');
        const keys = [...text.matchAll(/([A-Za-z]{2,}):/g)];
        const key = keys[Math.floor(share * keys.length)];
        if (key === undefined) return bytes;
        const [first = '', second = ''] = key[0];
        const by = { drop: second, double: first + first + second, swap: second + first }[how];
        return Buffer.from(text.slice(0, key.index) + by + text.slice(key.index + 2), 'latin1');
      },
  ),
);

const mutatedFiles = 10_000;

describe('mutated files', () => {
  it(`${mutatedFiles} of them are good or a known error, never a stack trace`, { timeout: 120_000 }, () => {
    const cases = fc.tuple(fc.constantFrom(...good), fc.array(mutation, { minLength: 1, maxLength: 4 }));
    fc.assert(
      fc.property(cases, ([bytes, mutations]) => {
        expectKnown(mutations.reduce((changed, mutate) => mutate(changed), bytes));
      }),
      { numRuns: mutatedFiles },
    );
  });
});

describe('files made to hurt', () => {
  const billionLaughs = `a: &a [x,x]\n${Array.from({ length: 40 }, (_, n) => `k${n}: &n${n} [*a,*a]`).join('\n')}\n`;
  const cases: readonly (readonly [string, Buffer])[] = [
    ['empty', Buffer.alloc(0)],
    ['only a comment', Buffer.from('# nothing\n')],
    ['only null', Buffer.from('null\n')],
    ['a list', Buffer.from('- 1\n- 2\n')],
    ['a number', Buffer.from('42')],
    ['not UTF-8', Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe])],
    ['aliases that expand', Buffer.from(billionLaughs)],
    ['lists nested 100,000 deep', Buffer.from('['.repeat(100_000))],
    [
      'blocks nested 2,000 deep',
      Buffer.from(Array.from({ length: 2000 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n')),
    ],
    ['larger than 1 MiB', Buffer.alloc(1024 * 1024 + 1, 0x61)],
    ['100,000 keys', Buffer.from(Array.from({ length: 100_000 }, (_, key) => `k${key}: 1`).join('\n'))],
    ['one very long line', Buffer.from(`kind: ${'x'.repeat(900_000)}`)],
    ['a key that is a prototype', Buffer.from('kind: Experiment\n__proto__: { polluted: true }\nconstructor: 1\n')],
  ];
  it.each(cases)('%s: a known error, soon', { timeout: 10_000 }, (_, bytes) => {
    expect(() => read(bytes)).toThrow(BadFileError);
    expectKnown(bytes);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('a byte-order mark and Windows line ends change nothing', () => {
    for (const bytes of good) {
      const text = bytes.toString('utf8').replaceAll('\n', '\r\n');
      expect(() => read(Buffer.from(`\ufeff${text}`))).not.toThrow(/BOM|\\r/);
      expectKnown(Buffer.from(`\ufeff${text}`));
    }
  });
});
