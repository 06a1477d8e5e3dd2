import type { LabLayout } from './layout.ts';

/** What the lab really did, for tests alone: the product never reads it. One JSONL line in `<stateDir>/truth.jsonl`. */
export interface Truth {
  /** Machine-wide monotonic milliseconds, taken right at the act. */
  readonly atMs: number;
  /**
   * `link.rule-added`, `link.rule-removed`, `process.started`, `process.exited`, `process.signalled`,
   * `database.promoted`, `dns.answer-changed`, `health.changed`, `balancer.target-changed`…
   */
  readonly event: string;
  readonly subject: string;
  readonly [detail: string]: unknown;
}

export interface ComponentContext {
  readonly layout: LabLayout;
  /** This component's own arguments, from whoever started it. */
  readonly options: Readonly<Record<string, string>>;
  /** Aborts when the component must stop: asked to, or its parent is gone. */
  readonly signal: AbortSignal;
  /** One line into this component's log file. */
  log(line: string): void;
  /** `detail.atMs` replaces the instant of the call when the act itself was earlier. */
  truth(event: string, subject: string, detail?: Record<string, unknown>): void;
  /**
   * Work that must finish before the process exits, such as stopping a server of somebody else's; the last registered
   * goes first, all together get `stopGraceMs`. A component that registers nothing exits at once when its signal
   * aborts. Absent when a component runs inside a test.
   */
  onStop?(work: () => Promise<void>): void;
}

/** What a component may take to stop, real milliseconds, before its process ends regardless. */
export const stopGraceMs = 5000;

/** A part of the lab that runs as an operating-system process of its own. */
export interface Component {
  readonly kind: string;
  /** Resolves once it is ready to serve, with what its parent should know (such as the port a pod listens on). */
  start(context: ComponentContext): Promise<Record<string, string | number>>;
}
