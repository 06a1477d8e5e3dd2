import type { Fault } from './fault.ts';
import { databaseFailover } from './faults/database-failover/index.ts';
import { databaseKill } from './faults/database-kill/index.ts';
import { databasePromote } from './faults/database-promote/index.ts';
import { objectDelete } from './faults/object-delete/index.ts';
import { podHang } from './faults/pod-hang/index.ts';
import { podKill } from './faults/pod-kill/index.ts';
import { regionBlackhole } from './faults/region-blackhole/index.ts';
import { regionPartition } from './faults/region-partition/index.ts';
import { replicationDelay } from './faults/replication-delay/index.ts';
import { replicationPause } from './faults/replication-pause/index.ts';
import { trafficShift } from './faults/traffic-shift/index.ts';
import { zoneBlackhole } from './faults/zone-blackhole/index.ts';

/** Every fault blackstart can inject. Adding one is a folder under `faults/` and a line here. */
export const faults: readonly Fault[] = [
  databaseFailover,
  databaseKill,
  databasePromote,
  objectDelete,
  podHang,
  podKill,
  regionBlackhole,
  regionPartition,
  replicationDelay,
  replicationPause,
  trafficShift,
  zoneBlackhole,
];
