import { z } from 'zod';
import type { Bound, Measure } from '../analysis/measures/measure.ts';
import type { Target } from '../analysis/record.ts';
import { durationMs } from '../core/duration.ts';
import { notAmong, type SchemaProblem } from '../core/schema-words.ts';

const share = z.number().min(0).max(1);
const rowId = z
  .string()
  .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)*$/, { error: 'use lower-case words joined by dots and hyphens' });

/** One documented promise. Its bounds are documented time. */
const rowSchema = z.strictObject({
  id: rowId,
  promise: z.string().min(1),
  text: z.string().min(1).meta({ description: 'The bound as the documentation words it.' }),
  source: z.string().min(1),
  measure: z.string().min(1).meta({ description: 'How it is measured, or not-yet.' }),
  with: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
  max: durationMs.optional(),
  minShare: share.optional(),
  maxShare: share.optional(),
  maxCount: z.int().nonnegative().optional(),
  also: z.array(z.strictObject({ text: z.string().min(1), max: durationMs, source: z.string().min(1) })).optional(),
});

/** Where the documentation contradicts itself or arithmetic; printed by every run that covers one of the rows. */
const contradictionSchema = z.strictObject({ text: z.string().min(1), bearsOn: z.array(rowId).min(1) });

export const targetsSchema = z.strictObject({
  apiVersion: z.literal('blackstart/v1'),
  kind: z.literal('Targets'),
  name: z.string().min(1),
  targets: z.array(rowSchema).min(1),
  contradictions: z.array(contradictionSchema).optional(),
});
export type TargetsFile = z.output<typeof targetsSchema>;

const keyOfBound = { max: 'max', minShare: 'minShare', maxShare: 'maxShare', maxCount: 'maxCount' } as const;

const boundProblems = (
  row: TargetsFile['targets'][number],
  path: readonly PropertyKey[],
  bound: Bound,
): readonly SchemaProblem[] => {
  const needed = bound === 'none' ? undefined : keyOfBound[bound];
  const given = Object.values(keyOfBound).filter((key) => row[key] !== undefined);
  const where = `targets[${String(path[1])}]`;
  const instead = needed === undefined ? '' : `; use ${needed}`;
  if (row.measure !== 'not-yet' && needed !== undefined && !given.includes(needed)) {
    return [{ path, at: 'value', text: `${where} needs "${needed}": the measure ${row.measure} is judged by it` }];
  }
  const idle = row.measure === 'not-yet' ? [] : given.filter((key) => key !== needed);
  return idle.map((key) => ({
    path: [...path, key],
    at: 'key' as const,
    text: `${where}.${key} is not what the measure ${row.measure} is judged by${instead}`,
  }));
};

/** What must hold between the keys of a targets file and the measures that there are. */
export const targetsProblems = (file: TargetsFile, measures: readonly Measure[]): readonly SchemaProblem[] => {
  const rows = file.targets.flatMap((row, index): readonly SchemaProblem[] => {
    const path = ['targets', index];
    const measure = measures.find(({ name }) => name === row.measure);
    if (measure === undefined) {
      const names = measures.map(({ name }) => name);
      return [{ path: [...path, 'measure'], at: 'value', text: notAmong([...path, 'measure'], row.measure, names) }];
    }
    const params = measure.params.safeParse(row.with);
    const wrong = (params.error?.issues ?? []).map((issue) => {
      const [key] = issue.path;
      const where = `targets[${index}].with${key === undefined ? '' : `.${String(key)}`}`;
      const isMissing = key !== undefined && !Object.hasOwn(row.with, key);
      const text = isMissing
        ? `${where} is missing: the measure ${row.measure} needs it`
        : `${where}: ${issue.message}`;
      return { path: isMissing || key === undefined ? path : [...path, 'with', key], at: 'value' as const, text };
    });
    return [...wrong, ...boundProblems(row, path, measure.bound)];
  });
  const ids = file.targets.map(({ id }) => id);
  const strays = (file.contradictions ?? []).flatMap(({ bearsOn }, index) =>
    bearsOn.flatMap((id, at) => {
      const path = ['contradictions', index, 'bearsOn', at];
      return ids.includes(id) ? [] : [{ path, at: 'value' as const, text: notAmong(path, id, ids) }];
    }),
  );
  return [...rows, ...strays];
};

/** The rows as analysis takes them, each with the contradictions that bear on it. */
export const targetsOf = ({ targets, contradictions = [] }: TargetsFile): readonly Target[] =>
  targets.map(({ max, minShare, maxShare, maxCount, also, ...row }) => {
    const bearing = contradictions.filter(({ bearsOn }) => bearsOn.includes(row.id)).map(({ text }) => text);
    return {
      ...row,
      ...(max === undefined ? {} : { maxMs: max }),
      ...(minShare === undefined ? {} : { minShare }),
      ...(maxShare === undefined ? {} : { maxShare }),
      ...(maxCount === undefined ? {} : { maxCount }),
      ...(also === undefined ? {} : { also: also.map(({ max: maxMs, ...rest }) => ({ ...rest, maxMs })) }),
      ...(bearing.length === 0 ? {} : { contradictions: bearing }),
    };
  });
