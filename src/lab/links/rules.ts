import { ControlError } from '../control.ts';
import type { Place } from '../layout.ts';

/** Which traffic a rule is about. */
export type Match =
  /** Every flow with exactly one end inside these places; what stays inside, or outside, passes. */
  | { readonly isolate: readonly Place[] }
  /** Bytes that one pod sends over connections made to it: `<zone>:<port>`, as an egress knows it. */
  | { readonly fromPod: string }
  /**
   * Bytes that flow from a place of `from` to a place of `to`, whoever opened the connection; of connections to these
   * endpoints alone, such as `wal/us-west-2a`, when they are named.
   */
  | { readonly from: readonly Place[]; readonly to: readonly Place[]; readonly endpoints?: readonly string[] };

export type RuleEffect =
  /** Nothing passes, connections stay open and new ones are accepted; what was held flows when the rule goes. */
  | { readonly kind: 'blackhole' }
  /** Connections are reset, new ones too. */
  | { readonly kind: 'cut' }
  /** Bytes arrive this much later (one way). Several delays add up. */
  | { readonly kind: 'delay'; readonly delayMs: number }
  /** Each connection passes at most this much per direction. The lowest of several counts. */
  | { readonly kind: 'throttle'; readonly bytesPerSecond: number };

export interface Rule {
  readonly match: Match;
  readonly effect: RuleEffect;
  /** Who asked for it, for people and for cleaning up. */
  readonly owner: string;
}

/** What the rules in force do to one direction of a connection. */
export interface Effect {
  readonly isHeld: boolean;
  readonly isCut: boolean;
  readonly delayMs: number;
  readonly bytesPerSecond: number;
}

/** The places a rule may name, and the region a zone or regional service belongs to. */
export interface Geography {
  readonly places: ReadonlySet<Place>;
  readonly endpoints: ReadonlySet<string>;
  /** `region/x` for `zone/…` of that region; `undefined` for places outside every region. */
  regionOf(place: Place): Place | undefined;
}

const isInside = (geography: Geography, place: Place, group: readonly Place[]): boolean => {
  if (group.includes(place)) return true;
  const region = geography.regionOf(place);
  return region !== undefined && group.includes(region);
};

/** Of one connection: the endpoint it was made to, and the pod, if one, that sends in this direction. */
export interface OfConnection {
  readonly endpoint?: string | undefined;
  readonly sender?: string | undefined;
}

/** Whether the rule affects bytes that flow from `from` to `to` on a connection. */
export const matches = (
  geography: Geography,
  match: Match,
  from: Place,
  to: Place,
  { endpoint, sender }: OfConnection = {},
): boolean => {
  if ('fromPod' in match) return match.fromPod === sender;
  if ('isolate' in match) return isInside(geography, from, match.isolate) !== isInside(geography, to, match.isolate);
  const { endpoints } = match;
  const isMeant = endpoints === undefined || (endpoint !== undefined && endpoints.includes(endpoint));
  return isMeant && isInside(geography, from, match.from) && isInside(geography, to, match.to);
};

/** What all rules together do to bytes that flow from `from` to `to`, on top of the link's own `baseDelayMs`. */
export const effectOf = (
  geography: Geography,
  rules: Iterable<Rule>,
  from: Place,
  to: Place,
  baseDelayMs: number,
  connection: OfConnection = {},
): Effect => {
  let effect: Effect = { isHeld: false, isCut: false, delayMs: baseDelayMs, bytesPerSecond: Number.POSITIVE_INFINITY };
  for (const rule of rules) {
    if (!matches(geography, rule.match, from, to, connection)) continue;
    const { kind } = rule.effect;
    if (kind === 'blackhole') effect = { ...effect, isHeld: true };
    else if (kind === 'cut') effect = { ...effect, isCut: true };
    else if (kind === 'delay') effect = { ...effect, delayMs: effect.delayMs + rule.effect.delayMs };
    else {
      effect = { ...effect, bytesPerSecond: Math.min(effect.bytesPerSecond, rule.effect.bytesPerSecond) };
    }
  }
  return effect;
};

