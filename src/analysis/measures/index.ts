import { cacheRebalance } from './cache.ts';
import { dataLost } from './data-lost.ts';
import { databaseFailover } from './database-failover.ts';
import { dnsRemoval } from './dns-removal.ts';
import { drainBack } from './drain-back.ts';
import { failback } from './failback.ts';
import { goodput, throughputLoss } from './goodput.ts';
import { hands } from './hands.ts';
import { healthPeriod } from './health-period.ts';
import { latency } from './latency.ts';
import type { Measure } from './measure.ts';
import { notYet } from './not-yet.ts';
import { onePrimary } from './one-primary.ts';
import { outage } from './outage.ts';
import { podDetection, replacement, retryDelay } from './pods.ts';
import { promotion } from './promotion.ts';
import { quorum } from './quorum.ts';
import { readOnly } from './read-only.ts';
import { recoveryPoint } from './recovery-point.ts';
import { residency } from './residency.ts';
import { route } from './route.ts';
import { scaleOut } from './scale-out.ts';
import { servedShare } from './served-share.ts';
import { serves } from './serves.ts';
import { fenced, singleWriter } from './split-brain.ts';
import { switchErrors } from './switch-errors.ts';
import { undelete } from './undelete.ts';
import { visibilityLag } from './visibility-lag.ts';

/** Every way a documented number is computed from a record. Adding one is a file and a line here. */
export const measures: readonly Measure[] = [
  outage,
  databaseFailover,
  goodput,
  throughputLoss,
  servedShare,
  scaleOut,
  hands,
  drainBack,
  dnsRemoval,
  promotion,
  switchErrors,
  latency,
  failback,
  onePrimary,
  podDetection,
  retryDelay,
  replacement,
  healthPeriod,
  route,
  serves,
  cacheRebalance,
  undelete,
  dataLost,
  recoveryPoint,
  visibilityLag,
  singleWriter,
  fenced,
  residency,
  quorum,
  readOnly,
  notYet,
];
