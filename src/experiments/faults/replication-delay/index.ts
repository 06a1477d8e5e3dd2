import { z } from 'zod';
import { durationMs } from '../../../core/duration.ts';
import { defineFault } from '../../fault.ts';
import { carriedOnHosts, hostUndoSchema } from '../hosts.ts';
import { networkCommand, planReplica } from '../replication-host.ts';

const name = 'replication.delay';

const params = z.strictObject({
  region: z
    .string()
    .default('failover')
    .meta({ description: 'failover, or the name of a region whose database is a replica.' }),
  delay: durationMs.default(30_000).meta({ description: 'Documented time, one way, on top of the usual one.' }),
});

/** What a replica shows, and would have if it took over, lies further back. */
export const replicationDelay = defineFault({
  ...carriedOnHosts<z.output<typeof params>>({
    fault: name,
    inForce: 'running',
    does: ({ host }) => `delays what comes to ${host} from its source`,
    command: ({ delay }, undo, context) =>
      networkCommand(
        'AWSFIS-Run-Network-Latency-Sources',
        { DelayMilliseconds: String(Math.round(delay)) },
        undo,
        context,
      ),
  }),
  name,
  summary: "Delays PostgreSQL's log on its way to a replica, on the replica's host.",
  params,
  undo: hostUndoSchema,
  expiry: 'the duration of the FIS experiment and of the command on the host; the stop alarm; the safety lever',
  plan: ({ region }, context) => planReplica(region, context),
});
