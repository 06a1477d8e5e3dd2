import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { steps } from '../drills/index.ts';
import { faults } from '../experiments/index.ts';
import { probes } from '../probes/index.ts';
import { filesOf, loadPlatform, loadScenario, scenarioOf } from './documents.ts';
import { jsonSchema } from './schema.ts';

const environments = ['lab', 'nordic'];

describe('the files that come with blackstart', () => {
  it.each(environments)('fit the environment %s, all of them', async (name) => {
    const platform = await loadPlatform(name);
    const names = [...(await filesOf('Experiment')).keys(), ...(await filesOf('Drill')).keys()];
    expect(names).toEqual(expect.arrayContaining(['blackhole-zone', 'kill-llm-pod', 'region-failover']));
    for (const one of names) {
      const document = await loadScenario(one, ['Experiment', 'Drill'], platform);
      const scenario = document.kind === 'Experiment' ? document.experiment : document.drill;
      const resolved = scenarioOf(scenario, 'experiment', document.source, platform);
      expect(resolved.targets.length).toBeGreaterThan(0);
      expect(resolved.probes.some((probe) => probe.required)).toBe(true);
    }
  });

  it('cover every documented row of zones, regions, pods, alerts, health period and routes', async () => {
    const platform = await loadPlatform('lab');
    const covered = new Set<string>();
    for (const one of [...(await filesOf('Experiment')).keys(), ...(await filesOf('Drill')).keys()]) {
      const document = await loadScenario(one, ['Experiment', 'Drill'], platform);
      const scenario = document.kind === 'Experiment' ? document.experiment : document.drill;
      for (const row of scenarioOf(scenario, 'experiment', document.source, platform).targets) covered.add(row.id);
    }
    const wanted = platform.targets
      .map((row) => row.id)
      .filter(
        (id) =>
          /^(az|region|pod|route|alert)\.|^health\.period$|^split\.lag-/.test(id) && !id.startsWith('region.rpo-'),
      );
    expect(wanted.filter((id) => !covered.has(id))).toEqual([]);
  });

  it('are described by the JSON Schema in the tree, which is current', async () => {
    const file = path.join(import.meta.dirname, '..', '..', 'experiments', 'schema.json');
    const current = JSON.parse(JSON.stringify(await jsonSchema()));
    expect(JSON.parse(readFileSync(file, 'utf8')), 'run: npx blackstart schema > experiments/schema.json').toEqual(
      current,
    );
    const text = JSON.stringify(current);
    for (const { name } of [...faults, ...probes, ...steps]) expect(text).toContain(`"const":"${name}"`);
  });
});
