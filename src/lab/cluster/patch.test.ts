import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApiError } from './api-error.ts';
import type { Json } from './objects.ts';
import { jsonPatch, mergePatch, strategicMerge } from './patch.ts';

describe('merge patch', () => {
  it.each<[Json, Json, Json]>([
    [{ a: 1 }, { b: 2 }, { a: 1, b: 2 }],
    [{ a: 1 }, { a: null }, {}],
    [{ a: { b: 1, c: 2 } }, { a: { b: null, d: 3 } }, { a: { c: 2, d: 3 } }],
    [{ a: [1, 2] }, { a: [3] }, { a: [3] }],
    [{ a: 'text' }, { a: { b: null } }, { a: {} }],
  ])('%j + %j = %j', (target, patch, expected) => {
    expect(mergePatch(target, patch)).toEqual(expected);
  });
});

describe('strategic merge', () => {
  it.each<[string, Json, Json, Json]>([
    [
      'joins containers by name',
      { containers: [{ name: 'a', image: '1' }, { name: 'b' }] },
      { containers: [{ name: 'a', image: '2' }] },
      { containers: [{ name: 'a', image: '2' }, { name: 'b' }] },
    ],
    [
      'deletes a list entry',
      { env: [{ name: 'a' }, { name: 'b' }] },
      { env: [{ name: 'a', $patch: 'delete' }] },
      { env: [{ name: 'b' }] },
    ],
    ['replaces other lists', { args: ['a', 'b'] }, { args: ['c'] }, { args: ['c'] }],
    ['replaces a map', { labels: { a: '1' } }, { labels: { $patch: 'replace', b: '2' } }, { labels: { b: '2' } }],
    [
      'leaves values out of lists',
      { finalizers: ['a', 'b'] },
      { '$deleteFromPrimitiveList/finalizers': ['a'] },
      { finalizers: ['b'] },
    ],
    ['removes taints by key', { taints: [{ key: 'x' }] }, { taints: [{ key: 'x', $patch: 'delete' }] }, { taints: [] }],
  ])('%s', (_, target, patch, expected) => {
    expect(strategicMerge(target, patch)).toEqual(expected);
  });

  it('is merge patch where there are no lists', () => {
    const maps = fc.letrec<{ value: Json }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom<Json>(null, true, 1, 'text'),
        fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('value')),
      ),
    })).value;
    const map = fc.dictionary(fc.constantFrom('a', 'b', 'c'), maps);
    fc.assert(
      fc.property(map, map, (target, patch) => {
        expect(strategicMerge(target, patch)).toEqual(mergePatch(target, patch));
      }),
    );
  });
});

describe('JSON patch', () => {
  it.each<[Json, Json, Json]>([
    [{ a: 1 }, [{ op: 'replace', path: '/a', value: 2 }], { a: 2 }],
    [{ a: { b: 1 } }, [{ op: 'add', path: '/a/c', value: 2 }], { a: { b: 1, c: 2 } }],
    [{ a: [1, 3] }, [{ op: 'add', path: '/a/1', value: 2 }], { a: [1, 2, 3] }],
    [{ a: [1] }, [{ op: 'add', path: '/a/-', value: 2 }], { a: [1, 2] }],
    [{ a: [1, 2] }, [{ op: 'remove', path: '/a/0' }], { a: [2] }],
    [{ 'x/y': 1 }, [{ op: 'remove', path: '/x~1y' }], {}],
    [{ a: 1 }, [{ op: 'move', from: '/a', path: '/b' }], { b: 1 }],
    [{ a: 1 }, [{ op: 'copy', from: '/a', path: '/b' }], { a: 1, b: 1 }],
    [{ a: 1 }, [{ op: 'test', path: '/a', value: 1 }], { a: 1 }],
  ])('%j with %j is %j', (document, operations, expected) => {
    expect(jsonPatch(document, operations)).toEqual(expected);
  });

  it.each<[string, Json, number]>([
    ['a failing test', [{ op: 'test', path: '/a', value: 2 }], 422],
    ['a path that leads nowhere', [{ op: 'replace', path: '/b/c', value: 2 }], 422],
    ['removing what is not there', [{ op: 'remove', path: '/b' }], 422],
    ['an unknown operation', [{ op: 'explode', path: '/a' }], 400],
    ['a missing value', [{ op: 'add', path: '/a' }], 400],
    ['a body that is no list', { op: 'add' }, 400],
  ])('refuses %s', (_, operations, code) => {
    const refusal = (() => {
      try {
        return jsonPatch({ a: 1 }, operations);
      } catch (error) {
        return error;
      }
    })();
    expect(refusal).toBeInstanceOf(ApiError);
    expect(refusal).toMatchObject({ code });
  });
});
