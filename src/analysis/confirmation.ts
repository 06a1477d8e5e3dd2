import type { Blind, Sample, Stream } from '../probes/sample.ts';
import {
  type BaselineRow,
  baselineNeedsMs,
  type CarriedBaseline,
  createBaselineCounter,
  judgeBaseline,
} from './baseline.ts';
import { createTracker, type Tracker } from './tracker.ts';
import { defaultLimits, type Limits, type Look, singleLook, type Window } from './window.ts';

/** A window that stands in while a baseline is too short to fix one; for the opening rule alone. */
const anyWindow: Window = singleLook({ probes: 628, toleratedBad: 2, toleratedLate: 22 });

/**
 * Probes may turn out blind when the record is read afterwards: a run counts only this share of its baseline, and waits
 * for a little more than the window, so that what it took for confirmed still is.
 */
const baselineDiscount = 0.9;
const windowMargin = { share: 0.05, probes: 10 };

interface Followed {
  readonly stream: Stream;
  readonly sentMs: number[];
  /** 0 good, 1 slow, 2 bad. */
  readonly outcomes: number[];
  readonly baseline: ReturnType<typeof createBaselineCounter>;
}

/** A tracker of one stream, and the next sample that it has not seen. */
interface Following {
  readonly tracker: Tracker;
  next: number;
}

interface Since extends Following {
  readonly sinceMs: number;
}

export interface Progress {
  readonly stream: string;
  readonly state: 'up' | 'down' | 'confirming';
  readonly probes: number;
  readonly needed: number;
}

/**
 * The baseline gate and the confirmation rule, followed while samples come in (those of one stream in send order). The
 * analysis of the finished record decides; this says when there is enough of it.
 */
export const createConfirmation = (
  streams: readonly Stream[],
  limits: Limits = defaultLimits,
  carried: readonly CarriedBaseline[] = [],
): {
  add(sample: Sample): void;
  /** Probes that touch it are no evidence. One that comes later than the probe it touches is left to the margins. */
  addBlind(blind: Blind): void;
  /** The baseline of each required stream, on all samples so far. */
  baseline(): readonly BaselineRow[];
  baselineNeedsMs(): number;
  /** Fixes the windows from the baseline so far: to be called when it holds; the last call before the fault counts. */
  fixWindows(): void;
  /** How far each required stream is from being steady on probes sent after `sinceMs`; `up` is confirmed. */
  progressSince(sinceMs: number): readonly Progress[];
} => {
  const required = streams.filter((stream) => stream.required);
  const followed = new Map<string, Followed>(
    required.map((stream) => [stream.stream, { stream, sentMs: [], outcomes: [], baseline: createBaselineCounter() }]),
  );
  const since = new Map<string, Since>();
  const whole = new Map<string, Following>();
  const blindness = new Map<string, Blind[]>();
  let windows: ReadonlyMap<string, Window> | undefined;
  let counting = true;

  const baseline = (): readonly BaselineRow[] =>
    judgeBaseline(
      [...followed.values()].map((one) => ({ stream: one.stream, ...one.baseline.counts() })),
      limits,
      baselineDiscount,
      carried,
    );

  const fixWindows = (): void => {
    whole.clear();
    windows = new Map(baseline().map((row) => [row.stream.stream, withMargin(row.window ?? anyWindow)]));
  };

  const progressOf = (one: Followed, sinceMs: number, window: Window): Progress => {
    const key = one.stream.stream;
    let state = since.get(key);
    if (state?.sinceMs !== sinceMs) {
      state = { sinceMs, tracker: createTracker(window, true), next: firstAfter(one.sentMs, sinceMs) };
      since.set(key, state);
    }
    catchUp(one, state);
    // The analysis follows an outage from its beginning: it must be over by that count too, whenever it was asked for.
    const all = whole.get(key) ?? { tracker: createTracker(window), next: 0 };
    whole.set(key, all);
    catchUp(one, all);
    const asked = state.tracker.progress();
    const overall = all.tracker.progress();
    return { stream: key, ...(asked.state === 'up' ? overall : asked) };
  };

  return {
    add(sample) {
      const one = followed.get(sample.stream);
      if (one === undefined || sample.outcome === 'dropped') return;
      if (blindness.get(one.stream.sender)?.some((blind) => touches(blind, sample))) return;
      const outcome = sample.outcome === 'good' ? 0 : sample.outcome === 'slow' ? 1 : 2;
      one.sentMs.push(sample.sentMs);
      one.outcomes.push(outcome);
      if (counting) one.baseline.push(sample.outcome);
    },
    addBlind(blind) {
      const known = blindness.get(blind.sender) ?? [];
      known.push(blind);
      if (known.length > blindKept) known.shift();
      blindness.set(blind.sender, known);
    },
    baseline,
    baselineNeedsMs: () => baselineNeedsMs(required, limits, baselineDiscount, carried),
    fixWindows,
    progressSince(sinceMs) {
      if (windows === undefined) fixWindows();
      counting = false;
      return [...followed.values()].map((one) =>
        progressOf(one, sinceMs, windows?.get(one.stream.stream) ?? withMargin(anyWindow)),
      );
    },
  };
};

