import type { Sample } from '../probes/sample.ts';

/** The baseline and recovery rules of the analysis, followed while the samples come in. */
export interface SteadyState {
  add(sample: Sample): void;
  /** Streams whose baseline lacks probes yet, and those whose baseline cannot hold any more, each with its reason. */
  baseline(): { readonly missing: readonly string[]; readonly failed: readonly string[] };
  /** Real milliseconds a clean baseline takes at least. */
  baselineNeedsMs(): number;
  /** Required streams that have not yet been steady, by the confirmation rule, on probes sent after `sinceMs`. */
  missingSince(sinceMs: number): readonly string[];
}
