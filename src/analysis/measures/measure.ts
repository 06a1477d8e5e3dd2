import { z } from 'zod';
import type { BaselineRow } from '../baseline.ts';
import type { FaultWindow } from '../fault-window.ts';
import type { Stores } from '../ledger/store.ts';
import type { Bracket, RunRecord, StretchedMechanism, Target, Verdict } from '../record.ts';
import type { StreamAnalysis } from '../stream.ts';

/** Everything a measure may look at. It never looks at the world. */
export interface Context {
  readonly record: RunRecord;
  readonly streams: readonly StreamAnalysis[];
  readonly baseline: readonly BaselineRow[];
  /** End of the observation: the last send. */
  readonly endMs: number;
  /** Region of a zone. */
  readonly regionByZone: ReadonlyMap<string, string>;
  /** What became of the writes of all ledgers of one kind. */
  readonly stores: Stores;
}

/** A share with its one-sided 95 % bounds. */
export interface Share {
  readonly estimate: number;
  readonly min: number;
  readonly max: number;
}

/** A number beside the judged one, for people: `unit` says what `value` is. `ms` is real time. */
export interface Figure {
  readonly name: string;
  readonly value: number | string;
  readonly unit: 'ms' | 'share' | 'count' | 'text';
}

interface Beside {
  readonly location?: string | undefined;
  readonly figures?: readonly Figure[];
  readonly notes?: readonly string[];
}

/** One location's part of a duration. */
export interface LocationBracket {
  readonly location: string;
  readonly bracket: Bracket;
}

/** What was observed of a target, before it is judged. All durations are real. */
export type Measured =
  | (Beside & {
      readonly kind: 'duration';
      readonly bracket: Bracket;
      readonly locations?: readonly LocationBracket[];
      /** False while the end that was seen is not confirmed to last. Default true. */
      readonly confirmed?: boolean;
      /** An outage of up to this may hide in time that nobody could see. */
      readonly hiddenMs?: number;
      /** What the platform waited for in it: in a scaled lab its time-outs may be longer than scaled. */
      readonly waitsFor?: readonly StretchedMechanism[];
    })
  | (Beside & {
      readonly kind: 'share';
      readonly share: Share;
      readonly of: number;
      /** Why it passes although its bracket straddles the bound, where the promise itself allows for an error. */
      readonly accepted?: string;
    })
  | (Beside & { readonly kind: 'count'; readonly count: number; readonly of: string; readonly proven?: string | false })
  | (Beside & {
      readonly kind: 'judged';
      readonly verdict: Exclude<Verdict, 'NOT MEASURED'>;
      readonly reason: string;
      readonly bracket?: Bracket;
    })
  | { readonly kind: 'none'; readonly reason: string };

export type Bound = 'max' | 'minShare' | 'maxShare' | 'maxCount' | 'none';

export interface MeasureDefinition<Params extends z.ZodType> {
  /** Name in targets.yaml. */
  readonly name: string;
  readonly summary: string;
  readonly params: Params;
  /** Which bound a row of this measure must give. */
  readonly bound: Bound;
  /** Called only when a fault was shown to bite. */
  measure(params: z.output<Params>, context: Context, fault: FaultWindow, target: Target): Measured;
}

/** A measure with its types closed over: parameters are parsed at its edge. */
export type Measure = MeasureDefinition<z.ZodType>;

export const defineMeasure = <Params extends z.ZodType>(measure: MeasureDefinition<Params>): Measure => ({
  ...measure,
  measure: (params, context, fault, target) => measure.measure(measure.params.parse(params), context, fault, target),
});

export const none = (reason: string): Measured => ({ kind: 'none', reason });

/** `undefined` rather than an empty list of figures. */
export const figure = (name: string, value: number | string, unit: Figure['unit']): Figure => ({ name, value, unit });

/** Parameter that names a probe kind. */
export const probeParam = (kind: string) => z.string().min(1).default(kind);
