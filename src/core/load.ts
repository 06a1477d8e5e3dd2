import { open } from 'node:fs/promises';
import {
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type ParsedNode,
  parseDocument,
  visit,
  type YAMLError,
} from 'yaml';
import { z } from 'zod';
import { BlackstartError, messageOf } from './errors.ts';
import { notAmong, quoted, type SchemaProblem, wordProblems } from './schema-words.ts';

/** A line of a file that does not parse or does not fit; `line` and `column` count from 1. */
export interface FileProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

export const problemLine = ({ file, line, column, text }: FileProblem): string => `${file}:${line}:${column}: ${text}`;

const problemsMax = 20;

/** Everything that is wrong with files people wrote, one line each. */
export class BadFileError extends BlackstartError {
  readonly problems: readonly FileProblem[];

  constructor(problems: readonly FileProblem[]) {
    const more = problems.length - problemsMax;
    const lines = problems.slice(0, problemsMax).map(problemLine);
    if (more > 0) lines.push(`and ${more} more`);
    super(
      'BAD_FILE',
      lines.join('\n'),
      problems.length === 1
        ? 'Correct that line; "blackstart schema" prints all that is allowed, for editors too.'
        : 'Correct these lines; "blackstart schema" prints all that is allowed, for editors too.',
    );
    this.problems = problems;
  }
}

/** A parsed file that still knows where each of its values stands. */
export interface SourceDocument {
  readonly file: string;
  /** Plain data; `${env:NAME}` and other references are still text. */
  readonly value: unknown;
  /** The problem at a path of the value. */
  problemAt(problem: SchemaProblem): FileProblem;
}

export type Loaded<T> =
  | { readonly ok: true; readonly value: T; readonly source: SourceDocument }
  | { readonly ok: false; readonly problems: readonly FileProblem[] };

const bytesMax = 1024 * 1024;

const wholeFile = (file: string, text: string): readonly FileProblem[] => [{ file, line: 1, column: 1, text }];

/** Reads a file that a person wrote: at most 1 MiB of UTF-8. Throws BAD_FILE. */
export const readText = async (file: string): Promise<string> => {
  let bytes: Buffer;
  try {
    await using handle = await open(file, 'r');
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(size, bytesMax) + 1), 0, null, 0);
    bytes = buffer.subarray(0, bytesRead);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reasons: Record<string, string> = {
      ENOENT: 'there is no such file',
      EISDIR: 'it is a folder, not a file',
      EACCES: 'it may not be read',
    };
    const reason = reasons[code ?? ''] ?? messageOf(cause);
    throw new BlackstartError(
      'BAD_FILE',
      `${file}: ${reason}`,
      'Check the path; "blackstart list" shows what there is.',
      {
        cause,
      },
    );
  }
  return decodeText(bytes, file);
};

/** The bytes of a file as text, without its byte-order mark. Throws BAD_FILE. */
export const decodeText = (bytes: Uint8Array, file: string): string => {
  if (bytes.length > bytesMax) throw new BadFileError(wholeFile(file, 'the file is larger than 1 MiB'));
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // The one thing a fatal decoder throws for.
    throw new BadFileError(wholeFile(file, 'the file is not UTF-8 text'));
  }
};

const yamlWords: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'a tab is used to indent: use spaces',
  MULTIPLE_DOCS: 'a second document begins here: a file holds one',
  BLOCK_AS_IMPLICIT_KEY: 'a key and value are where a plain value should be: check the indentation, or quote the text',
};

const yamlText = (error: YAMLError): string => yamlWords[error.code] ?? `not YAML: ${messageOf(error)}`;

const find = (root: ParsedNode | null, path: readonly PropertyKey[], at: 'key' | 'value'): number => {
  let node: unknown = root;
  let offset = root?.range[0] ?? 0;
  for (const [depth, step] of path.entries()) {
    if (isSeq(node)) node = node.items[Number(step)];
    else if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(step),
      );
      const key = pair?.key;
      // A block of keys begins on the line below its key: the key is where a reader looks first.
      if (isNode(key)) offset = key.range?.[0] ?? offset;
      node = pair?.value;
      if (at === 'key' && depth === path.length - 1) return offset;
    } else return offset;
    if (isNode(node) && !isMap(node) && !isSeq(node)) offset = node.range?.[0] ?? offset;
    if (isNode(node) && typeof step === 'number') offset = node.range?.[0] ?? offset;
  }
  return offset;
};

