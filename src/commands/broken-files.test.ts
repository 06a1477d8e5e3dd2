import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { BadFileError } from '../core/load.ts';
import { faults } from '../experiments/index.ts';
import { type Platform, parseEnvironment, parseScenario, parseTargets } from './documents.ts';

type Base = 'experiment' | 'drill' | 'environment' | 'targets';

const fixture = (base: Base): string =>
  readFileSync(path.join(import.meta.dirname, 'fixtures', `${base}.yaml`), 'utf8');

const rows = ['az.disruption', 'az.retry', 'route.west', 'route.east'];
const platform: Platform = {
  environment: parseEnvironment(fixture('environment'), 'environment.yaml'),
  targets: rows.map((id) => ({ id, promise: id, text: id, source: 'here', measure: 'not-yet', with: {} })),
  file: 'environment.yaml',
};

const check = (base: Base, text: string): void => {
  if (base === 'environment') parseEnvironment(text, `${base}.yaml`);
  else if (base === 'targets') parseTargets(text, `${base}.yaml`);
  else parseScenario(text, `${base}.yaml`, platform);
};

/** Every line that is printed for a text; empty when it is good. Anything but a known error is a failure. */
const problemsOf = (base: Base, text: string): readonly string[] => {
  try {
    check(base, text);
    return [];
  } catch (error) {
    if (error instanceof BadFileError) return error.message.split('\n');
    throw error;
  }
};

interface Broken {
  readonly what: string;
  readonly base: Base;
  /** What is replaced in the good file, and by what. */
  readonly edit: readonly [from: string, to: string];
  /** Every line printed, without the file's name. */
  readonly says: readonly string[];
}

const broken = (base: Base, what: string, from: string, to: string, ...says: readonly string[]): Broken => ({
  what,
  base,
  edit: [from, to],
  says,
});

const everyFault = faults.map((fault) => fault.name).join(', ');

