import type { Target } from '../analysis/record.ts';
import type { Phase } from './phase.ts';
import type { FaultUse } from './plan.ts';

/** One probe of a scenario, its locations resolved. Its own durations are real time: they belong to the instrument. */
export interface ProbeUse {
  readonly name: string;
  readonly probe: string;
  readonly locations: readonly string[];
  readonly everyMs: number;
  readonly timeoutMs: number;
  readonly slowAfterMs: number;
  readonly connection: 'fresh' | 'kept';
  readonly required: boolean;
  readonly with: Readonly<Record<string, unknown>>;
}

/** What experiments and drills have in common, checked and resolved against an environment and its targets. */
export interface Scenario {
  readonly kind: 'experiment' | 'drill' | 'check';
  readonly name: string;
  readonly title: string;
  /** Documented milliseconds the steady state must hold before anything is injected. */
  readonly steadyForMs: number;
  readonly probes: readonly ProbeUse[];
  /** e_SLO of the confirmation rule: the largest share of errors a recovered service may have. */
  readonly errorsMax: number;
  readonly targets: readonly Target[];
  /** The document as it was read, for the journal. */
  readonly source: unknown;
}

/** A fault of an experiment, and how long it is left in place. Durations are documented milliseconds. */
export interface ExperimentFault extends FaultUse {
  readonly holdMs: number | 'until-recovered';
  /** It lasts so long even if the service recovers sooner. */
  readonly atLeastMs: number;
  readonly phase: Phase;
}

export interface DrillStep {
  readonly step: string;
  readonly title: string | undefined;
  readonly with: Readonly<Record<string, unknown>>;
}
