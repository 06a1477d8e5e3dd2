import { createServer } from 'node:http';
import { parentPort } from 'node:worker_threads';

/*
 * A target that answers at once and cannot break, in a thread of its own: what the control streams look at. It goes
 * with the thread that started it.
 */
const server = createServer((request, response) => {
  request.resume();
  response.end('ok');
});

server.listen({ host: '127.0.0.1', port: 0 }, () => {
  const address = server.address();
  parentPort?.postMessage(typeof address === 'object' ? address?.port : undefined);
});
