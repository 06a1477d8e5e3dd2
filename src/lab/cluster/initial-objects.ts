import type { LabLayout } from '../layout.ts';
import { type DeploymentObject, initialAnnotation, type PodSpec, type ProbeSpec, zoneLabel } from './objects.ts';
import type { Draft } from './store.ts';

type Region = LabLayout['environment']['regions'][number];
type Workload = 'gateway' | 'orchestrator' | 'rag' | 'llm';
const workloads: readonly Workload[] = ['gateway', 'orchestrator', 'rag', 'llm'];

export const imagePrefix = 'lab.blackstart.dev/';

/** Kubernetes counts in whole seconds of documented time, at least one. */
const seconds = (documentedMs: number): number => Math.max(1, Math.round(documentedMs / 1000));

interface ProbeSettings {
  readonly period: number;
  readonly failures: number;
  readonly timeout: number;
}

/** What Kubernetes uses where a workload says nothing: every 10 s, three failures, one second. */
const usual: ProbeSettings = { period: 10_000, failures: 3, timeout: 1000 };

const probe = (path: string, settings: ProbeSettings): ProbeSpec => ({
  httpGet: { path, port: 'http' },
  periodSeconds: seconds(settings.period),
  failureThreshold: settings.failures,
  timeoutSeconds: seconds(settings.timeout),
});

/** A process that failed its liveness check has nothing to finish: one second, not the pod's whole grace period. */
const livenessGraceSeconds = 1;
const terminationGraceSeconds = 10;

const podSpec = (layout: LabLayout, workload: Workload, zone: string, container: string): PodSpec => {
  const { liveness, readiness } = workload === 'llm' ? layout.settings.llm : { liveness: usual, readiness: usual };
  return {
    // Preferred, not required: what the zone cannot run is run in another zone of the region until it can again.
    affinity: {
      nodeAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 100, preference: { matchExpressions: [{ key: zoneLabel, operator: 'In', values: [zone] }] } },
        ],
      },
    },
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: terminationGraceSeconds,
    containers: [
      {
        name: container,
        image: `${imagePrefix}${workload}:1`,
        livenessProbe: { ...probe('/healthz', liveness), terminationGracePeriodSeconds: livenessGraceSeconds },
        readinessProbe: probe('/readyz', readiness),
      },
    ],
  };
};

/** What a region starts with: a deployment `<workload>-<zone>` for each workload that the environment gives a zone. */
export const initialDeployments = (layout: LabLayout, region: Region): readonly Draft<DeploymentObject>[] =>
  region.zones.flatMap((zone) =>
    workloads.flatMap((workload): Draft<DeploymentObject>[] => {
      const replicas = zone.pods?.[workload] ?? 0;
      if (replicas === 0) return [];
      const container = layout.environment.workloads[workload]?.container ?? workload;
      const labels = { app: workload, 'lab.blackstart.dev/zone': zone.name };
      return [
        {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: {
            name: `${workload}-${zone.name}`,
            namespace: region.kubernetes.namespace,
            generation: 1,
            labels,
            annotations: { [initialAnnotation]: 'true' },
          },
          spec: {
            replicas,
            selector: { matchLabels: labels },
            template: { metadata: { labels }, spec: podSpec(layout, workload, zone.name, container) },
          },
          status: {},
        },
      ];
    }),
  );
