import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFlow, type FlowClock, type Sink, type Source } from './flow.ts';
import type { Effect } from './rules.ts';

const open: Effect = { isHeld: false, isCut: false, delayMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY };

/** Time that moves only when told, firing timers in order. */
const manualClock = () => {
  let nowMs = 0;
  const timers: { atMs: number; callback: () => void }[] = [];
  const clock: FlowClock = {
    nowMs: () => nowMs,
    after: (delayMs, callback) => {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.push(timer);
      return () => {
        const index = timers.indexOf(timer);
        if (index >= 0) timers.splice(index, 1);
      };
    },
  };
  const advance = (byMs: number): void => {
    const untilMs = nowMs + byMs;
    for (;;) {
      const next = timers.toSorted((one, other) => one.atMs - other.atMs)[0];
      if (next === undefined || next.atMs > untilMs) break;
      timers.splice(timers.indexOf(next), 1);
      nowMs = Math.max(nowMs, next.atMs);
      next.callback();
    }
    nowMs = untilMs;
  };
  return { clock, advance };
};

const recorder = (clock: FlowClock) => {
  const got: { atMs: number; text: string }[] = [];
  const source = { isPaused: false };
  const sinkState = { isFull: false };
  const note = (text: string): void => {
    got.push({ atMs: clock.nowMs(), text });
  };
  const sink: Sink = {
    write: (bytes) => {
      note(bytes.toString('latin1'));
      return !sinkState.isFull;
    },
    end: () => note('<end>'),
    reset: () => note('<reset>'),
  };
  const control: Source = {
    pause: () => {
      source.isPaused = true;
    },
    resume: () => {
      source.isPaused = false;
    },
  };
  return { got, sink, sinkState, source, control, text: () => got.map(({ text }) => text).join('') };
};

const set = (effect: Effect) => {
  const { clock, advance } = manualClock();
  const record = recorder(clock);
  const flow = createFlow(record.control, clock, effect);
  return { clock, advance, flow, ...record };
};

describe('flow', () => {
  it('passes bytes at once when nothing is in the way', () => {
    const { flow, sink, got } = set(open);
    flow.attach(sink);
    flow.push(Buffer.from('a'));
    flow.end();
    expect(got).toEqual([
      { atMs: 0, text: 'a' },
      { atMs: 0, text: '<end>' },
    ]);
  });

  it('keeps what comes before the other side is there', () => {
    const { flow, sink, text } = set(open);
    flow.push(Buffer.from('ab'));
    flow.push(Buffer.from('c'));
    expect(text()).toBe('');
    flow.attach(sink);
    expect(text()).toBe('abc');
  });

  it('holds bytes and the end behind a hole, and lets them go in order when it is gone', () => {
    const { flow, sink, text, advance } = set(open);
    flow.attach(sink);
    flow.push(Buffer.from('a'));
    flow.setEffect({ ...open, isHeld: true });
    flow.push(Buffer.from('b'));
    flow.end();
    advance(60_000);
    expect(text()).toBe('a');
    flow.setEffect(open);
    expect(text()).toBe('ab<end>');
  });

  it('tells the sender to wait when the receiver is full or too much waits, and to go on after', () => {
    const { flow, sink, sinkState, source } = set(open);
    flow.attach(sink);
    sinkState.isFull = true;
    flow.push(Buffer.from('a'));
    expect(source.isPaused).toBe(true);
    sinkState.isFull = false;
    flow.drained();
    expect(source.isPaused).toBe(false);
    flow.setEffect({ ...open, isHeld: true });
    flow.push(Buffer.alloc(300 * 1024));
    expect(source.isPaused).toBe(true);
    flow.setEffect(open);
    expect(source.isPaused).toBe(false);
  });

  it('trickles at the rate of a throttle', () => {
    const { flow, sink, text, advance } = set({ ...open, bytesPerSecond: 1000 });
    flow.attach(sink);
    flow.push(Buffer.from('x'.repeat(2000)));
    advance(500);
    expect(text().length).toBe(500);
    advance(1500);
    expect(text().length).toBe(2000);
  });

  it('does not make waiting bytes wait for a delay or throttle that is gone', () => {
    const { flow, sink, text } = set({ ...open, delayMs: 3_600_000, bytesPerSecond: 1 });
    flow.attach(sink);
    flow.push(Buffer.from('late'));
    flow.setEffect(open);
    expect(text()).toBe('late');
  });

  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('push' as const), size: fc.integer({ min: 1, max: 400 }) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 80 }) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('effect' as const),
        isHeld: fc.boolean(),
        delayMs: fc.integer({ min: 0, max: 100 }),
        bytesPerSecond: fc.constantFrom(Number.POSITIVE_INFINITY, 500, 20_000),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('fill' as const), isFull: fc.boolean() }) },
  );

  it('property: whatever the rules do, bytes arrive whole, in order, the end last', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { flow, sink, sinkState, text, advance } = set(open);
        flow.attach(sink);
        let sent = '';
        for (const one of steps) {
          if (one.kind === 'push') {
            const bytes = Array.from({ length: one.size }, (_, index) => String.fromCharCode(97 + (index % 26))).join(
              '',
            );
            sent += bytes;
            flow.push(Buffer.from(bytes));
          } else if (one.kind === 'wait') advance(one.ms);
          else if (one.kind === 'effect') flow.setEffect({ ...one, isCut: false });
          else {
            sinkState.isFull = one.isFull;
            if (!one.isFull) flow.drained();
          }
          expect(sent.startsWith(text())).toBe(true);
        }
        flow.end();
        sinkState.isFull = false;
        flow.drained();
        flow.setEffect(open);
        advance(1);
        expect(text()).toBe(`${sent}<end>`);
      }),
      { numRuns: 300 },
    );
  });

  it('property: under a constant delay every byte is exactly that late, whatever the gaps', () => {
    const pushes = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(pushes, fc.integer({ min: 1, max: 200 }), (gaps, delayMs) => {
        const { flow, sink, got, advance, clock } = set({ ...open, delayMs });
        flow.attach(sink);
        const sent: { atMs: number; text: string }[] = [];
        for (const [index, gapMs] of gaps.entries()) {
          advance(gapMs);
          sent.push({ atMs: clock.nowMs() + delayMs, text: `${index};` });
          flow.push(Buffer.from(`${index};`));
        }
        advance(delayMs);
        expect(got).toEqual(sent);
      }),
      { numRuns: 200 },
    );
  });
});
