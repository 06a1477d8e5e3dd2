import { elements, malformed, notImplemented, S3Error, tag, text, textIn } from './s3-wire.ts';

/** One rule of a bucket's replication configuration, as far as it decides what is copied where. */
export interface ReplicationRule {
  readonly id: string;
  readonly isEnabled: boolean;
  /** Keys it is about; empty for all. */
  readonly prefix: string;
  /** Name of the bucket that gets the copies. */
  readonly destination: string;
  readonly copiesDeleteMarkers: boolean;
}

const rulesMax = 1000;
const bucketArn = /^arn:aws:s3:::([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])$/;

const ruleOf = (xml: string, index: number): ReplicationRule => {
  const filter = elements(xml, 'Filter')[0];
  if (elements(xml, 'Tag').length > 0) throw notImplemented('Replication by object tags is not implemented.');
  const destination = bucketArn.exec(textIn(elements(xml, 'Destination')[0] ?? '', 'Bucket') ?? '')?.[1];
  const status = statusOf(xml);
  if (destination === undefined || status === undefined) throw malformed();
  const markers = textIn(elements(xml, 'DeleteMarkerReplication')[0] ?? '', 'Status');
  if (filter !== undefined && markers === undefined) {
    throw new S3Error(400, 'InvalidRequest', 'DeleteMarkerReplication must be specified where a Filter is.');
  }
  return {
    id: textIn(xml, 'ID') ?? `rule-${index + 1}`,
    isEnabled: status === 'Enabled',
    prefix: textIn(filter ?? xml, 'Prefix') ?? '',
    destination,
    // Without a Filter it is the first version of the schema, which copies the delete markers that users leave.
    copiesDeleteMarkers: filter === undefined ? true : markers === 'Enabled',
  };
};

/** The rule's own status: that of its parts lies inside elements of their own. */
const statusOf = (xml: string): string | undefined => {
  const parts = ['DeleteMarkerReplication', 'ExistingObjectReplication', 'SourceSelectionCriteria', 'Destination'];
  const own = parts.reduce((rest, name) => rest.replaceAll(new RegExp(`<${name}>[\\s\\S]*?</${name}>`, 'g'), ''), xml);
  const status = textIn(own, 'Status');
  return status === 'Enabled' || status === 'Disabled' ? status : undefined;
};

/** Reads the body of PutBucketReplication. Throws `S3Error` when S3 would refuse it, or when it asks for more. */
export const parseReplication = (xml: string): readonly ReplicationRule[] => {
  const configuration = elements(xml, 'ReplicationConfiguration')[0];
  if (configuration === undefined || textIn(configuration, 'Role') === undefined) throw malformed();
  const rules = elements(configuration, 'Rule').map(ruleOf);
  if (rules.length === 0 || rules.length > rulesMax) throw malformed();
  return rules;
};

/** Destination buckets that a new version of a key, or a delete marker, is copied to. */
export const destinationsOf = (
  rules: readonly ReplicationRule[],
  key: string,
  isDeleteMarker: boolean,
): readonly string[] => [
  ...new Set(
    rules
      .filter(({ isEnabled, prefix }) => isEnabled && key.startsWith(prefix))
      .filter(({ copiesDeleteMarkers }) => !isDeleteMarker || copiesDeleteMarkers)
      .map(({ destination }) => destination),
  ),
];

/** Every object to every one of these buckets; delete markers stay here, as S3's console and current schema have it. */
export const replicationTo = (role: string, buckets: readonly string[]): string => {
  const rules = buckets.map((bucket, index) =>
    tag(
      'Rule',
      text('ID', `to-${bucket}`) +
        tag('Priority', index + 1) +
        tag('Status', 'Enabled') +
        tag('Filter', tag('Prefix', '')) +
        tag('DeleteMarkerReplication', tag('Status', 'Disabled')) +
        tag('Destination', text('Bucket', `arn:aws:s3:::${bucket}`)),
    ),
  );
  return tag('ReplicationConfiguration', text('Role', role) + rules.join(''));
};

export interface Pause {
  readonly bucket: string;
  /** Destination buckets; their regions were resolved by whoever asked. */
  readonly destinations: readonly string[];
  /** Prefixes of the rules it is about; every rule when undefined. */
  readonly prefixes: readonly string[] | undefined;
}

/** Whether a version of this key must not be copied to this destination while the pauses last. */
export const isPaused = (
  pauses: Iterable<Pause>,
  rules: readonly ReplicationRule[],
  copy: { readonly bucket: string; readonly key: string; readonly destination: string },
): boolean => {
  for (const { bucket, destinations, prefixes } of pauses) {
    if (bucket !== copy.bucket || !destinations.includes(copy.destination)) continue;
    const isAbout = ({ destination, prefix }: ReplicationRule): boolean =>
      destination === copy.destination && copy.key.startsWith(prefix) && (prefixes?.includes(prefix) ?? true);
    if (prefixes === undefined || rules.some(isAbout)) return true;
  }
  return false;
};