/** What strict YAML forbids beyond its grammar: references that expand, own types, and keys that are not words. */
const forbidden = (root: Node | null): readonly { readonly offset: number; readonly text: string }[] => {
  const found: { offset: number; text: string }[] = [];
  const add = (node: Node, text: string): void => {
    found.push({ offset: node.range?.[0] ?? 0, text });
  };
  const plain = (node: Node & { readonly anchor?: string }): void => {
    const { anchor, tag } = node;
    if (anchor !== undefined) add(node, `the anchor &${anchor} is not allowed: write the value where it is used`);
    if (tag !== undefined) add(node, `the tag ${quoted(tag.replace('tag:yaml.org,2002:', '!!'))} is not allowed`);
  };
  visit(root, {
    Scalar: (_, node) => plain(node),
    Seq: (_, node) => plain(node),
    Alias: (_, node) => add(node, `the alias *${node.source} is not allowed: write the value out`),
    Map: (_, map) => {
      plain(map);
      // The parser's own check compares every key with every other.
      const seen = new Set<string>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        if (seen.has(name)) add(key, `the key ${quoted(name)} is there twice`);
        seen.add(name);
      }
    },
    Pair: (_, pair) => {
      if (!isScalar(pair.key) && isNode(pair.key)) add(pair.key, 'a key must be a plain word');
    },
  });
  return found;
};

const tooDeep = 'the file is nested too deeply';

/** YAML text as plain data with positions. Never throws for what the text holds. */
export const parseSource = (text: string, file: string): Loaded<unknown> => {
  const lines = new LineCounter();
  const place = (offset: number, problem: string): FileProblem => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col), text: problem };
  };
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      logLevel: 'error',
      uniqueKeys: false,
    });
    const [first] = document.errors;
    if (first !== undefined) {
      // One slip derails a YAML parser: what it says after the first error misleads more than it helps.
      return { ok: false, problems: [place(first.pos[0], yamlText(first))] };
    }
    const root = document.contents;
    if (root === null) return { ok: false, problems: wholeFile(file, 'the file is empty') };
    const refused = forbidden(root);
    if (refused.length > 0) return { ok: false, problems: refused.map((one) => place(one.offset, one.text)) };
    const value: unknown = document.toJS({ maxAliasCount: 0 });
    const source: SourceDocument = {
      file,
      value,
      problemAt: (problem) => place(find(root, problem.path, problem.at), problem.text),
    };
    return { ok: true, value, source };
  } catch (error) {
    if (error instanceof RangeError) return { ok: false, problems: wholeFile(file, tooDeep) };
    throw error;
  }
};

const describe = (schema: z.core.$ZodType): string | undefined => z.globalRegistry.get(schema)?.description;

/** Fits a parsed source to a schema: the typed value, or every problem with its place. */
export const fitTo = <Schema extends z.ZodType>(source: SourceDocument, schema: Schema): Loaded<z.output<Schema>> => {
  try {
    const parsed = schema.safeParse(source.value);
    if (parsed.success) return { ok: true, value: parsed.data, source };
    const problems = wordProblems(parsed.error, source.value, schema, describe).map(source.problemAt);
    return { ok: false, problems: inOrder(problems) };
  } catch (error) {
    if (error instanceof RangeError) return { ok: false, problems: wholeFile(source.file, tooDeep) };
    throw error;
  }
};

/** In the order of the file, each said once. */
export const inOrder = (problems: readonly FileProblem[]): readonly FileProblem[] => {
  const unique = new Map(problems.map((problem) => [problemLine(problem), problem]));
  return [...unique.values()].sort((left, right) => left.line - right.line || left.column - right.column);
};

/** The `kind` of a document, checked against the kinds that are allowed here. */
export const kindOfSource = <Kind extends string>(source: SourceDocument, kinds: readonly Kind[]): Loaded<Kind> => {
  const { value, file } = source;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return {
      ok: false,
      problems: wholeFile(file, `the file must be a block of keys with "kind: ${kinds.join(' | ')}"`),
    };
  }
  const said = 'kind' in value ? value.kind : undefined;
  const kind = kinds.find((candidate) => candidate === said);
  if (kind !== undefined) return { ok: true, value: kind, source };
  const text = said === undefined ? `"kind" is missing; allowed: ${kinds.join(', ')}` : notAmong(['kind'], said, kinds);
  return { ok: false, problems: [source.problemAt({ path: said === undefined ? [] : ['kind'], at: 'value', text })] };
};
