import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createChatAnswer } from './chat-answer.ts';

const token = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
const role = `data: ${JSON.stringify({ choices: [{ delta: { role: 'assistant', content: '' } }] })}\n\n`;
const done = 'data: [DONE]\n\n';

describe('a streamed answer', () => {
  test('begins with its first token, not with its first byte', () => {
    const answer = createChatAnswer();
    answer.push(role, 10);
    answer.push(token('Hello'), 30);
    expect(answer.state.firstTokenMs).toBe(30);
    expect(answer.state.complete).toBe(false);
  });

  test('is complete with its end mark alone', () => {
    const answer = createChatAnswer();
    answer.push(role + token('Hello'), 10);
    answer.push(done, 20);
    expect(answer.state).toMatchObject({ complete: true, tokens: 1, malformed: false });
  });

  test('tells its longest pause between tokens', () => {
    const answer = createChatAnswer();
    answer.push(token('a'), 10);
    answer.push(token('b'), 400);
    answer.push(token('c'), 410);
    expect(answer.state.longestGapMs).toBe(390);
  });

  test('is malformed when a piece is not JSON, failed when the server says so inside it', () => {
    const bad = createChatAnswer();
    bad.push('data: {oops\n\n', 1);
    expect(bad.state.malformed).toBe(true);
    const failed = createChatAnswer();
    failed.push(`data: ${JSON.stringify({ error: { message: 'out of memory' } })}\n\n`, 1);
    expect(failed.state.failed).toBe(true);
  });

  test('reads the same however the network cuts it', () => {
    const text = `: comment\r\n${role}${token('Hello')}${token(' wörld')}event: x\n${done}`;
    fc.assert(
      fc.property(fc.array(fc.nat({ max: text.length }), { maxLength: 20 }), (cuts) => {
        const answer = createChatAnswer();
        const edges = [0, ...cuts.sort((one, other) => one - other), text.length];
        edges.slice(1).forEach((edge, index) => {
          answer.push(text.slice(edges[index], edge), index);
        });
        expect(answer.state).toMatchObject({ tokens: 2, complete: true, malformed: false, failed: false });
      }),
    );
  });

  test('whatever arrives, it never throws', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.string(),
            fc.json().map((json) => `data: ${json}\n`),
          ),
        ),
        (pieces) => {
          const answer = createChatAnswer();
          for (const piece of pieces) answer.push(piece, 0);
        },
      ),
    );
  });
});
