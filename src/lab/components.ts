import type { Component } from './component.ts';

type Load = () => Promise<{ readonly component: Component }>;

const load =
  (file: string): Load =>
  () =>
    import(file);

/** Every kind of process of the lab. Loaded one by one, so that a pod carries the code of its own kind alone. */
export const components: Readonly<Record<string, Load>> = {
  links: load('./links/links.ts'),
  dns: load('./platform/dns.ts'),
  database: load('./database/database.ts'),
  aws: load('./cloud/aws.ts'),
  kubernetes: load('./cluster/kubernetes.ts'),
  'node-agent': load('./cluster/node-agent.ts'),
  balancer: load('./platform/balancer.ts'),
  vector: load('./platform/vector.ts'),
  objects: load('./platform/objects.ts'),
  cache: load('./platform/cache.ts'),
  gateway: load('./platform/gateway.ts'),
  orchestrator: load('./platform/orchestrator.ts'),
  rag: load('./platform/rag.ts'),
  llm: load('./platform/llm.ts'),
  'warm-up': load('./warm-up.ts'),
};
