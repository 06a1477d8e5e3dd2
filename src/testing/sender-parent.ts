import { systemClock as clock } from '../core/clock.ts';
import { startSenders } from '../probes/senders.ts';

/* A runner that starts a sender and is then killed by the test that started it. Arguments: the folder, the URL. */
const [, , folder = '', url = ''] = process.argv;
const senders = await startSenders({
  runId: 'r',
  seed: 1,
  streams: [
    {
      stream: 'http/west/fresh',
      name: 'http',
      probe: 'http',
      location: 'west',
      sender: 'west',
      connection: 'fresh',
      everyMs: 50,
      timeoutMs: 500,
      slowAfterMs: 500,
      required: true,
      params: { url },
    },
  ],
  resolvers: {},
  service: null,
  database: null,
  folder,
  clock,
  signal: new AbortController().signal,
});
process.send?.(senders.pids.get('west'));
