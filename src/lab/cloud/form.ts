import { AwsError } from './aws-error.ts';

/** The parameters of a query-protocol call (`Filter.1.Value.2=x`), read member by member. */
export interface Form {
  text(name: string): string | undefined;
  /** Throws MissingParameter. */
  required(name: string): string;
  flag(name: string): boolean | undefined;
  integer(name: string): number | undefined;
  /** Values of `name.1`, `name.2`… */
  list(name: string): readonly string[];
  /** Structures of `name.1.*`, `name.2.*`… */
  forms(name: string): readonly Form[];
  /** Throws UnknownParameter for whatever nobody asked for: a typo in a call is an error, not a default. */
  refuseUnknown(): void;
}

const numbersUnder = (entries: ReadonlyMap<string, string>, prefix: string): readonly number[] => {
  const numbers = new Set<number>();
  for (const key of entries.keys()) {
    if (!key.startsWith(prefix)) continue;
    const [first = ''] = key.slice(prefix.length).split('.');
    if (/^[1-9]\d{0,4}$/.test(first)) numbers.add(Number(first));
  }
  return [...numbers].sort((left, right) => left - right);
};

const formOf = (entries: ReadonlyMap<string, string>, used: Set<string>, prefix: string): Form => {
  const text = (name: string): string | undefined => {
    used.add(prefix + name);
    return entries.get(prefix + name);
  };
  const invalid = (name: string, value: string): AwsError =>
    new AwsError(400, 'InvalidParameterValue', `Value (${value}) for parameter ${name} is invalid.`);
  return {
    text,
    required(name) {
      const value = text(name);
      if (value !== undefined && value !== '') return value;
      throw new AwsError(400, 'MissingParameter', `The request must contain the parameter ${name}`);
    },
    flag(name) {
      const value = text(name);
      if (value === undefined) return undefined;
      if (value !== 'true' && value !== 'false') throw invalid(name, value);
      return value === 'true';
    },
    integer(name) {
      const value = text(name);
      if (value === undefined) return undefined;
      if (!/^-?\d{1,9}$/.test(value)) throw invalid(name, value);
      return Number(value);
    },
    list: (name) => numbersUnder(entries, `${prefix}${name}.`).map((number) => text(`${name}.${number}`) ?? ''),
    forms: (name) =>
      numbersUnder(entries, `${prefix}${name}.`).map((number) => formOf(entries, used, `${prefix}${name}.${number}.`)),
    refuseUnknown() {
      for (const key of entries.keys()) {
        if (!used.has(key)) {
          throw new AwsError(400, 'UnknownParameter', `The parameter ${key} is not recognized`);
        }
      }
    },
  };
};

/** Reads a form body or query string; `Action` and `Version` are the protocol's own. */
export const parseForm = (source: string): Form =>
  formOf(new Map(new URLSearchParams(source)), new Set(['Action', 'Version']), '');

export interface Filter {
  readonly name: string;
  readonly values: readonly string[];
}

const wildcard = (pattern: string): RegExp =>
  new RegExp(
    `^${pattern
      .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
  );

/**
 * Filters are ANDed, their values ORed, `*` and `?` are wildcards. `valuesOf` gives what an item has under a filter's
 * name, `undefined` when there is no such filter.
 */
export const filtered = <T>(
  items: readonly T[],
  filters: readonly Filter[],
  valuesOf: (item: T, name: string) => readonly string[] | undefined,
): readonly T[] =>
  items.filter((item) =>
    filters.every(({ name, values }) => {
      const own = valuesOf(item, name);
      if (own === undefined) throw new AwsError(400, 'InvalidParameterValue', `The filter '${name}' is invalid`);
      return values.some((value) => own.some((one) => wildcard(value).test(one)));
    }),
  );
