import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ledgerLineSchema } from '../probes/ledger/line.ts';
import { blindSchema, instrumentSchema, sampleSchema } from '../probes/sample.ts';
import { documentedSchemas, schemaText } from './documented.ts';

const schemas = documentedSchemas({
  sample: sampleSchema,
  instrument: instrumentSchema,
  blind: blindSchema,
  ledger: ledgerLineSchema,
});
const docs = path.join(import.meta.dirname, '..', '..', 'docs');

describe('the documented schemas', () => {
  // To write them anew after a change: npx vitest run src/report/documented.test.ts --update
  it.each(Object.keys(schemas))('%s is current', async (file) => {
    const schema = schemas[file];
    if (schema === undefined) throw new Error(file);
    await expect(schemaText(schema)).toMatchFileSnapshot(path.join(docs, file));
  });

  it('refuse what the program would not write', () => {
    const sample = schemas['samples.schema.json'];
    expect(sample?.['required']).toContain('sentMs');
    expect(sample?.['additionalProperties']).toBe(false);
  });
});
