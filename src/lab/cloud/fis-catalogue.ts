/** FIS actions the lab carries out (AWS FIS User Guide, "AWS FIS Actions reference"). */
export interface ActionDescription {
  readonly description: string;
  /** Slot name → resource type. */
  readonly targets: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, ParameterDescription>>;
}

export interface ParameterDescription {
  readonly description: string;
  readonly required: boolean;
  /** ISO 8601, within these bounds. */
  readonly duration?: { readonly minMs: number; readonly maxMs: number };
  readonly oneOf?: readonly string[];
}

const minuteMs = 60_000;
const duration: ParameterDescription = {
  description: 'The duration, in ISO 8601 format, from one minute to 12 hours.',
  required: true,
  duration: { minMs: minuteMs, maxMs: 12 * 60 * minuteMs },
};

export const actionCatalogue: Readonly<Record<string, ActionDescription>> = {
  'aws:network:disrupt-connectivity': {
    description: 'Denies the specified traffic to the target subnets.',
    targets: { Subnets: 'aws:ec2:subnet' },
    parameters: {
      duration,
      scope: {
        description: 'The type of traffic to deny. This lab carries out "all" alone.',
        required: true,
        oneOf: ['all', 'availability-zone', 'dynamodb', 'prefix-list', 's3', 's3express', 'vpc'],
      },
      prefixListIdentifier: { description: 'The prefix list, when the scope is prefix-list.', required: false },
    },
  },
  'aws:network:route-table-disrupt-cross-region-connectivity': {
    description: 'Blocks traffic that originates in the target subnets and is destined for the specified Region.',
    targets: { Subnets: 'aws:ec2:subnet' },
    parameters: { duration, region: { description: 'The code of the Region to isolate.', required: true } },
  },
  'aws:rds:reboot-db-instances': {
    description: 'Runs the Amazon RDS API action RebootDBInstance on the target DB instances.',
    targets: { DBInstances: 'aws:rds:db' },
    parameters: {
      forceFailover: { description: 'Fail over to another zone.', required: false, oneOf: ['true', 'false'] },
    },
  },
  'aws:ssm:send-command': {
    description: 'Runs the Systems Manager API action SendCommand on the target EC2 instances.',
    targets: { Instances: 'aws:ec2:instance' },
    parameters: {
      documentArn: { description: 'The ARN of the document.', required: true },
      documentParameters: { description: 'The parameters of the document, as a JSON object.', required: false },
      documentVersion: { description: 'The version of the document.', required: false },
      duration,
    },
  },
  'aws:s3:bucket-pause-replication': {
    description: 'Pauses replication from the target source buckets to destination buckets.',
    targets: { Buckets: 'aws:s3:bucket' },
    parameters: {
      duration,
      region: { description: 'The Region of the destination buckets.', required: true },
      destinationBuckets: { description: 'Destination buckets, separated by commas.', required: false },
      prefixes: { description: 'Prefixes of the replication rules to pause, separated by commas.', required: false },
    },
  },
  'aws:fis:wait': { description: 'Waits.', targets: {}, parameters: { duration } },
};

/** Milliseconds of an ISO 8601 duration of days, hours, minutes and seconds; `undefined` when it is none. */
export const isoDurationMs = (text: string): number | undefined => {
  const found = /^P(?:(\d{1,4})D)?(?:T(?=\d)(?:(\d{1,4})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?$/.exec(text);
  if (found === null || text === 'P') return undefined;
  const [, days = '0', hours = '0', minutes = '0', seconds = '0'] = found;
  return (((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000;
};
