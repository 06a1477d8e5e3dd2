import type { Experiment } from './fis-experiments.ts';
import type { StopCondition, TemplateAction, TemplateTarget } from './fis-template.ts';
import type { Tags } from './world.ts';

export interface Template {
  readonly id: string;
  readonly arn: string;
  readonly description: string;
  readonly roleArn: string;
  readonly targets: Readonly<Record<string, TemplateTarget>>;
  readonly actions: Readonly<Record<string, TemplateAction>>;
  readonly stopConditions: readonly StopCondition[];
  readonly tags: Tags;
  readonly logConfiguration: unknown;
  readonly options: {
    readonly accountTargeting: 'single-account' | 'multi-account';
    readonly emptyTargetResolutionMode: 'fail' | 'skip';
  };
  readonly creationTime: number;
}

export type LeverStatus = 'disengaged' | 'engaging' | 'engaged';

/** What FIS keeps in one region. */
export interface RegionState {
  readonly templates: Map<string, Template>;
  readonly experiments: Map<string, Experiment>;
  /** Client token of a create or start call → what it was for, and what it made. */
  readonly tokens: Map<string, { readonly body: string; readonly id: string }>;
  lever: { status: LeverStatus; reason: string };
}

export const newRegionState = (): RegionState => ({
  templates: new Map(),
  experiments: new Map(),
  tokens: new Map(),
  lever: { status: 'disengaged', reason: 'The safety lever has never been engaged.' },
});

export const templateJson = (template: Template) => ({
  id: template.id,
  arn: template.arn,
  description: template.description,
  targets: template.targets,
  actions: template.actions,
  stopConditions: template.stopConditions,
  creationTime: template.creationTime,
  lastUpdateTime: template.creationTime,
  roleArn: template.roleArn,
  tags: template.tags,
  logConfiguration: template.logConfiguration,
  experimentOptions: template.options,
  targetAccountConfigurationsCount: 0,
});

export const templateSummary = ({ id, arn, description, creationTime, tags }: Template) => ({
  id,
  arn,
  description,
  creationTime,
  lastUpdateTime: creationTime,
  tags,
});

export const experimentJson = (experiment: Experiment) => ({
  id: experiment.id,
  arn: experiment.arn,
  experimentTemplateId: experiment.experimentTemplateId,
  roleArn: experiment.roleArn,
  state: experiment.state,
  targets: experiment.targets,
  actions: experiment.actions,
  stopConditions: experiment.stopConditions,
  creationTime: experiment.creationTime,
  startTime: experiment.startTime,
  endTime: experiment.endTime,
  tags: experiment.tags,
  experimentOptions: experiment.options,
  targetAccountConfigurationsCount: 0,
});

export const experimentSummary = ({
  id,
  arn,
  experimentTemplateId,
  state,
  creationTime,
  tags,
  options,
}: Experiment) => ({
  id,
  arn,
  experimentTemplateId,
  state,
  creationTime,
  tags,
  experimentOptions: options,
});
