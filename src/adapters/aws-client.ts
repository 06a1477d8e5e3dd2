import type { Clock } from '../core/clock.ts';
import { type AwsOptions, callerFor } from './aws-call.ts';
import { createEc2Port } from './ec2.ts';
import { createFisPort } from './fis.ts';
import type { Ports, RdsPort } from './ports.ts';
import { createRdsPort } from './rds.ts';
import { createRoute53Port } from './route53.ts';
import { createS3Port } from './s3-client.ts';

const memoize = <T>(made: Map<string, T>, make: (region: string) => T): ((region: string) => T) => {
  return (region) => {
    const known = made.get(region) ?? make(region);
    made.set(region, known);
    return known;
  };
};

/** The ports on AWS, on the official SDK clients. A client is loaded when it is first called. */
export const createAwsPorts = (
  options: AwsOptions & { readonly clock: Clock },
): Pick<Ports, 'fis' | 'ec2' | 'rds' | 'route53' | 's3'> => {
  const { clock } = options;
  const databases = new Map<string, RdsPort>();
  /** An instance of another region is named by its ARN: it is looked for wherever this process has worked so far. */
  const arnOfInstance = async (instance: string, signal: AbortSignal): Promise<string | undefined> => {
    for (const port of databases.values()) {
      const found = await port.describe(instance, signal);
      if (found !== undefined) return found.arn;
    }
    return undefined;
  };
  // Route 53 is global; its requests are signed for us-east-1.
  const route53 = createRoute53Port(callerFor('Route 53', 'us-east-1', options), clock);
  return {
    fis: memoize(new Map(), (region) => createFisPort(callerFor('FIS', region, options), clock)),
    ec2: memoize(new Map(), (region) => createEc2Port(callerFor('EC2', region, options))),
    rds: memoize(databases, (region) => createRdsPort(callerFor('RDS', region, options), arnOfInstance)),
    route53: () => route53,
    s3: memoize(new Map(), (region) => createS3Port(callerFor('S3', region, options))),
  };
};
