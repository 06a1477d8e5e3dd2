import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { measures } from '../analysis/measures/index.ts';
import { type TargetsFile, targetsOf, targetsProblems, targetsSchema } from './targets.ts';

const read = (name: string): TargetsFile =>
  targetsSchema.parse(parse(readFileSync(path.join(import.meta.dirname, '..', '..', 'experiments', name), 'utf8')));

const documented = read('targets.yaml');

const row = (changes: Partial<TargetsFile['targets'][number]> = {}): TargetsFile['targets'][number] => ({
  id: 'az.disruption',
  promise: 'total disruption',
  text: '2 min',
  source: 'Scenario 1',
  measure: 'outage',
  with: {},
  max: 120_000,
  ...changes,
});
const problems = (changes: Partial<TargetsFile['targets'][number]>): readonly string[] =>
  targetsProblems({ apiVersion: 'blackstart/v1', kind: 'Targets', name: 'x', targets: [row(changes)] }, measures).map(
    ({ text }) => text,
  );

describe('the documented targets', () => {
  it('have no problem, and no id twice', () => {
    expect(targetsProblems(documented, measures)).toEqual([]);
    expect(new Set(documented.targets.map(({ id }) => id)).size).toBe(documented.targets.length);
  });

  it.each(['az', 'region', 'pod', 'health', 'route'])('of %s are measured, or say what is missing', (area) => {
    const rows = documented.targets.filter(({ id }) => id.startsWith(`${area}.`));
    expect(rows.length).toBeGreaterThan(0);
    const left = rows.filter(({ measure }) => measure === 'not-yet').map(({ id }) => id);
    const later = ['az.no-data-loss', 'region.rpo-postgres', 'region.rpo-vector', 'pod.no-data-loss', 'health.budgets'];
    expect(left.filter((id) => !later.includes(id))).toEqual([]);
  });

  it('give each row the contradictions that bear on it', () => {
    const asia = targetsOf(documented).find(({ id }) => id === 'route.asia');
    expect(asia?.contradictions?.join()).toContain('ap-southeast-1');
    expect(targetsOf(documented).find(({ id }) => id === 'route.europe')?.contradictions).toBeUndefined();
  });
});

describe('a row', () => {
  it('needs a measure that there is, with its bound and its parameters', () => {
    expect(problems({})).toEqual([]);
    expect(problems({ measure: 'outages' }).join()).toContain('did you mean "outage"?');
    expect(problems({ measure: 'goodput' })).toEqual([
      'targets[0] needs "minShare": the measure goodput is judged by it',
    ]);
    expect(problems({ minShare: 0.5 })).toEqual([
      'targets[0].minShare is not what the measure outage is judged by; use max',
    ]);
    expect(problems({ with: { prob: 'chat' } }).join()).toContain('targets[0].with');
    expect(problems({ measure: 'route', with: { location: 'x' } }).join()).toContain(
      'targets[0].with.prefers is missing: the measure route needs it',
    );
  });

  it('may be named by contradictions only when it exists', () => {
    const contradictions = [{ text: 'a', bearsOn: ['az.disruptoin'] }];
    const file = {
      apiVersion: 'blackstart/v1' as const,
      kind: 'Targets' as const,
      name: 'x',
      targets: [row()],
      contradictions,
    };
    expect(
      targetsProblems(file, measures)
        .map(({ text }) => text)
        .join(),
    ).toContain('contradictions[0].bearsOn[0] must be "az.disruption"');
  });

  it('keeps its bounds in milliseconds', () => {
    const also = [{ text: '3 min', max: 180_000, source: 'elsewhere' }];
    expect(
      targetsOf({ apiVersion: 'blackstart/v1', kind: 'Targets', name: 'x', targets: [row({ also })] })[0],
    ).toMatchObject({
      maxMs: 120_000,
      also: [{ text: '3 min', maxMs: 180_000, source: 'elsewhere' }],
    });
  });
});
