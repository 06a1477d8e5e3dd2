import { type DefaultRenderer, Listr, type ListrTaskWrapper, type SimpleRenderer } from 'listr2';
import type { Clock } from '../core/clock.ts';
import { formatDuration } from '../core/duration.ts';
import type { LiveEvent } from '../experiments/running.ts';

/** Draws a run while it goes on. It only draws: nothing it does or fails to do steers the run. */
export interface Drawing {
  live(event: LiveEvent): void;
  /** Draws the end; resolves when nothing more will be written. */
  end(error: unknown): Promise<void>;
}

export interface PlannedPhase {
  readonly phase: string;
  readonly title: string;
}

interface Now {
  awaiting: { readonly what: string; readonly atMostMs: number; readonly sinceMs: number } | undefined;
  locations: Readonly<Record<string, { good: number; bad: number }>>;
}

const countsText = (locations: Now['locations']): string =>
  Object.entries(locations)
    .map(([location, { good, bad }]) => `${location} ${good} good${bad > 0 ? `, ${bad} bad` : ''}`)
    .join(' · ');

const awaitingText = (now: Now, nowMs: number): string => {
  if (now.awaiting === undefined) return '';
  const { what, atMostMs, sinceMs } = now.awaiting;
  return `waiting for ${what} (${formatDuration(nowMs - sinceMs)}, at most ${formatDuration(atMostMs)})`;
};

/** One line an event, for CI logs, pipes and dumb terminals. Counts are printed a few times a minute. */
export const plainDrawing = (clock: Clock, write: (line: string) => void): Drawing => {
  const originMs = clock.monotonicMs();
  const countsEveryMs = 10_000;
  let countsDrawnMs = originMs;
  let noted = '';
  const line = (text: string): void => write(`[${formatDuration(clock.monotonicMs() - originMs)}] ${text}`);
  return {
    live(event) {
      if (event.type === 'phase') line(`${event.phase}: ${event.title}`);
      if (event.type === 'awaiting') line(`  waiting for ${event.what}, at most ${formatDuration(event.atMostMs)}`);
      // What is awaited may be said ten times a second: once is enough.
      if (event.type === 'note' && event.text !== noted) {
        noted = event.text;
        line(`  ${event.text}`);
      }
      if (event.type === 'counts' && clock.monotonicMs() - countsDrawnMs >= countsEveryMs) {
        countsDrawnMs = clock.monotonicMs();
        line(`  ${countsText(event.locations)}`);
      }
    },
    end: async () => undefined,
  };
};

type Task = ListrTaskWrapper<unknown, typeof DefaultRenderer, typeof SimpleRenderer>;

/** The list of phases with what is awaited, how long it took and what the probes see, redrawn in place. */
export const terminalDrawing = (clock: Clock, phases: readonly PlannedPhase[]): Drawing => {
  const now: Now = { awaiting: undefined, locations: {} };
  const gates = phases.map(() => Promise.withResolvers<void>());
  const tasks = new Map<number, Task>();
  let current = -1;
  let ended = false;
  const draw = (): void => {
    const task = tasks.get(current);
    if (task === undefined) return;
    task.output = [awaitingText(now, clock.monotonicMs()), countsText(now.locations)].filter(Boolean).join('\n');
  };
  const listr = new Listr(
    phases.map(({ title }, index) => ({
      title,
      task: async (_context: unknown, task: Task) => {
        if (ended && index > current) {
          task.skip('not reached');
          return;
        }
        tasks.set(index, task);
        draw();
        await gates[index]?.promise;
        if (index > current) task.skip('not reached');
      },
      rendererOptions: {
        outputBar: 2,
        timer: { condition: true, field: (ms: number) => formatDuration(ms), format: () => String },
      },
    })),
    {
      concurrent: false,
      exitOnError: false,
      registerSignalListeners: false,
      renderer: 'default',
      fallbackRenderer: 'simple',
    },
  );
  const drawn = listr.run();
  return {
    live(event) {
      if (event.type === 'phase') {
        const index = phases.findIndex((planned, at) => at > current && planned.phase === event.phase);
        if (index < 0) return;
        current = index;
        now.awaiting = undefined;
        for (const gate of gates.slice(0, index)) gate.resolve();
      }
      if (event.type === 'awaiting') now.awaiting = { ...event, sinceMs: clock.monotonicMs() };
      if (event.type === 'note') now.awaiting = { what: event.text, atMostMs: 0, sinceMs: clock.monotonicMs() };
      if (event.type === 'counts') now.locations = event.locations;
      draw();
    },
    async end() {
      ended = true;
      for (const gate of gates) gate.resolve();
      await drawn;
    },
  };
};
