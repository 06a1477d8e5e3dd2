import { formatDuration } from '../core/duration.ts';
import type { RunRecord, Target } from './record.ts';

/** Two documented numbers for one thing. */
const conflictOf = (target: Target): readonly string[] => {
  if (target.maxMs === undefined || target.also === undefined) return [];
  const others = target.also.filter(({ maxMs }) => maxMs !== target.maxMs);
  if (others.length === 0) return [];
  const texts = others.map((other) => `${formatDuration(other.maxMs)} (${other.source})`);
  return [
    `${target.id} is documented as ${formatDuration(target.maxMs)} (${target.source}) and as ${texts.join(' and ')}.`,
  ];
};

/** Preferred regions that are in no region list, by client location. */
const ghostRegions = ({ places, targets }: RunRecord): readonly string[] => {
  if (!targets.some(({ measure }) => measure === 'route' || measure === 'dns-removal')) return [];
  const known = new Set(places?.regions.map(({ name }) => name));
  return (places?.clients ?? []).flatMap(({ name, prefers }) =>
    prefers
      .filter((region) => !known.has(region))
      .map((region) => `${region} is preferred for clients in ${name} but is no region of this environment.`),
  );
};

/** Where the documentation contradicts itself, arithmetic or the environment, as far as it bears on this run. */
export const contradictionsOf = (record: RunRecord): readonly string[] => {
  const written = record.targets.flatMap((target) => target.contradictions ?? []);
  // A conflict that the targets file explains in words need not be said twice.
  const computed = record.targets.filter(({ contradictions }) => contradictions === undefined).flatMap(conflictOf);
  const ghosts = ghostRegions(record).filter(
    (text) => !written.some((one) => one.startsWith(text.split(' ')[0] ?? '')),
  );
  return [...new Set([...written, ...computed, ...ghosts])];
};