const table: readonly Broken[] = [
  broken(
    'experiment',
    'misspelt key',
    'every: 50ms',
    'evry: 50ms',
    '16:5: unknown key "evry" in probes.chat; did you mean "every"? allowed: probe, from, every, timeout, slowAfter, connection, with',
  ),
  broken(
    'experiment',
    'misspelt key of a fault',
    'percent: 50',
    'percents: 50',
    '9:30: unknown key "percents" in faults[0].with; did you mean "percent"? allowed: region, percent, steps',
  ),
  broken(
    'experiment',
    'misspelt fault',
    'fault: traffic.shift',
    'fault: trafic.shift',
    `8:12: faults[0].fault does not allow the text "trafic.shift"; did you mean "traffic.shift"? allowed: ${everyFault}`,
  ),
  broken(
    'experiment',
    'misspelt probe',
    'probe: postgres-ledger',
    'probe: postgresledger',
    '19:20: probes.writes.probe does not allow the text "postgresledger"; did you mean "postgres-ledger"? allowed: chat, health, dns, postgres-ledger, billing-ledger, vector-ledger, objects, objects-ledger, cache-ledger, tcp, http',
  ),
  broken(
    'experiment',
    'misspelt location',
    '[west, east]',
    '[west, est]',
    '15:18: probes.chat.from[1] does not allow the text "est"; did you mean "west"? allowed: primary, failover, west, east',
  ),
  broken(
    'experiment',
    'location that is not a list',
    '[west, east]',
    'west',
    '15:11: probes.chat.from must be "all" or a list, not the text "west"',
  ),
  broken(
    'experiment',
    'misspelt target',
    '[az.disruption,',
    '[az.disruptoin,',
    '5:10: covers[0] does not allow the text "az.disruptoin"; did you mean "az.disruption"? allowed: az.disruption, az.retry',
  ),
  broken(
    'experiment',
    'target named twice',
    '[az.disruption,',
    '[az.disruption, az.disruption,',
    '5:25: covers[1] names az.disruption a second time',
  ),
  broken(
    'experiment',
    'target area that is not there',
    'route.*',
    'rote.*',
    '5:25: covers[1] does not allow the text "rote.*"; did you mean "route.*"? allowed: az.*, route.*',
  ),
  broken(
    'experiment',
    'another version',
    'blackstart/v1',
    'blackstart/v2',
    '1:13: apiVersion must be "blackstart/v1", not the text "blackstart/v2"',
  ),
  broken(
    'experiment',
    'another kind',
    'kind: Experiment',
    'kind: Experment',
    '2:7: kind does not allow the text "Experment"; did you mean "Experiment"? allowed: Experiment, Drill',
  ),
  broken('experiment', 'no kind', 'kind: Experiment\n', '', '1:1: "kind" is missing; allowed: Experiment, Drill'),
  broken(
    'experiment',
    'no title',
    'title: Half of the traffic moves away\n',
    '',
    '1:1: "title" is missing (one line for people)',
  ),
  broken(
    'experiment',
    'empty title',
    'title: Half of the traffic moves away',
    'title: ""',
    '4:8: title must not be empty',
  ),
  broken(
    'experiment',
    'name with capitals',
    'name: move-traffic',
    'name: Move Traffic',
    '3:7: name does not allow the text "Move Traffic": use lower-case letters, digits and inner hyphens',
  ),
  broken(
    'experiment',
    'no probes',
    'probes: [chat]',
    'probes: []',
    '6:16: steadyState.probes must have at least 1 entry',
  ),
  broken(
    'experiment',
    'steady state of an unknown probe',
    'probes: [chat]',
    'probes: [chats]',
    '6:1: no probe has to hold the baseline and recover: name some in steadyState.probes',
    '6:25: steadyState.probes[0] does not allow the text "chats"; did you mean "chat"? allowed: chat, writes',
  ),
  broken(
    'experiment',
    'phase of an unknown mechanism',
    'for: until-recovered',
    'for: until-recovered\n    phase: { mechanism: vector-snc, at: worst }',
    '11:25: faults[0].phase.mechanism must be "vector-sync", not the text "vector-snc"',
  ),
  broken(
    'experiment',
    'phase of a region that is not there',
    'for: until-recovered',
    'for: until-recovered\n    phase: { mechanism: vector-sync, region: mars, at: worst }',
    '11:46: environment two-regions has no region "mars". Use primary, failover or one of: west, east.',
  ),
  broken(
    'experiment',
    'phase of a store that follows none',
    'for: until-recovered',
    'for: until-recovered\n    phase: { mechanism: vector-sync, at: worst }',
    '11:5: faults[0].phase: east has no vector-sync in environment two-regions',
  ),
  broken(
    'experiment',
    'phase without a mechanism',
    'for: until-recovered',
    'for: until-recovered\n    phase: worst',
    '11:12: faults[0].phase does not fit: "worst" is not a duration: write a number and a unit, such as 100ms, 30s, 5m or 2h; or use "random"',
  ),
  broken(
    'experiment',
    'number where a duration is due',
    'every: 50ms',
    'every: 50',
    '16:12: probes.chat.every must be text (real time between two probes, such as 100ms), not 50',
  ),
  broken(
    'experiment',
    'duration without a unit',
    'timeout: 1s\n    slow',
    'timeout: "1"\n    slow',
    '17:14: probes.chat.timeout does not fit: "1" is not a duration: write a number and a unit, such as 100ms, 30s, 5m or 2h',
  ),
  broken(
    'experiment',
    'unknown unit',
    'atMost: 20m',
    'atMost: 20min',
    '11:13: faults[0].atMost does not fit: "20min" is not a duration: write a number and a unit, such as 100ms, 30s, 5m or 2h',
  ),
  broken(
    'experiment',
    'misspelt until-recovered',
    'until-recovered',
    'until-recoverd',
    '10:10: faults[0].for does not fit: "until-recoverd" is not a duration: write a number and a unit, such as 100ms, 30s, 5m or 2h; did you mean "until-recovered"?',
  ),
  broken(
    'experiment',
    'fault that lasts longer than its expiry',
    'for: until-recovered',
    'for: 30m',
    '10:10: faults[0].for must not be longer than its atMost',
  ),
  broken(
    'experiment',
    'least duration beyond the expiry',
    'for: until-recovered',
    'for: until-recovered\n    atLeast: 30m',
    '11:14: faults[0].atLeast must not be longer than its atMost',
  ),
  broken(
    'experiment',
    'least duration of a fault with a fixed one',
    'for: until-recovered',
    'for: 2m\n    atLeast: 1m',
    '11:5: faults[0].atLeast goes with "for: until-recovered" alone',
  ),
  broken(
    'experiment',
    'expiry below what providers allow',
    'atMost: 20m',
    'atMost: 5s',
    '11:13: faults[0].atMost must be at least 1m: no provider expires a fault sooner',
  ),
  broken(
    'experiment',
    'no expiry',
    '    atMost: 20m\n',
    '',
    '8:5: "atMost" is missing in faults[0] (documented time after which the target\'s side ends the fault by itself)',
  ),
  broken(
    'experiment',
    'no faults',
    'faults:\n  - fault: traffic.shift\n    with: { region: primary, percent: 50 }\n    for: until-recovered\n    atMost: 20m',
    'faults: []',
    '7:1: faults must have at least 1 entry',
  ),
  broken(
    'experiment',
    'share above one hundred',
    'percent: 50',
    'percent: 150',
    '9:39: faults[0].with.percent must be at most 100, not 150',
  ),
  broken(
    'experiment',
    'text where a number is due',
    'percent: 50',
    'percent: half',
    '9:39: faults[0].with.percent must be a number (share in per cent), not the text "half"',
  ),
  broken(
    'experiment',
    'slow after the time-out',
    'slowAfter: 500ms',
    'slowAfter: 5s',
    '18:16: probes.chat.slowAfter must not be longer than its timeout (1000ms)',
  ),
  broken(
    'experiment',
    'probe faster than it can be',
    'every: 50ms',
    'every: 1ms',
    '16:12: probes.chat.every must be at least 5ms: faster, the instrument disturbs what it measures',
  ),
  broken(
    'experiment',
    'errors above a half',
    'errorsMax: 0.02',
    'errorsMax: 2',
    '20:23: confirm.errorsMax must be less than 0.5, not 2',
  ),
  broken(
    'experiment',
    'probe name with a capital',
    '  writes:',
    '  Writes:',
    '19:3: "Writes" in probes is not allowed as a name: use lower-case letters, digits and inner hyphens',
  ),
  broken(
    'experiment',
    'tab as indentation',
    '    from: [west',
    '\tfrom: [west',
    '15:1: a tab is used to indent: use spaces',
  ),
  broken(
    'experiment',
    'key twice',
    '    every: 50ms',
    '    every: 50ms\n    every: 60ms',
    '17:5: the key "every" is there twice',
  ),
  broken(
    'experiment',
    'second document',
    'confirm:',
    '---\nconfirm:',
    '20:1: a second document begins here: a file holds one',
  ),
  broken(
    'experiment',
    'list that does not end',
    '[az.disruption, route.*]',
    '[az.disruption, route.*',
    '6:1: not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
  ),
  broken(
    'experiment',
    'quote that does not end',
    'title: Half',
    'title: "Half',
    '21:1: not YAML: Missing closing "quote',
  ),
  broken(
    'experiment',
    'key and value on one line too many',
    'title: Half',
    'title: what: Half',
    '4:8: a key and value are where a plain value should be: check the indentation, or quote the text',
  ),
  broken('experiment', 'alias', '[chat]', '*chat', '6:24: the alias *chat is not allowed: write the value out'),
  broken(
    'experiment',
    'anchor',
    'steadyState: {',
    'steadyState: &steady {',
    '6:22: the anchor &steady is not allowed: write the value where it is used',
  ),
  broken(
    'experiment',
    'tag',
    'title: Half',
    'title: !!js/function Half',
    '4:22: the tag "!!js/function" is not allowed',
  ),
  broken('experiment', 'list as a key', 'confirm:', '? [a]\n: b\nconfirm:', '20:3: a key must be a plain word'),
  broken(
    'experiment',
    'several at once',
    'every: 50ms\n    timeout: 1s',
    'evry: 50ms\n    timeuot: 1s',
    '16:5: unknown key "evry" in probes.chat; did you mean "every"? allowed: probe, from, every, timeout, slowAfter, connection, with',
    '17:5: unknown key "timeuot" in probes.chat; did you mean "timeout"? allowed: probe, from, every, timeout, slowAfter, connection, with',
  ),
  broken(
    'drill',
    'misspelt step',
    'step: hold',
    'step: holdd',
    '15:11: steps[2].step does not allow the text "holdd"; did you mean "hold"? allowed: ask-person, fail-back, hold, hold-traffic, inject, point-database, promote, resync, revert, shift-traffic, verify, wait-detected',
  ),
  broken(
    'drill',
    'step without what it needs',
    '    with: { for: 2m }\n',
    '',
    '15:5: "with" is missing in steps[2]; it is a block of: for',
  ),
  broken(
    'drill',
    'misspelt key of a step',
    'for: 2m',
    'fr: 2m',
    '16:5: "for" is missing in steps[2].with (a duration: a number and a unit (ms, s, m, h, d), such as 100ms, 30s, 5m, 1h30m)',
    '16:13: unknown key "fr" in steps[2].with; did you mean "for"? allowed: for',
  ),
  broken(
    'drill',
    'misspelt fault',
    '{ fault: traffic.shift, with',
    '{ fault: traffic.shft, with',
    `12:20: steps[0].with.fault does not allow the text "traffic.shft"; did you mean "traffic.shift"? allowed: ${everyFault}`,
    '18:20: steps[3] reverts traffic.shift, which no step before it injects',
  ),
  broken(
    'drill',
    'misspelt key of an injected fault',
    'percent: 0',
    'pecent: 0',
    '12:60: steps[0].with.with: unknown key "pecent"; did you mean "percent"? allowed: region, percent, steps',
  ),
  broken(
    'drill',
    'injected without an expiry',
    ', atMost: 1h }',
    ' }',
    '12:5: "atMost" is missing in steps[0].with (a duration: a number and a unit (ms, s, m, h, d), such as 100ms, 30s, 5m, 1h30m)',
  ),
  broken(
    'drill',
    'reverts what was never injected',
    'with: { fault: traffic.shift }',
    'with: { fault: database.promote }',
    '18:20: steps[3] reverts database.promote, which no step before it injects',
  ),
  broken(
    'drill',
    'no steps',
    'steps:\n',
    'stepz:\n',
    '1:1: "steps" is missing',
    '9:1: unknown key "stepz"; did you mean "steps"? allowed: apiVersion, kind, name, title, description, covers, steadyState, probes, confirm, steps',
  ),
  broken(
    'drill',
    'fault key of an experiment',
    'steps:\n',
    'faults: []\nsteps:\n',
    '9:1: unknown key "faults"; allowed: apiVersion, kind, name, title, description, covers, steadyState, probes, confirm, steps',
  ),
  broken(
    'drill',
    'no steady state',
    'steadyState: { for: 5m }\n',
    '',
    '1:1: "steadyState" is missing; it is a block of: probes, for',
  ),
  broken(
    'environment',
    'misspelt key',
    'databaseHost',
    'databseHost',
    '6:1: "databaseHost" is missing in service',
    '8:3: unknown key "databseHost" in service; did you mean "databaseHost"? allowed: host, databaseHost, databaseDomain, databaseName, objectsHost, vectorDomain, hostedZoneId, model',
  ),
  broken(
    'environment',
    'misspelt role',
    'role: active',
    'role: acitve',
    '21:11: regions[1].role does not allow the text "acitve"; did you mean "active"? allowed: primary, active',
  ),
  broken(
    'environment',
    'no primary region',
    'role: primary',
    'role: active',
    '12:1: no region has "role: primary": one must',
  ),
  broken(
    'environment',
    'two primary regions',
    'role: active',
    'role: primary',
    '21:11: regions[1] is a second primary region: there can be one',
    '25:50: regions[1].database.lag is for replicas; the primary region has none',
  ),
  broken(
    'environment',
    'a primary vector store that follows another',
    'database: { instance: db-west, zone: west-a, standbyZone: west-b }',
    'database: { instance: db-west, zone: west-a, standbyZone: west-b }\n    vectors: { deltaSync: 1h }',
    "20:5: regions[0].vectors is for replicas; the primary region's store follows none",
  ),
  broken(
    'environment',
    'a sync without a period',
    'database: { instance: db-east, zone: east-a, lag: 5s }',
    'database: { instance: db-east, zone: east-a, lag: 5s }\n    vectors: { deltaSync: 0s }',
    '26:27: regions[1].vectors.deltaSync must be longer than what a sync takes, lab.stores.syncDuration',
  ),
  broken(
    'environment',
    'two regions of one name',
    'name: east\n    role',
    'name: west\n    role',
    '20:11: there are two regions named west',
  ),
  broken(
    'environment',
    'zone in two regions',
    'name: east-a }',
    'name: west-a }',
    '23:17: there are two zones named west-a',
    '25:42: regions[1].database.zone must be "west-a", not the text "east-a"',
  ),
  broken(
    'environment',
    'database in a zone that is not there',
    'zone: west-a,',
    'zone: west-c,',
    '19:42: regions[0].database.zone does not allow the text "west-c"; did you mean "west-a"? allowed: west-a, west-b',
  ),
  broken(
    'environment',
    'standby beside its primary',
    'standbyZone: west-b',
    'standbyZone: west-a',
    '19:63: regions[0].database.standbyZone must be another zone than its zone (west-a)',
  ),
  broken(
    'environment',
    'no zones',
    'zones:\n      - { name: east-a }',
    'zones: []',
    '22:5: regions[1].zones must have at least 1 entry',
  ),
  broken(
    'environment',
    'account with letters',
    '"123456789012"',
    '"12345678901x"',
    '32:12: aws.account does not allow the text "12345678901x": an AWS account id is 12 digits',
  ),
  broken(
    'environment',
    'share above one',
    'survivingShareMin: 0.3',
    'survivingShareMin: 30',
    '35:70: limits.survivingShareMin must be at most 1, not 30',
  ),
  broken(
    'environment',
    'count below one',
    'podsMax: 3',
    'podsMax: 0',
    '35:20: limits.podsMax must be more than 0, not 0',
  ),
  broken(
    'environment',
    'part of a count',
    'podsMax: 3',
    'podsMax: 2.5',
    '35:20: limits.podsMax must be a whole number, not 2.5',
  ),
  broken(
    'environment',
    'no limits',
    'limits: { podsMax: 3, zonesMax: 1, regionsMax: 1, survivingShareMin: 0.3, runMax: 6h }\n',
    '',
    '1:1: "limits" is missing; it is a block of: podsMax, zonesMax, regionsMax, survivingShareMin, runMax',
  ),
  broken(
    'environment',
    'lag as a number',
    'lag: 5s',
    'lag: 5',
    '25:55: regions[1].database.lag must be text (a duration: a number and a unit (ms, s, m, h, d), such as 100ms, 30s, 5m, 1h30m), not 5',
  ),
  broken(
    'environment',
    'text instead of a list',
    'prefers: [west, east]',
    'prefers: west',
    '27:28: clients[0].prefers must be a list, not the text "west"',
  ),
  broken(
    'targets',
    'id twice',
    'id: az.retry',
    'id: az.disruption',
    '11:9: there are two rows with the id az.disruption',
  ),
  broken(
    'targets',
    'misspelt bound',
    'max: 2m',
    'maxx: 2m',
    '10:5: unknown key "maxx" in targets[0]; did you mean "max"? allowed: id, promise, text, source, measure, with, max, minShare, maxShare, maxCount, also',
  ),
  broken(
    'targets',
    'bound without a unit',
    'max: 2m',
    'max: 120',
    '10:10: targets[0].max must be text (a duration: a number and a unit (ms, s, m, h, d), such as 100ms, 30s, 5m, 1h30m), not 120',
  ),
  broken(
    'targets',
    'share in per cent',
    'minShare: 0.99',
    'minShare: 99',
    '17:15: targets[1].minShare must be at most 1, not 99',
  ),
  broken(
    'targets',
    'no source',
    '    source: Scenario 1\n    measure: outage',
    '    measure: outage',
    '5:5: "source" is missing in targets[0]',
  ),
  broken(
    'targets',
    'no rows',
    'targets:\n',
    'rows:\n',
    '1:1: "targets" is missing',
    '4:1: unknown key "rows"; allowed: apiVersion, kind, name, targets, contradictions',
  ),
];

describe('a broken file', () => {
  it.each(table)('$base: $what', ({ base, edit: [from, to], says }) => {
    const good = fixture(base);
    const text = good.replace(from, () => to);
    expect(text).not.toBe(good);
    expect(problemsOf(base, text)).toEqual(says.map((line) => `${base}.yaml:${line}`));
  });
});

describe('a good file', () => {
  it.each(['experiment', 'drill', 'environment', 'targets'] as const)('%s has no problem', (base) => {
    expect(problemsOf(base, fixture(base))).toEqual([]);
  });
});
