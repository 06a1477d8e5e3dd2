import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { analyse } from '../analysis/analyse.ts';
import { bad, named, recordOf, type Script, seen, served, targetOf, within } from '../testing/simulated-record.ts';
import { reporters } from './index.ts';
import { renderMarkdown } from './markdown.ts';
import type { Report } from './model.ts';
import { renderTable, wrapped } from './table.ts';

const near: Script = (atMs) => (within(atMs, 40_100, 44_080) ? bad('timeout', atMs, 1000) : served('west', 'west-b'));

const reportOf = (changes: Parameters<typeof recordOf>[1] = {}): Report =>
  analyse(
    recordOf([[named('chat', 'chat', 'near'), near]], {
      targets: [
        targetOf('outage', {
          id: 'az.disruption',
          promise: 'Total | disruption',
          text: '~2 minutes',
          maxMs: 120_000,
          also: [{ text: '5 min', maxMs: 300_000, source: 'elsewhere' }],
          contradictions: ['Two minutes are not enough.'],
        }),
        targetOf('not-yet', { id: 'az.no-data-loss', with: { reason: 'needs the ledger' } }),
      ],
      observations: [seen('health.failed', 'west', 41_000, 41_100, { failures: 3 })],
      ...changes,
    }),
  );

describe('the table', () => {
  it('shows documented, observed with its bracket, verdict and where, in documented time', () => {
    const text = renderTable(reportOf(), { width: 110, color: false });
    expect(text).toMatchInlineSnapshot(`
      "blackhole-zone on lab

      target           documented     observed                       verdict       where
      az.disruption    ≤ 2 min        2 min [1 min 59 s, 2 min 2 s]  INCONCLUSIVE  near
      az.no-data-loss  as documented  -                              NOT MEASURED

      Times are documented time (time scale 30: one documented minute took 2.00 s).
      az.disruption: 2 min [1 min 59 s, 2 min 2 s] straddles 2 min; no time scale resolves it, a finer probe
        spacing narrows the bracket
      az.no-data-loss: needs the ledger
      The documentation: Two minutes are not enough.

      INCONCLUSIVE: az.disruption: 2 min [1 min 59 s, 2 min 2 s] straddles 2 min; no time scale resolves it, a finer
      probe spacing narrows the bracket
      Nothing is certified by this run.
      "
    `);
  });

  it('never is wider than the terminal', () => {
    for (const width of [40, 60, 80, 200]) {
      const lines = renderTable(reportOf(), { width, color: true }).split('\n');
      const widest = Math.max(...lines.map((line) => [...stripVTControlCharacters(line)].length));
      expect(widest).toBeLessThanOrEqual(width);
    }
  });

  it('has colours only when asked', () => {
    expect(renderTable(reportOf(), { width: 100, color: false })).not.toContain('\u001B[');
    expect(renderTable(reportOf(), { width: 100, color: true })).toContain('\u001B[33m');
  });

  it('says loudly what was not put back', () => {
    const undo = {
      armed: 1,
      reverted: 0,
      outstanding: [{ fault: 'zone.blackhole', target: 'zone/west-a', reason: 'no answer' }],
    };
    expect(renderTable(reportOf({ undo }), { width: 100, color: false })).toContain(
      'NOT PUT BACK: zone.blackhole on zone/west-a: no answer',
    );
  });

  it('lists outages where no target is judged', () => {
    const text = renderTable(reportOf({ targets: [], faults: [], run: { kind: 'observe' } }), {
      width: 120,
      color: false,
    });
    expect(text).toContain('chat/near/fresh hang: clients 4.00 s [3.95 s, 4.05 s]');
  });

  it('breaks words that are longer than the line', () => {
    expect(wrapped('ab cdefgh i', 3)).toEqual(['ab', 'cde', 'fgh', 'i']);
  });
});

describe('the Markdown', () => {
  const text = renderMarkdown(reportOf());

  it.each([
    '# A zone goes dark: INCONCLUSIVE',
    'time scale 30: one documented minute took 2.00 s',
    '| az.disruption | Total \\| disruption | ~2 minutes (the documentation) | ≤ 2 min |',
    'against 5 min ("5 min", elsewhere): PASS',
    '- **az.no-data-loss**',
    '- Two minutes are not enough.',
    '| detected | 101.000 s … 101.100 s |',
    'health.failed | west | test | failures 3 |',
    '1 armed, 1 put back, 0 outstanding.',
  ])('has %s', (line) => {
    expect(text).toContain(line);
  });

  it('is made of sections with content only, and tables of equal columns', () => {
    const tables = text.split('\n\n').filter((block) => block.startsWith('|'));
    for (const table of tables) {
      const columns = table.split('\n').map((row) => row.replaceAll('\\|', '').split('|').length);
      expect(new Set(columns).size).toBe(1);
    }
    expect(text).not.toMatch(/undefined|NaN|Infinity|\[object/);
    expect(text.endsWith('\n')).toBe(true);
  });
});

describe('the registry', () => {
  it('writes each form to a file of its own, and the same text for the same report', () => {
    expect(reporters.map(({ file }) => file)).toEqual(['report.json', 'report.md']);
    for (const { render } of reporters) expect(render(reportOf())).toBe(render(reportOf()));
    expect(JSON.parse(reporters[0]?.render(reportOf()) ?? '')).toEqual(reportOf());
  });
});

describe('the phase', () => {
  const factsOf = (takenAfterMs: number) => ({
    'phase.at': 'worst',
    'phase.offsetMs': 90_000,
    'phase.mechanism': 'vector-sync',
    'phase.region': 'east',
    'phase.periodMs': 120_000,
    'phase.durationMs': 10_000,
    'phase.positionMs': 9000,
    'phase.takenMs': 40_000 - 129_000,
    'phase.takenAfterMs': takenAfterMs,
  });

  it('says where in its cycle a mechanism was met, and how old what it showed was', () => {
    const text = renderMarkdown(reportOf({ facts: factsOf(-89_000) }));
    expect(text).toContain(
      '| phase | worst: 4 min 30 s into a pass of vector-sync (every 1 h, takes 5 min); what east showed was 1 h 5 min',
    );
    expect(text).not.toContain('a pass ended');
  });

  it('says when it was not the one that was aimed at', () => {
    const text = renderMarkdown(reportOf({ facts: factsOf(31_000) }));
    expect(text).toContain('a pass ended while the fault was injected');
  });

  it('is what was waited where no mechanism is named, and nothing where nobody waited', () => {
    const facts = { 'phase.offsetMs': 500, 'phase.at': 'random' };
    expect(renderMarkdown(reportOf({ facts }))).toContain('| phase | random: 15.0 s after the baseline |');
    expect(renderMarkdown(reportOf())).not.toContain('| phase |');
  });
});
