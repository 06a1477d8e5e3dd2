import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/errors.ts';
import { callControl } from '../control.ts';
import { type LabLayout, type Place, regionPlace, zonePlace } from '../layout.ts';
import { hasRoute, isDark, type World } from './world.ts';

type Match =
  | { readonly isolate: readonly Place[] }
  | { readonly from: readonly Place[]; readonly to: readonly Place[] }
  | { readonly fromPod: string };

type Effect = { readonly kind: 'blackhole' } | { readonly kind: 'delay'; readonly delayMs: number };

interface LinkRule {
  readonly match: Match;
  readonly effect: Effect;
}

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
 * that route, so do the region's own services. What a delayed pod sends comes later.
 */
export const rulesOf = (world: World): ReadonlyMap<string, LinkRule> => {
  const found = new Map<string, LinkRule>();
  const lose = (id: string, match: Match): void => {
    found.set(`${prefix}${id}`, { match, effect: { kind: 'blackhole' } });
  };
  for (const region of world.regions.values()) {
    const dark = region.subnets.filter((subnet) => isDark(region, subnet.id));
    for (const { zone } of dark) lose(`zone-${zone}`, { isolate: [zonePlace(zone)] });
    if (dark.length === region.subnets.length) {
      lose(`region-${region.name}`, { isolate: [regionPlace(region.name)] });
    }
    for (const other of world.regions.values()) {
      if (other === region) continue;
      const lost = region.subnets.filter((subnet) => !hasRoute(region, subnet.id, other));
      if (lost.length === 0) continue;
      const isWhole = lost.length === region.subnets.length;
      lose(`route-${region.name}-${other.name}`, {
        from: isWhole ? [regionPlace(region.name)] : lost.map(({ zone }) => zonePlace(zone)),
        to: [regionPlace(other.name)],
      });
    }
  }
  for (const { pod, address, delayMs } of world.podEffects.values()) {
    found.set(`${prefix}pod-${pod}`, { match: { fromPod: address }, effect: { kind: 'delay', delayMs } });
  }
  return found;
};

const textOf = ({ match, effect }: LinkRule): string => JSON.stringify([match, effect]);

/** Of what the links list, the rules that are ours, as text to compare. */
const oursOf = (listed: unknown): Map<string, string> => {
  const ours = new Map<string, string>();
  if (!Array.isArray(listed)) throw new Error('the links did not list their rules');
  for (const rule of listed) {
    if (rule?.owner === owner && typeof rule.id === 'string') ours.set(rule.id, textOf(rule));
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
    const wanted = rulesOf(world);
    const present = oursOf(await callControl(layout, 'links', 'GET', '/rules'));
    const changes = [
      ...[...wanted]
        .filter(([id, rule]) => present.get(id) !== textOf(rule))
        .map(([id, { match, effect }]) =>
          callControl(layout, 'links', 'PUT', `/rules/${id}`, {
            body: { match, effect, owner },
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
