import type { DBInstance } from '@aws-sdk/client-rds';
import { BlackstartError } from '../core/errors.ts';
import { AwsCallError, type AwsCaller, lazily, unless } from './aws-call.ts';
import type { DatabaseInstance, RdsPort } from './ports.ts';

const notFound = ['DBInstanceNotFound', 'DBInstanceNotFoundFault'];
const alreadyExists = ['DBInstanceAlreadyExists', 'DBInstanceAlreadyExistsFault'];

/** Instances of other regions are named by ARN. */
const idOf = (name: string): string => (name.startsWith('arn:') ? (name.split(':').at(-1) ?? name) : name);

const instanceOf = (instance: DBInstance): DatabaseInstance => ({
  id: instance.DBInstanceIdentifier ?? '',
  arn: instance.DBInstanceArn ?? '',
  status: instance.DBInstanceStatus ?? '',
  zone: instance.AvailabilityZone ?? '',
  secondaryZone: instance.SecondaryAvailabilityZone ?? null,
  multiZone: instance.MultiAZ === true,
  endpoint: instance.Endpoint?.Address ?? '',
  source:
    instance.ReadReplicaSourceDBInstanceIdentifier === undefined
      ? null
      : idOf(instance.ReadReplicaSourceDBInstanceIdentifier),
  replicas: (instance.ReadReplicaDBInstanceIdentifiers ?? []).map(idOf),
});

/** `sourceArn` finds the ARN of an instance of any region; see `createReplica`. */
export const createRdsPort = (
  caller: AwsCaller,
  sourceArn: (instance: string, signal: AbortSignal) => Promise<string | undefined>,
): RdsPort => {
  const load = lazily(async () => {
    const sdk = await import('@aws-sdk/client-rds');
    return { sdk, client: new sdk.RDSClient(caller.config) };
  });

  return {
    async describe(instance, signal) {
      const { sdk, client } = await load();
      const command = new sdk.DescribeDBInstancesCommand({ DBInstanceIdentifier: instance });
      const found = await unless(
        notFound,
        caller.call('DescribeDBInstances', signal, (options) => client.send(command, options)),
      );
      const [first] = found?.DBInstances ?? [];
      return first === undefined ? undefined : instanceOf(first);
    },

    async failover(instance, signal) {
      const { sdk, client } = await load();
      const command = new sdk.RebootDBInstanceCommand({ DBInstanceIdentifier: instance, ForceFailover: true });
      await caller.call('RebootDBInstance', signal, (options) => client.send(command, options));
    },

    async start(instance, signal) {
      const { sdk, client } = await load();
      const command = new sdk.StartDBInstanceCommand({ DBInstanceIdentifier: instance });
      await caller.call('StartDBInstance', signal, (options) => client.send(command, options));
    },

    async promote(instance, signal) {
      const { sdk, client } = await load();
      const command = new sdk.PromoteReadReplicaCommand({ DBInstanceIdentifier: instance });
      await caller.call('PromoteReadReplica', signal, (options) => client.send(command, options));
    },

    async createReplica(instance, source, signal) {
      const { sdk, client } = await load();
      const command = new sdk.CreateDBInstanceReadReplicaCommand({
        DBInstanceIdentifier: instance,
        SourceDBInstanceIdentifier: (await sourceArn(source, signal)) ?? source,
      });
      try {
        await caller.call('CreateDBInstanceReadReplica', signal, (options) => client.send(command, options));
      } catch (error) {
        if (!(error instanceof AwsCallError && alreadyExists.includes(error.awsCode))) throw error;
        throw new BlackstartError(
          'INJECT_FAILED',
          `${instance} in ${caller.region} exists, so it cannot be created as a replica of ${source}`,
          'RDS turns no instance into a replica: rename or delete the old one first, which is a decision for a person.',
          { cause: error },
        );
      }
    },
  };
};
