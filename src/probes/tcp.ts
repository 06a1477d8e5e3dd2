import net from 'node:net';
import { z } from 'zod';
import { codeOf, failureOf } from '../adapters/failure.ts';
import type { Destination } from './names.ts';
import { type Attempt, defineProbe, type Look, type ProbeContext } from './probe.ts';
import { isLook, locate, serviceOf } from './service.ts';

const params = z.strictObject({
  /** `host:port`; the service itself when absent. */
  to: z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^\s:]+):\d{1,5}$/, { error: 'write host:port, such as db.example.com:5432' })
    .optional(),
});

export const tcp = defineProbe({
  name: 'tcp',
  summary: 'A TCP connection is accepted.',
  params,
  required: false,
  defaults: { everyMs: 100, timeoutMs: 1000 },
  async open({ to }, context) {
    const find = finderOf(to, context);
    return {
      async look(attempt) {
        const found = await locate(attempt, () => find(attempt.signal));
        return isLook(found) ? found : connectOnce(found, attempt, context);
      },
      close: () => Promise.resolve(),
    };
  },
});

const finderOf = (to: string | undefined, context: ProbeContext): ((signal: AbortSignal) => Promise<Destination>) => {
  if (to === undefined) {
    const { host } = serviceOf(context);
    return (signal) => context.names.service(`_http._tcp.${host}`, signal);
  }
  const at = to.lastIndexOf(':');
  return (signal) => context.names.host(to.slice(0, at), Number(to.slice(at + 1)), signal);
};

const connectOnce = ({ address, port }: Destination, attempt: Attempt, context: ProbeContext): Promise<Look> =>
  new Promise((resolve) => {
    const socket = net.connect({ host: address, port });
    const finish = (code: string): void => {
      attempt.signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve({ code, endedMs: context.clock.monotonicMs() });
    };
    const onAbort = (): void => finish('timeout');
    attempt.signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => finish('ok'));
    socket.on('error', (error) => finish(failureOf(codeOf(error), false)));
    if (attempt.signal.aborted) onAbort();
  });
