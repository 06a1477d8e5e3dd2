import { alertsObserver } from './alerts.ts';
import { cacheObserver } from './cache.ts';
import { kubernetesObserver } from './kubernetes.ts';
import type { Observer } from './observer.ts';
import { rdsObserver } from './rds.ts';
import { route53Observer } from './route53.ts';
import { vectorObserver } from './vectors.ts';

/** Everything that watches the platform during a run. Adding one is a file and a line here. */
export const observers: readonly Observer[] = [
  kubernetesObserver,
  rdsObserver,
  route53Observer,
  cacheObserver,
  alertsObserver,
  vectorObserver,
];
