import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AwsError } from './aws-error.ts';
import { decodeCbor, encodeCbor } from './cbor.ts';
import { isoDurationMs } from './fis-catalogue.ts';
import { filtered, parseForm } from './form.ts';
import { pageOf } from './protocol.ts';
import { parseXml, textOf, xmlText } from './xml.ts';

describe('XML', () => {
  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x20-\x7e]*$/), (text) => {
        const written = xmlText('Root', { Item: [{ Value: text }, { Value: 2 }], Empty: {}, Gone: undefined }, 'urn:x');
        const read = parseXml(written);
        expect(read.children.map(({ name }) => name)).toEqual(['Item', 'Item', 'Empty']);
        expect(read.children.map((item) => textOf(item, 'Value'))).toEqual([text.trim(), '2', undefined]);
      }),
    );
  });

  it('refuses what is not well-formed, and never anything else', () => {
    for (const bad of ['', 'x', '<a>', '<a></b>', '<a/><b/>', '</a>', '<a><b></a></b>', '<a', '<a>'.repeat(100)]) {
      expect(() => parseXml(bad), bad).toThrow(AwsError);
    }
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('<', '>', '/', 'a', ' ', '&', ';', '!', '-', '?', '"') }),
        (text) => {
          try {
            parseXml(text);
          } catch (error) {
            expect(error).toBeInstanceOf(AwsError);
          }
        },
      ),
    );
  });
});

describe('forms of the query protocol', () => {
  it('are read member by member, in order of their numbers', () => {
    const form = parseForm(
      'Action=X&Version=1&Filter.2.Name=b&Filter.10.Name=c&Filter.1.Name=a&Filter.1.Value.1=x&Filter.1.Value.2=y%26z&Flag=true',
    );
    const filters = form.forms('Filter');
    expect(filters.map((filter) => filter.required('Name'))).toEqual(['a', 'b', 'c']);
    expect(filters[0]?.list('Value')).toEqual(['x', 'y&z']);
    expect(form.flag('Flag')).toBe(true);
    expect(() => form.refuseUnknown()).not.toThrow();
    expect(() => form.required('Missing')).toThrow(/must contain the parameter Missing/);
  });

  it('refuse members nobody asked for', () => {
    const form = parseForm('Action=X&VpcId=1&VpcID=2');
    form.text('VpcId');
    expect(() => form.refuseUnknown()).toThrow(/VpcID is not recognized/);
  });

  it('filter with wildcards that match nothing but what they say', () => {
    const names = ['us-west-2a', 'us-west-2b', 'us.west'];
    const find = (...values: string[]) =>
      filtered(names, [{ name: 'zone', values }], (item, name) => (name === 'zone' ? [item] : undefined));
    expect(find('us-west-*')).toEqual(['us-west-2a', 'us-west-2b']);
    expect(find('us-west-2?', 'us.west')).toEqual(names);
    expect(find('us.west-2a')).toEqual([]);
    expect(() => filtered(names, [{ name: 'x', values: ['y'] }], () => undefined)).toThrow(/'x' is invalid/);
  });
});

describe('CBOR', () => {
  it('reads back what it wrote', () => {
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.string(),
        fc.boolean(),
        fc.constant(null),
        fc.maxSafeInteger(),
        fc.double({ noNaN: true }).filter((number) => !Object.is(number, -0)),
        fc.array(tie('value'), { maxLength: 5 }),
        fc
          .dictionary(fc.string(), tie('value'), { maxKeys: 5, noNullPrototype: true })
          .filter((record) => !Object.hasOwn(record, '__proto__')),
      ),
    })).value;
    fc.assert(
      fc.property(value, (one) => {
        expect(decodeCbor(encodeCbor(one))).toEqual(one);
      }),
    );
  });

  it('reads dates, lengths left open, and half floats', () => {
    expect(decodeCbor(encodeCbor({ at: new Date(1_500) }))).toEqual({ at: new Date(1_500) });
    expect(decodeCbor(Buffer.from('bf61610161629f0203ffff', 'hex'))).toEqual({ a: 1, b: [2, 3] });
    expect(decodeCbor(Buffer.from('9f0102ff', 'hex'))).toEqual([1, 2]);
    expect(decodeCbor(Buffer.from('f93e00', 'hex'))).toBe(1.5);
  });

  it('throws on anything malformed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          decodeCbor(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }),
    );
    for (const bad of ['', '5a', '6568656c6c', '81'.repeat(50), 'ff', 'c1ff', 'bf6161ff', '0101']) {
      expect(() => decodeCbor(Buffer.from(bad, 'hex')), bad).toThrow();
    }
  });
});

describe('ISO 8601 durations', () => {
  it.each([
    ['PT1M', 60_000],
    ['PT1H30M', 5_400_000],
    ['P1D', 86_400_000],
    ['P1DT12H', 129_600_000],
    ['PT90S', 90_000],
    ['PT', undefined],
    ['P', undefined],
    ['1M', undefined],
    ['PT1M ', undefined],
    ['P1M', undefined],
  ])('%s', (text, ms) => expect(isoDurationMs(text)).toBe(ms));
});

describe('pages', () => {
  it('cover a list without gap or overlap', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.integer({ min: 1, max: 7 }), (items, size) => {
        const seen: number[] = [];
        let token: string | undefined;
        do {
          const page = pageOf(items, size, token);
          seen.push(...(page?.items ?? []));
          token = page?.next;
        } while (token !== undefined);
        expect(seen).toEqual(items);
      }),
    );
    expect(pageOf([1], 1, 'nonsense!')).toBeUndefined();
  });
});
