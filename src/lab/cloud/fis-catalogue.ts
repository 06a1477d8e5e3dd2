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
  /** A whole number within these bounds. */
  readonly integer?: { readonly min: number; readonly max: number };
}

const minuteMs = 60_000;
const duration: ParameterDescription = {
  description: 'The duration, in ISO 8601 format, from one minute to 12 hours.',
  required: true,
  duration: { minMs: minuteMs, maxMs: 12 * 60 * minuteMs },
};

/** What all actions on EKS pods take; FIS's own pod and its image are of no consequence here. */
const podParameters: Readonly<Record<string, ParameterDescription>> = {
  duration,
  kubernetesServiceAccount: {
    description: 'The Kubernetes service account that runs the FIS pod in the target namespace.',
    required: true,
  },
  fisPodContainerImage: { description: 'The image of the FIS pod.', required: false },
  fisPodLabels: { description: 'Labels of the FIS pod.', required: false },
  fisPodAnnotations: { description: 'Annotations of the FIS pod.', required: false },
  maxErrorsPercent: {
    description: 'Share of targets that may fail.',
    required: false,
    integer: { min: 0, max: 100 },
  },
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
  'aws:eks:pod-network-latency': {
    description: 'Adds latency and jitter to the network interface of the target pods.',
    targets: { Pods: 'aws:eks:pod' },
    parameters: {
      ...podParameters,
      interface: { description: 'The network interfaces. This lab has DEFAULT alone.', required: false },
      delayMilliseconds: {
        description: 'The delay, in milliseconds; 200 when left out.',
        required: false,
        integer: { min: 1, max: 60_000 },
      },
      jitterMilliseconds: {
        description: 'The jitter, in milliseconds; 10 when left out. This lab carries out 0 alone.',
        required: false,
        integer: { min: 0, max: 60_000 },
      },
      flowsPercent: {
        description: 'Share of the flows; 100 when left out. This lab carries out 100 alone.',
        required: false,
        integer: { min: 1, max: 100 },
      },
      sources: { description: 'Sources, or ALL. This lab carries out ALL alone.', required: false },
    },
  },
  'aws:rds:reboot-db-instances': {
    description: 'Runs the Amazon RDS API action RebootDBInstance on the target DB instances.',
    targets: { DBInstances: 'aws:rds:db' },
    parameters: {
      forceFailover: { description: 'Fail over to another zone.', required: false, oneOf: ['true', 'false'] },
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
  'aws:fis:wait': { description: 'Waits.', targets: {}, parameters: { duration } },
};

/** Milliseconds of an ISO 8601 duration of days, hours, minutes and seconds; `undefined` when it is none. */
export const isoDurationMs = (text: string): number | undefined => {
  const found = /^P(?:(\d{1,4})D)?(?:T(?=\d)(?:(\d{1,4})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?$/.exec(text);
  if (found === null || text === 'P') return undefined;
  const [, days = '0', hours = '0', minutes = '0', seconds = '0'] = found;
  return (((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000;
};
