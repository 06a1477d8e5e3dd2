import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { namespaces } from './resources.ts';
import { createStore } from './store.ts';

const draft = (name: string, value = '') => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels: { value } },
});

const change = fc.record({
  act: fc.constantFrom('create', 'update', 'remove'),
  name: fc.constantFrom('a', 'b', 'c'),
  value: fc.constantFrom('1', '2', '3'),
});

/** Does what can be done, and leaves out what the store would refuse. */
const apply = (
  store: ReturnType<typeof createStore>,
  { act, name, value }: { act: string; name: string; value: string },
) => {
  const there = store.get(namespaces, '', name) !== undefined;
  if (act === 'create' && !there) store.create(namespaces, draft(name, value));
  if (act === 'update' && there) {
    store.update(namespaces, '', name, (current) => ({
      ...current,
      metadata: { ...current.metadata, labels: { value } },
    }));
  }
  if (act === 'remove' && there) store.remove(namespaces, '', name);
};

describe('the store', () => {
  it('lists any past revision as it was', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        const store = createStore(() => '2025-01-01T00:00:00Z');
        const history = new Map([[store.revision, store.list(namespaces, '')]]);
        for (const one of changes) {
          apply(store, one);
          history.set(store.revision, store.list(namespaces, ''));
        }
        for (const [revision, objects] of history) {
          expect(store.listAt(namespaces, '', revision)).toEqual(objects);
        }
      }),
    );
  });

  it('gives a follower who missed changes the same end as one who saw them all', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), fc.nat(30), (changes, at) => {
        const store = createStore(() => '2025-01-01T00:00:00Z');
        for (const one of changes.slice(0, at)) apply(store, one);
        const known = new Map(store.list(namespaces, '').map((object) => [object.metadata.name, object]));
        const since = store.revision;
        for (const one of changes.slice(at)) apply(store, one);
        for (const { type, object } of store.changesSince(since)) {
          if (type === 'DELETED') known.delete(object.metadata.name);
          else known.set(object.metadata.name, object);
        }
        expect([...known.values()].toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))).toEqual(
          store.list(namespaces, ''),
        );
      }),
    );
  });

  it('says 410 for what it no longer knows', () => {
    const store = createStore(() => '2025-01-01T00:00:00Z', { changesKept: 4 });
    const first = store.revision;
    store.create(namespaces, draft('a'));
    for (let round = 0; round < 20; round += 1) apply(store, { act: 'update', name: 'a', value: String(round) });
    expect(() => store.changesSince(first)).toThrow('too old resource version');
    expect(store.changesSince(store.revision)).toEqual([]);
    expect(store.changesSince(store.revision - 1)).toHaveLength(1);
  });

  it('holds preconditions, and does not count what changes nothing', () => {
    const store = createStore(() => '2025-01-01T00:00:00Z');
    const made = store.create(namespaces, draft('a'));
    expect(() => store.create(namespaces, draft('a'))).toThrow('already exists');
    expect(() => store.remove(namespaces, '', 'a', { uid: 'another' })).toThrow('Precondition failed: UID');
    expect(() => store.update(namespaces, '', 'a', (now) => now, { resourceVersion: '1' })).toThrow(
      'has been modified',
    );
    const revision = store.revision;
    store.update(namespaces, '', 'a', (now) => ({ ...now }), { uid: made.metadata.uid });
    expect(store.revision).toBe(revision);
    expect(() => store.remove(namespaces, '', 'b')).toThrow('namespaces "b" not found');
  });
});