const refuse = (message: string): never => {
  throw new ControlError(400, 'BadRule', message);
};

const recordOf = (value: unknown, name: string): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : refuse(`${name} is not an object`);

const onlyKeys = (record: Record<string, unknown>, name: string, allowed: readonly string[]): void => {
  const extra = Object.keys(record).find((key) => !allowed.includes(key));
  if (extra !== undefined) refuse(`${name} has no "${extra}"; it has ${allowed.join(', ')}`);
};

const placesOf = (geography: Geography, value: unknown, name: string): readonly Place[] => {
  if (!Array.isArray(value) || value.length === 0) return refuse(`${name} is not a list of places`);
  for (const place of value) if (!geography.places.has(place)) refuse(`${name}: there is no place ${String(place)}`);
  return value;
};

const endpointsOf = (geography: Geography, value: unknown): readonly string[] => {
  if (!Array.isArray(value) || value.length === 0) return refuse('match.endpoints is not a list of endpoints');
  const unknown = value.find((endpoint) => !geography.endpoints.has(endpoint));
  return unknown === undefined ? value : refuse(`match.endpoints: there is no endpoint ${String(unknown)}`);
};

const positive = (value: unknown, name: string): number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : refuse(`${name} is not above 0`);

const parseMatch = (geography: Geography, value: unknown): Match => {
  const match = recordOf(value, 'match');
  if ('isolate' in match) {
    onlyKeys(match, 'match', ['isolate']);
    return { isolate: placesOf(geography, match['isolate'], 'match.isolate') };
  }
  if ('fromPod' in match) {
    onlyKeys(match, 'match', ['fromPod']);
    const [, zone, port] = /^([a-z0-9-]+):(\d{1,5})$/.exec(String(match['fromPod'])) ?? [];
    if (zone === undefined || port === undefined) return refuse('match.fromPod is no <zone>:<port>');
    if (!geography.places.has(`zone/${zone}`)) refuse(`match.fromPod: there is no zone ${zone}`);
    return { fromPod: `${zone}:${port}` };
  }
  onlyKeys(match, 'match', ['from', 'to', 'endpoints']);
  return {
    from: placesOf(geography, match['from'], 'match.from'),
    to: placesOf(geography, match['to'], 'match.to'),
    ...('endpoints' in match ? { endpoints: endpointsOf(geography, match['endpoints']) } : {}),
  };
};

const parseEffect = (value: unknown): RuleEffect => {
  const effect = recordOf(value, 'effect');
  const { kind } = effect;
  if (kind === 'blackhole' || kind === 'cut') {
    onlyKeys(effect, 'effect', ['kind']);
    return { kind };
  }
  if (kind === 'delay') {
    onlyKeys(effect, 'effect', ['kind', 'delayMs']);
    return { kind, delayMs: positive(effect['delayMs'], 'effect.delayMs') };
  }
  if (kind === 'throttle') {
    onlyKeys(effect, 'effect', ['kind', 'bytesPerSecond']);
    return { kind, bytesPerSecond: positive(effect['bytesPerSecond'], 'effect.bytesPerSecond') };
  }
  return refuse('effect.kind is none of blackhole, cut, delay, throttle');
};

/** Checks a rule that came over the control API. Throws `ControlError` 400 with what is wrong. */
export const parseRule = (geography: Geography, value: unknown): Rule => {
  const rule = recordOf(value, 'the rule');
  onlyKeys(rule, 'the rule', ['match', 'effect', 'owner']);
  const { owner } = rule;
  if (typeof owner !== 'string' || owner === '') return refuse('owner is not a name');
  return { match: parseMatch(geography, rule['match']), effect: parseEffect(rule['effect']), owner };
};
