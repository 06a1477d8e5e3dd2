import type { Fault } from './fault.ts';
import { databaseFailover } from './faults/database-failover/index.ts';
import { databasePromote } from './faults/database-promote/index.ts';
import { podHang } from './faults/pod-hang/index.ts';
import { podKill } from './faults/pod-kill/index.ts';
import { regionBlackhole } from './faults/region-blackhole/index.ts';
import { regionPartition } from './faults/region-partition/index.ts';
import { trafficShift } from './faults/traffic-shift/index.ts';
import { vectorDrift } from './faults/vector-drift/index.ts';
import { vectorLose } from './faults/vector-lose/index.ts';
import { zoneBlackhole } from './faults/zone-blackhole/index.ts';

/** Every fault blackstart can inject. Adding one is a folder under `faults/` and a line here. */
export const faults: readonly Fault[] = [
  databaseFailover,
  databasePromote,
  podHang,
  podKill,
  regionBlackhole,
  regionPartition,
  trafficShift,
  vectorDrift,
  vectorLose,
  zoneBlackhole,
];
