import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { callControl } from '../control.ts';
import { type LabLayout, type Place, regionPlace, zonePlace } from '../layout.ts';
import { hasRoute, isDark, type World } from './world.ts';

type Match =
  | { readonly isolate: readonly Place[] }
  | { readonly from: readonly Place[]; readonly to: readonly Place[] };

const owner = 'aws';
const prefix = 'aws-';
const reconcileEveryMs = 1000;

/**
 * What the network state means for the links. Pure.
 *
 * A subnet whose ACL denies everything is a zone that nothing enters or leaves; what stays inside it passes, as with
 * real ACLs, which sit at the subnet's edge. When every subnet of a region is dark, the region's own services (object
 * store, vector store, Kubernetes API) cannot be reached from outside either: nothing of the region is left to use.
 * A subnet without an active route to another region loses what it sends there; once all subnets of a region lack
 * that route, so do the region's own services.
 */
export const matchesOf = (world: World): ReadonlyMap<string, Match> => {
  const found = new Map<string, Match>();
  for (const region of world.regions.values()) {
    const dark = region.subnets.filter((subnet) => isDark(region, subnet.id));
    for (const { zone } of dark) found.set(`${prefix}zone-${zone}`, { isolate: [zonePlace(zone)] });
    if (dark.length === region.subnets.length) {
      found.set(`${prefix}region-${region.name}`, { isolate: [regionPlace(region.name)] });
    }
    for (const other of world.regions.values()) {
      if (other === region) continue;
      const lost = region.subnets.filter((subnet) => !hasRoute(region, subnet.id, other));
      if (lost.length === 0) continue;
      const isWhole = lost.length === region.subnets.length;
      found.set(`${prefix}route-${region.name}-${other.name}`, {
        from: isWhole ? [regionPlace(region.name)] : lost.map(({ zone }) => zonePlace(zone)),
        to: [regionPlace(other.name)],
      });
    }
  }
  return found;
};

/** Of what the links list, the rules that are ours, as text to compare. */
const oursOf = (listed: unknown): Map<string, string> => {
  const ours = new Map<string, string>();
  if (!Array.isArray(listed)) throw new Error('the links did not list their rules');
  for (const rule of listed) {
    if (rule?.owner === owner && typeof rule.id === 'string') ours.set(rule.id, JSON.stringify(rule.match));
  }
  return ours;
};

/** Keeps the links' rules equal to what the network state says, also after the links were started anew. */
export const createDataPlane = (
  layout: LabLayout,
  log: (line: string) => void,
): { bind(world: World): void; apply(): Promise<void>; reconcile(signal: AbortSignal): Promise<void> } => {
  let world: World | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  const synchronise = async (): Promise<void> => {
    if (world === undefined) return;
    const wanted = new Map([...matchesOf(world)].map(([id, match]) => [id, JSON.stringify(match)]));
    const present = oursOf(await callControl(layout, 'links', 'GET', '/rules'));
    const changes = [
      ...[...wanted]
        .filter(([id, match]) => present.get(id) !== match)
        .map(([id, match]) =>
          callControl(layout, 'links', 'PUT', `/rules/${id}`, {
            body: { match: JSON.parse(match), effect: { kind: 'blackhole' }, owner },
          }),
        ),
      ...[...present.keys()]
        .filter((id) => !wanted.has(id))
        .map((id) => callControl(layout, 'links', 'DELETE', `/rules/${id}`)),
    ];
    await Promise.all(changes);
  };

  /** One after the other, so that an older look never undoes a newer change. */
  const apply = (): Promise<void> => {
    const mine = turn.then(synchronise);
    turn = mine.catch(() => undefined);
    return mine;
  };

  return {
    bind(bound) {
      world = bound;
    },
    apply,
    async reconcile(signal) {
      let isFailing = false;
      const pause = (): Promise<unknown> => systemClock.sleep(reconcileEveryMs, signal).catch(() => undefined);
      // The links come up at the same time as we do.
      for (await pause(); !signal.aborted; await pause()) {
        await apply().then(
          () => {
            isFailing = false;
          },
          (error: unknown) => {
            if (!isFailing) log(`the links do not follow: ${messageOf(error)}`);
            isFailing = true;
          },
        );
      }
    },
  };
};
