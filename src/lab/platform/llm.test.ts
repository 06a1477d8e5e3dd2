import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import type { ComponentContext } from '../component.ts';
import { labEnvironment, testLayout } from '../testing.ts';
import { HttpError } from './http.ts';
import { answerTokens, component, createQueue, parseChat } from './llm.ts';

const never = new AbortController().signal;

describe('the queue of a model pod', () => {
  it('runs so many, lets so many wait in order, and refuses the next with 429', async () => {
    const queue = createQueue(2, 2);
    const leave = [await queue.enter(never), await queue.enter(never)];
    const order: string[] = [];
    const third = queue.enter(never).then((free) => {
      order.push('third');
      return free;
    });
    const fourth = queue.enter(never).then((free) => {
      order.push('fourth');
      return free;
    });
    expect([queue.running, queue.waiting]).toEqual([2, 2]);
    await expect(queue.enter(never)).rejects.toMatchObject({ status: 429, code: 'queue_full' });
    leave[0]?.();
    (await third)();
    (await fourth)();
    leave[1]?.();
    expect(order).toEqual(['third', 'fourth']);
    expect([queue.running, queue.waiting]).toEqual([0, 0]);
  });

  it('gives the place of a client that went away to the next one', async () => {
    const queue = createQueue(1, 1);
    const leave = await queue.enter(never);
    const client = new AbortController();
    const waiting = queue.enter(client.signal);
    client.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    const next = queue.enter(never);
    leave();
    leave();
    (await next)();
    expect([queue.running, queue.waiting]).toEqual([0, 0]);
  });

  it('loses no slot whatever the order of coming and going', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        async (moves, size) => {
          const queue = createQueue(size, 100);
          const inside: (() => void)[] = [];
          for (const comes of moves) {
            if (comes) queue.enter(never).then((leave) => inside.push(leave));
            else inside.shift()?.();
            await Promise.resolve();
            await Promise.resolve();
            expect(queue.running).toBeLessThanOrEqual(size);
          }
          for (let left = moves.length + 1; left > 0; left -= 1) {
            inside.shift()?.();
            await systemClock.sleep(0);
          }
          expect([queue.running, queue.waiting]).toEqual([0, 0]);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('a chat request', () => {
  it('is refused in words, never with a stack, whatever was sent', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        try {
          parseChat(Buffer.from(text));
        } catch (error) {
          expect(error).toBeInstanceOf(HttpError);
          expect((error as HttpError).status).toBe(400);
        }
      }),
    );
  });

  it('keeps parts of text and honours either name of the token limit', () => {
    const body = {
      messages: [{ role: 'user', content: [{ type: 'text', text: 'hello' }] }],
      max_completion_tokens: 7,
    };
    const chat = parseChat(Buffer.from(JSON.stringify(body)));
    expect(chat.messages).toEqual([{ role: 'user', content: 'hello' }]);
    expect(chat.maxTokens).toBe(7);
  });

  it('is answered with its own words, as many as asked for', () => {
    expect(answerTokens('one two', 3).join('')).toBe('one two one');
    expect(answerTokens('', 2).join('')).toBe('lab lab');
  });
});

describe('a model pod', () => {
  it('ends what it began when asked to stop, and takes nothing new', async () => {
    const environment = labEnvironment();
    const { lab } = environment;
    if (lab === undefined) throw new Error('the lab environment has a lab section');
    const slow = { ...environment, lab: { ...lab, llm: { ...lab.llm, tokens: 20, tokenGap: 10 } } };
    const { layout, remove } = await testLayout(slow);
    const stop = new AbortController();
    let drain = async (): Promise<void> => undefined;
    const { port } = await component.start({
      layout,
      options: { initial: '1' },
      signal: stop.signal,
      log: () => undefined,
      truth: () => undefined,
      onStop: (work) => {
        drain = work;
      },
    });
    const url = `http://127.0.0.1:${port}/v1/chat/completions`;
    const body = JSON.stringify({ stream: true, messages: [{ role: 'user', content: 'x' }] });
    const response = await fetch(url, { method: 'POST', body });
    stop.abort();
    const drained = drain();
    expect((await response.text()).trimEnd().endsWith('[DONE]')).toBe(true);
    await drained;
    await expect(fetch(url, { method: 'POST', body })).rejects.toThrow();
    remove();
  });

  it('is alive at once, ready when its model is loaded, and refuses chats before', async () => {
    const { layout, remove } = await testLayout(labEnvironment(), { timeScale: 300 });
    const stop = new AbortController();
    const context: ComponentContext = {
      layout,
      options: { region: 'us-west-2', zone: 'us-west-2a', pod: 'llm-1', app: 'llm' },
      signal: stop.signal,
      log: () => undefined,
      truth: () => undefined,
    };
    const startedMs = systemClock.monotonicMs();
    const { port } = await component.start(context);
    const get = async (path: string, init?: RequestInit): Promise<number> =>
      (await fetch(`http://127.0.0.1:${port}${path}`, init)).status;
    const chat = { method: 'POST', body: JSON.stringify({ messages: [{ role: 'user', content: 'x' }] }) };
    expect(await get('/healthz')).toBe(200);
    expect(await get('/readyz')).toBe(503);
    expect(await get('/v1/chat/completions', chat)).toBe(503);
    while ((await get('/readyz')) !== 200) await systemClock.sleep(10);
    // 150 s of documented model load at scale 300.
    expect(systemClock.monotonicMs() - startedMs).toBeGreaterThanOrEqual(500);
    expect(await get('/v1/chat/completions', chat)).toBe(200);
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(metrics).toContain('llm_queue_depth 0');
    expect(metrics).toContain('llm_requests_total{result="answered"} 1');
    stop.abort();
    remove();
  });
});
