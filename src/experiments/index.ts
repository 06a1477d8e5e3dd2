import type { Fault } from './fault.ts';
import { databasePromote } from './faults/database-promote/index.ts';
import { podHang } from './faults/pod-hang/index.ts';
import { podKill } from './faults/pod-kill/index.ts';
import { trafficShift } from './faults/traffic-shift/index.ts';

/** Every fault blackstart can inject. Adding one is a folder under `faults/` and a line here. */
export const faults: readonly Fault[] = [databasePromote, podHang, podKill, trafficShift];
