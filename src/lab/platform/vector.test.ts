import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { embed, seedDocument } from './embedding.ts';
import { createIndex } from './vector-index.ts';

const dimensions = 16;

describe('the vector index', () => {
  it('finds a document by its own words', () => {
    const index = createIndex(dimensions);
    for (let number = 0; number < 200; number += 1) {
      const { id, text } = seedDocument(number);
      index.upsert({ id, text, vector: embed(text, dimensions) });
    }
    for (const number of [0, 7, 123, 199]) {
      const { id, text } = seedDocument(number);
      expect(index.query(embed(text, dimensions), 3)[0]?.id).toBe(id);
    }
  });

  it('holds what was put last under each id, through replacing and removing in any order', () => {
    const change = fc.record({ id: fc.integer({ min: 0, max: 9 }), remove: fc.boolean(), text: fc.lorem() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
        const index = createIndex(dimensions);
        const expected = new Map<string, string>();
        for (const { id: number, remove, text } of changes) {
          const id = `item-${number}`;
          if (remove) expect(index.remove(id)).toBe(expected.delete(id));
          else {
            index.upsert({ id, text, vector: embed(text, dimensions) });
            expected.set(id, text);
          }
        }
        expect(index.count).toBe(expected.size);
        for (const [id, text] of expected) {
          expect(index.get(id)?.text).toBe(text);
          const best = index.query(embed(text, dimensions), expected.size);
          const own = best.find((match) => match.id === id);
          expect(own?.score).toBeCloseTo(best[0]?.score ?? 0, 4);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('grows past its first block', () => {
    const index = createIndex(2);
    for (let number = 0; number < 5000; number += 1) {
      index.upsert({ id: `${number}`, text: '', vector: Float32Array.from([Math.cos(number), Math.sin(number)]) });
    }
    expect(index.count).toBe(5000);
    expect(index.query(Float32Array.from([Math.cos(4321), Math.sin(4321)]), 1)[0]?.id).toBe('4321');
  });
});
