import type { Step } from './step.ts';
import { askPerson } from './steps/ask-person.ts';
import { failBack } from './steps/fail-back.ts';
import { hold } from './steps/hold.ts';
import { holdTraffic } from './steps/hold-traffic.ts';
import { inject } from './steps/inject.ts';
import { pointDatabase } from './steps/point-database.ts';
import { promote } from './steps/promote.ts';
import { resync } from './steps/resync.ts';
import { revert } from './steps/revert.ts';
import { shiftTraffic } from './steps/shift-traffic.ts';
import { verify } from './steps/verify.ts';
import { waitDetected } from './steps/wait-detected.ts';

/** Every step a drill may have. Adding one is a file under `steps/` and a line here. */
export const steps: readonly Step[] = [
  askPerson,
  failBack,
  hold,
  holdTraffic,
  inject,
  pointDatabase,
  promote,
  resync,
  revert,
  shiftTraffic,
  verify,
  waitDetected,
];
