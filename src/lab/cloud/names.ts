import { createHash, randomInt } from 'node:crypto';

/** Identifiers of what exists from the start: the same environment always has the same ones. */
const stableId = (prefix: string, what: string): string =>
  `${prefix}-0${createHash('sha256').update(`${prefix} ${what}`).digest('hex').slice(0, 16)}`;

export const vpcIdOf = (region: string): string => stableId('vpc', region);
export const subnetIdOf = (zone: string): string => stableId('subnet', zone);
export const defaultAclIdOf = (region: string): string => stableId('acl', region);
export const aclAssociationIdOf = (zone: string): string => stableId('aclassoc', zone);
export const mainRouteTableIdOf = (region: string): string => stableId('rtb', region);
export const routeTableIdOf = (zone: string): string => stableId('rtb', zone);
export const routeAssociationIdOf = (of: string): string => stableId('rtbassoc', of);
export const peeringIdOf = (one: string, other: string): string =>
  stableId('pcx', one < other ? `${one} ${other}` : `${other} ${one}`);

export const hostIdOf = (server: string): string => stableId('i', server);
export const hostArnOf = (account: string, region: string, server: string): string =>
  `arn:aws:ec2:${region}:${account}:instance/${hostIdOf(server)}`;

export const subnetArnOf = (account: string, region: string, zone: string): string =>
  `arn:aws:ec2:${region}:${account}:subnet/${subnetIdOf(zone)}`;

const pick = (letters: string, count: number): string =>
  Array.from({ length: count }, () => letters[randomInt(letters.length)]).join('');

/** Identifier of something created at run time: `acl-0123…`. */
export const newId = (prefix: string): string => `${prefix}-0${pick('0123456789abcdef', 16)}`;

const base62 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** FIS identifiers: `EXT…` for templates, `EXP…` for experiments. */
export const newFisId = (prefix: 'EXT' | 'EXP'): string => prefix + pick(base62, 15);

const directions: Readonly<Record<string, string>> = {
  north: 'n',
  south: 's',
  east: 'e',
  west: 'w',
  central: 'c',
  northeast: 'ne',
  northwest: 'nw',
  southeast: 'se',
  southwest: 'sw',
};

/** Zone id of the n-th zone (from 1) of a region, worded as AWS does: `us-west-2` → `usw2-az1`. */
export const zoneIdOf = (region: string, number: number): string => {
  const [area = '', direction = '', index = ''] = region.split('-');
  return `${area}${directions[direction] ?? direction}${index}-az${number}`;
};
