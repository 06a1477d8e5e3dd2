import type { Observation } from '../core/observation.ts';
import type { LedgerLine } from '../probes/ledger/line.ts';
import type { Blind, InstrumentRecord, Sample, Stream } from '../probes/sample.ts';
import type { CarriedBaseline } from './baseline.ts';
import type { Window } from './window.ts';

/**
 * Everything analysis is a function of: read from the run's folder, never from the world. All instants are milliseconds
 * on the machine's monotonic clock; durations are real, not documented, until a target is judged.
 */
export interface RunRecord {
  readonly run: {
    readonly id: string;
    /** Experiment or drill name. */
    readonly name: string;
    readonly title: string;
    readonly environment: string;
    readonly timeScale: number;
    readonly seed: number;
    /** ISO instant of the origin, and the same instant on the monotonic clock. */
    readonly startedAt: string;
    readonly originMs: number;
    readonly versions: Readonly<Record<string, string>>;
    /** `observe` measures outages that somebody else causes, `check` the steady state alone. Default experiment. */
    readonly kind?: 'experiment' | 'drill' | 'check' | 'observe';
  };
  readonly streams: readonly Stream[];
  /** Per stream, in send order. */
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
  readonly blind: readonly Blind[];
  readonly instrument: readonly InstrumentRecord[];
  /** Per stream that is a ledger: its attempts and reads, as they happened. */
  readonly ledgers: ReadonlyMap<string, readonly LedgerLine[]>;
  readonly observations: readonly Observation[];
  readonly faults: readonly InjectedFault[];
  readonly phases: readonly { readonly name: string; readonly startMs: number; readonly endMs: number | null }[];
  readonly undo: {
    readonly armed: number;
    readonly reverted: number;
    readonly outstanding: readonly { readonly fault: string; readonly target: string; readonly reason: string }[];
  };
  /** Rows of targets.yaml that the experiment covers. */
  readonly targets: readonly Target[];
  /** Facts that a target may need and that no sample carries, by name, such as `settled.<instance>`. */
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  /** What the environment file says of places; routes and findings need it. */
  readonly places?: Places;
  /** What a scaled lab adds to a duration that includes a mechanism's time-outs; nothing elsewhere. */
  readonly stretches?: Readonly<Partial<Record<StretchedMechanism, Stretch>>>;
  /** Baselines of the runs that this one followed at once. */
  readonly carried?: readonly CarriedBaseline[];
  /** The confirmation rule, where it is not the default one. */
  readonly confirmation?: {
    /** e_SLO: largest share of errors a recovered service may have. */
    readonly errorsMax?: number;
    /** A window that was fixed otherwise than by the baseline, as `observe` has it. */
    readonly window?: Window;
  };
  /** Why the run ended before it was measured, if it did. */
  readonly ended: { readonly reason: 'finished' | 'aborted' | 'failed'; readonly message: string | null };
}

/** Mechanisms of a platform that wait for time-outs before they act. */
export type StretchedMechanism = 'health-checks' | 'liveness' | 'database-checks' | 'first-token';

/**
 * Real work sets a floor under a lab's time-outs; below it they are longer than the time scale says, and so is whatever
 * waits for them.
 */
export interface Stretch {
  /** Real milliseconds by which the mechanism may take longer than scaled. */
  readonly maxMs: number;
  /** Largest time scale at which it adds nothing. */
  readonly scale: number;
}

export interface Places {
  readonly regions: readonly { readonly name: string; readonly zones: readonly string[] }[];
  readonly clients: readonly { readonly name: string; readonly prefers: readonly string[] }[];
}

export interface InjectedFault {
  readonly fault: string;
  readonly target: string;
  /** t0: [inject call started, verified to bite]; `null` when it was never shown to bite. */
  readonly effective: { readonly minMs: number; readonly maxMs: number } | null;
  /** Revert [call started, verified to be back]; `null` while it is not. */
  readonly reverted: { readonly minMs: number; readonly maxMs: number } | null;
}

/** One documented promise: a row of targets.yaml. Durations are documented milliseconds. */
export interface Target {
  readonly id: string;
  readonly promise: string;
  /** The bound as the documentation words it. */
  readonly text: string;
  readonly source: string;
  /** Name of a registered measure, which says how the observed figure is computed from the record. */
  readonly measure: string;
  readonly with: Readonly<Record<string, string | number | boolean>>;
  readonly maxMs?: number;
  readonly minShare?: number;
  readonly maxShare?: number;
  readonly maxCount?: number;
  /** Other documented numbers for the same thing, judged and reported beside it (contradictions are not hidden). */
  readonly also?: readonly { readonly text: string; readonly maxMs: number; readonly source: string }[];
  /** Contradictions of the documentation that bear on this row. */
  readonly contradictions?: readonly string[];
}

export type Verdict = 'PASS' | 'FAIL' | 'INCONCLUSIVE' | 'NOT MEASURED';
export type RunVerdict = 'PASS' | 'FAIL' | 'INCONCLUSIVE' | 'VOID';

/** A duration with its error. `maxMs` may be infinite (never seen to end). */
export interface Bracket {
  readonly estimateMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}
