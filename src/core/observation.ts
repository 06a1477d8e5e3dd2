import { z } from 'zod';

/**
 * Something that happened at an instant nobody could see exactly: between `minMs` (last look before) and `maxMs` (first
 * look after), on the machine's monotonic clock.
 */
export const observationSchema = z.strictObject({
  name: z.enum([
    'fault.effective', // inject call … verified to bite
    'fault.reverted', // revert call … verified to be back
    'pod.deleted', // subject: pod
    'pod.not-ready', // subject: pod; out of rotation
    'pod.ready', // subject: pod; data.replaces names the pod or container it stands in for
    'pod.restarted', // subject: pod
    'replicas.changed', // subject: zone; data.ready
    'health.failed', // subject: region; the health check that steers DNS turned unhealthy (detection)
    'health.restored', // subject: region
    'health.checked', // subject: region; data: per checker the instants of its checks, with what it said then
    'zone.removed', // subject: zone, no longer among the DNS answers
    'zone.restored', // subject: zone
    'route.changed', // subject: client location; data.from, data.to are regions
    'database.unavailable', // subject: instance
    'database.failover', // subject: instance; data.zone is the writer's new zone
    'database.elected', // the same of a database whose standby in another region takes over by itself
    'database.available', // subject: instance
    'cache.unserved', // subject: the node that took writes until then; no write of the cache is taken any more
    'cache.served', // subject: the node that takes writes
    'alert.watched', // the alerting was reached from this instant on; data.firing names what fired then
    'alert.unseen', // it could not be asked in between: what fired and ended there, nobody saw
    'alert.fired', // subject: name of the alert; data.receiver, data.labels, data.description
    'alert.resolved', // subject: name of the alert
    'vector.recall', // subject: region; data.found of data.of documents are found by their own vectors
    'vector.rebuilt', // subject: region; data.from, and when the state was taken that was loaded: data.takenMs
    'vector.diverged', // subject: region; its copy holds something else than its source did
    'vector.converged', // subject: region; data.by is the kind of the last sync
    'redundancy.restored', // subject: instance or workload
    'decision', // subject: step; data.by is person or auto
    'step.started', // subject: step
    'step.finished', // subject: step
    'hands.needed', // subject: what a person had to do
  ]),
  subject: z.string(),
  minMs: z.number(),
  maxMs: z.number(),
  /** Who saw it: kubernetes, rds, route53, redis, alertmanager, vector-store, dns, links, runner. */
  source: z.string(),
  data: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).default({}),
});
export type Observation = z.output<typeof observationSchema>;
