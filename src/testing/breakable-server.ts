import { createServer } from 'node:http';
import { systemClock as clock } from '../core/clock.ts';

/*
 * A process that is broken on purpose, to test the instrument with: an HTTP server that its parent can tell to hang or
 * to fail, and can kill or freeze. Started with the port as its argument; reports over IPC the instant each change took
 * effect, on the machine's monotonic clock.
 */
let mode: 'serve' | 'hang' | 'fail' = 'serve';

const server = createServer((_request, response) => {
  if (mode === 'hang') return;
  response.writeHead(mode === 'fail' ? 503 : 200);
  response.end(mode);
});

const report = (state: string): void => {
  process.send?.({ state, atMs: clock.monotonicMs() });
};

process.on('message', (message: unknown) => {
  if (message !== 'serve' && message !== 'hang' && message !== 'fail') return;
  mode = message;
  report(mode);
});
process.on('disconnect', () => {
  server.closeAllConnections();
  server.close();
});

server.listen({ host: '127.0.0.1', port: Number(process.argv[2] ?? 0), backlog: 4096 }, () => {
  const address = server.address();
  process.send?.({
    state: 'serve',
    atMs: clock.monotonicMs(),
    port: typeof address === 'object' ? address?.port : undefined,
  });
});
