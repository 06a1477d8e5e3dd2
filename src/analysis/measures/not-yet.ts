import { z } from 'zod';
import { defineMeasure, none } from './measure.ts';

export const notYet = defineMeasure({
  name: 'not-yet',
  summary: 'A documented number that nothing measures yet; the row keeps its place and says what is missing.',
  params: z.strictObject({ reason: z.string().min(1) }),
  bound: 'none',
  measure: ({ reason }) => none(reason),
});
