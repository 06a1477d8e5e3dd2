import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTrialLab, type TrialLab } from './truth-trial.ts';

/* A small sample of `npm run bench -- truth`. */
describe.each([
  { name: 'blackhole-zone', timeScale: 20, location: 'us-west', outages: 1 },
  { name: 'kill-llm-pod', timeScale: 20, location: 'us-west', outages: 0 },
])('a whole run of $name, beside an oracle that asks ten times as often', (experiment) => {
  let lab: TrialLab;
  beforeAll(async () => {
    lab = await startTrialLab(experiment);
  }, 60_000);
  afterAll(() => lab.down(), 60_000);

  it('has the truth in every bracket, misses no outage and invents none', { timeout: 180_000 }, async () => {
    const run = await lab.run(7);
    expect(run.rows.filter((row) => !row.contained)).toEqual([]);
    expect({ missed: run.missed, invented: run.invented }).toEqual({ missed: [], invented: [] });
    expect(run.rows.map((row) => row.what)).toContain('fault effective');
    const outages = run.rows.filter((row) => row.what === 'outage of clients');
    expect(outages).toHaveLength(experiment.outages);
    for (const { errorMs, truth } of outages) expect(Math.abs(errorMs)).toBeLessThanOrEqual(run.errorMaxMs(truth));
  });
});