const catchUp = ({ outcomes }: Followed, following: Following): void => {
  for (; following.next < outcomes.length; following.next += 1) {
    const outcome = outcomes[following.next] ?? 0;
    following.tracker.push(following.next, outcome === 0, outcome === 2);
  }
};

/** Stretches of blind time that are remembered per location: probes come within seconds of them. */
const blindKept = 100;

const touches = (blind: Blind, { sentMs, endedMs }: Sample): boolean =>
  (sentMs >= blind.fromMs && sentMs < blind.toMs) || (endedMs >= blind.fromMs && endedMs <= blind.toMs);

const lookWithMargin = (look: Look): Look => ({
  ...look,
  probes: Math.ceil(look.probes * (1 + windowMargin.share)) + windowMargin.probes,
});

const withMargin = ({ looks: [first, ...more] }: Window): Window => ({
  looks: [lookWithMargin(first), ...more.map(lookWithMargin)],
});

/** Index of the first send after an instant, in ascending sends. */
const firstAfter = (sentMs: readonly number[], atMs: number): number => {
  let low = 0;
  let high = sentMs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sentMs[middle] ?? 0) > atMs) high = middle;
    else low = middle + 1;
  }
  return low;
};

/** What a run asks of its samples while they come in. */
export const createSteadyState = (
  streams: readonly Stream[],
  limits: Limits = defaultLimits,
  carried: readonly CarriedBaseline[] = [],
) => {
  const confirmation = createConfirmation(streams, limits, carried);
  return {
    add: confirmation.add,
    addBlind: confirmation.addBlind,
    /** Streams whose baseline lacks probes yet, and those whose baseline cannot hold any more, each with its reason. */
    baseline(): { readonly missing: readonly string[]; readonly failed: readonly string[] } {
      const rows = confirmation.baseline();
      if (rows.every((row) => row.failed === undefined && row.missing === undefined)) confirmation.fixWindows();
      return {
        failed: rows.flatMap((row) => (row.failed === undefined ? [] : [`${row.stream.stream}: ${row.failed}`])),
        missing: rows.flatMap((row) =>
          row.failed !== undefined || row.missing === undefined ? [] : [`${row.stream.stream}: ${row.missing}`],
        ),
      };
    },
    baselineNeedsMs: confirmation.baselineNeedsMs,
    /** Required streams that are not confirmed to be steady on probes sent after `sinceMs`, each with how far it is. */
    missingSince: (sinceMs: number): readonly string[] =>
      confirmation
        .progressSince(sinceMs)
        .flatMap(({ stream, state, probes, needed }) =>
          state === 'up' ? [] : [`${stream} (${state === 'down' ? 'down' : `${probes} of ${needed} probes`})`],
        ),
  };
};
