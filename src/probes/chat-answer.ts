/** Reads an OpenAI-compatible streaming answer (server-sent events) as it arrives. */
export interface ChatAnswer {
  /** One piece of the body and the instant it was read. */
  push(piece: string, atMs: number): void;
  /** What is known so far. `complete` is the stream's own end mark, not the end of the connection. */
  readonly state: {
    readonly firstTokenMs: number | null;
    readonly lastTokenMs: number | null;
    readonly longestGapMs: number;
    readonly tokens: number;
    readonly complete: boolean;
    readonly malformed: boolean;
    /** The server reported a failure inside the stream. */
    readonly failed: boolean;
  };
}

export const createChatAnswer = (): ChatAnswer => {
  const state = {
    firstTokenMs: null as number | null,
    lastTokenMs: null as number | null,
    longestGapMs: 0,
    tokens: 0,
    complete: false,
    malformed: false,
    failed: false,
  };
  let rest = '';

  const onEvent = (data: string, atMs: number): void => {
    if (data === '[DONE]') {
      state.complete = true;
      return;
    }
    const chunk = parseChunk(data);
    if (chunk === 'malformed') state.malformed = true;
    if (chunk === 'failed') state.failed = true;
    if (chunk !== 'token') return;
    if (state.lastTokenMs !== null) state.longestGapMs = Math.max(state.longestGapMs, atMs - state.lastTokenMs);
    state.firstTokenMs ??= atMs;
    state.lastTokenMs = atMs;
    state.tokens += 1;
  };

  return {
    state,
    push(piece, atMs) {
      const lines = (rest + piece).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.startsWith('data:')) onEvent(line.slice(5).trim(), atMs);
      }
    },
  };
};

const parseChunk = (data: string): 'token' | 'other' | 'failed' | 'malformed' => {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch (error) {
    if (error instanceof SyntaxError) return 'malformed';
    throw error;
  }
  if (typeof chunk !== 'object' || chunk === null) return 'malformed';
  if ('error' in chunk) return 'failed';
  const choice: unknown = 'choices' in chunk && Array.isArray(chunk.choices) ? chunk.choices[0] : undefined;
  if (typeof choice !== 'object' || choice === null || !('delta' in choice)) return 'other';
  const { delta } = choice;
  if (typeof delta !== 'object' || delta === null || !('content' in delta)) return 'other';
  return typeof delta.content === 'string' && delta.content !== '' ? 'token' : 'other';
};
