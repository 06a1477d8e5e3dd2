import type { Component } from './component.ts';

type Load = () => Promise<{ readonly component: Component }>;

/** Every kind of process of the lab. Loaded one by one, so that a pod carries the code of its own kind alone. */
export const components: Readonly<Record<string, Load>> = {
  links: () => import('./links/links.ts'),
  dns: () => import('./platform/dns.ts'),
  database: () => import('./database/database.ts'),
  aws: () => import('./cloud/aws.ts'),
  kubernetes: () => import('./cluster/kubernetes.ts'),
  'node-agent': () => import('./cluster/node-agent.ts'),
  balancer: () => import('./platform/balancer.ts'),
  vector: () => import('./platform/vector.ts'),
  objects: () => import('./platform/objects.ts'),
  cache: () => import('./platform/cache.ts'),
  gateway: () => import('./platform/gateway.ts'),
  orchestrator: () => import('./platform/orchestrator.ts'),
  rag: () => import('./platform/rag.ts'),
  llm: () => import('./platform/llm.ts'),
  monitoring: () => import('./monitoring/monitoring.ts'),
  'warm-up': () => import('./warm-up.ts'),
};
