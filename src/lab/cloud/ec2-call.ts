import { AwsError } from './aws-error.ts';
import { type Filter, type Form, filtered } from './form.ts';
import { pageOf } from './protocol.ts';
import type { RegionWorld, Tags, World } from './world.ts';
import type { XmlValue } from './xml.ts';

export interface Ec2Call {
  readonly form: Form;
  readonly region: RegionWorld;
  readonly world: World;
}

type Result = { readonly [name: string]: XmlValue };

/** Reads and checks a call; the function it returns does the work, so that `DryRun` can stop in between. */
export type Ec2Operation = (call: Ec2Call) => () => Result | Promise<Result>;

export const filtersOf = (form: Form): readonly Filter[] =>
  form.forms('Filter').map((filter) => ({ name: filter.required('Name'), values: filter.list('Value') }));

export const tagSet = (tags: Tags): XmlValue => ({
  item: Object.entries(tags).map(([key, value]) => ({ key, value })),
});

/** Values of `tag:Key` and `tag-key`; `undefined` for any other filter. */
export const tagValues = (tags: Tags, filter: string): readonly string[] | undefined => {
  if (filter === 'tag-key') return Object.keys(tags);
  if (!filter.startsWith('tag:')) return undefined;
  const value = tags[filter.slice('tag:'.length)];
  return value === undefined ? [] : [value];
};

const keyLengthMax = 128;
const valueLengthMax = 256;

export const checkedTags = (tags: readonly { readonly key: string; readonly value: string }[]): Tags => {
  for (const { key, value } of tags) {
    if (key === '' || key.length > keyLengthMax || value.length > valueLengthMax) {
      throw new AwsError(400, 'InvalidParameterValue', `Tag ${key.slice(0, keyLengthMax)} is not valid`);
    }
    if (key.startsWith('aws:')) {
      throw new AwsError(400, 'InvalidParameterValue', 'Tag keys starting with aws: are reserved for internal use');
    }
  }
  return Object.fromEntries(tags.map(({ key, value }) => [key, value]));
};

/** Tags given on creation, for the type that is created. */
export const specifiedTags = (form: Form, resourceType: string): Tags =>
  checkedTags(
    form.forms('TagSpecification').flatMap((specification) => {
      const type = specification.required('ResourceType');
      if (type !== resourceType) {
        throw new AwsError(400, 'InvalidParameterValue', `'${type}' is not a valid taggable resource type here.`);
      }
      return specification.forms('Tag').map((tag) => ({ key: tag.required('Key'), value: tag.text('Value') ?? '' }));
    }),
  );

interface Described<T> {
  /** Parameter that lists ids, and the error code for one that does not exist. */
  readonly ids: { readonly parameter: string; readonly notFound: string };
  readonly idOf: (item: T) => string;
  readonly valuesOf: (item: T, filter: string) => readonly string[] | undefined;
}

/** What every Describe call does: ids, filters, pages. */
export const described = <T>(
  { form }: Ec2Call,
  items: readonly T[],
  { ids, idOf, valuesOf }: Described<T>,
): { readonly items: readonly T[]; readonly next: string | undefined } => {
  const wanted = form.list(ids.parameter);
  for (const id of wanted) {
    if (!items.some((item) => idOf(item) === id)) {
      throw new AwsError(400, ids.notFound, `The ID '${id}' does not exist`);
    }
  }
  const chosen = wanted.length === 0 ? items : items.filter((item) => wanted.includes(idOf(item)));
  const found = filtered(chosen, filtersOf(form), valuesOf);
  const max = form.integer('MaxResults') ?? 1000;
  if (max < 5 || max > 1000) {
    throw new AwsError(400, 'InvalidParameterValue', `Value (${max}) for parameter maxResults is invalid.`);
  }
  const page = pageOf(found, max, form.text('NextToken'));
  if (page === undefined) throw new AwsError(400, 'InvalidNextToken', 'The NextToken is not valid');
  return page;
};
