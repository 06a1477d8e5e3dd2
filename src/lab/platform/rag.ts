import type { Component, ComponentContext } from '../component.ts';
import { forwardPort, scaledTimeout, zonePlace } from '../layout.ts';
import { embed } from './embedding.ts';
import type { Handler } from './http.ts';
import { CallError, fetchText, HttpError, linkAgent, pathOf, readBody, sendJson, serve } from './http.ts';

/** Retrieval: turns a question into a vector and asks the region's vector store for what is nearest. */

const bodyBytesMax = 256 * 1024;
const documentsMax = 20;
/** Documented time; the caller goes on without documents after a little more. */
const vectorTimeoutMs = 2000;

const parseQuestion = (body: Buffer): { readonly query: string; readonly k: number } => {
  try {
    const { query, k } = JSON.parse(body.toString('utf8'));
    if (typeof query === 'string') return { query, k: Math.min(Number(k ?? 3) || 3, documentsMax) };
  } catch {
    // Falls through to the same refusal: what is not JSON has no query either.
  }
  throw new HttpError(400, 'invalid_request_error', 'bad_query', 'send {"query": "…", "k": 3}');
};

const createHandler = (context: ComponentContext): Handler => {
  const { layout, options, signal } = context;
  const { zone = '', region = '' } = options;
  const agent = linkAgent();
  const port = forwardPort(layout, zonePlace(zone), `vector/${region}`);
  const headMs = scaledTimeout(layout, vectorTimeoutMs);
  return async (request, response) => {
    const path = pathOf(request);
    if (path === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (path === '/readyz') return sendJson(response, signal.aborted ? 503 : 200, { status: 'ready' });
    if (path !== '/retrieve' || request.method !== 'POST') {
      throw new HttpError(404, 'invalid_request_error', 'not_found', `there is no ${request.method} ${path}`);
    }
    const { query, k } = parseQuestion(await readBody(request, bodyBytesMax));
    const vector = [...embed(query, layout.settings.stores.dimensions)];
    const body = JSON.stringify({ vector, k });
    const found = await fetchText({ agent, host: '127.0.0.1', port, method: 'POST', path: '/query', body, headMs });
    if (found.status !== 200) throw new CallError('connection', `the vector store answered ${found.status}`);
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(found.text),
    });
    response.end(found.text);
  };
};

export const component: Component = {
  kind: 'rag',
  async start(context) {
    const { port } = await serve(context, 0, createHandler(context));
    return { port };
  },
};
