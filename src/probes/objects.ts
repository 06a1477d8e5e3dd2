import { z } from 'zod';
import { BlackstartError } from '../core/errors.ts';
import { defineProbe, type ProbeContext } from './probe.ts';
import { failedLook, isLook, locate, serviceOf } from './service.ts';

const params = z.strictObject({
  /** Key of an object that every region holds. */
  key: z.string().min(1).max(1024),
  /** Region that requests are signed for. */
  signFor: z.string().min(1).default('us-east-1'),
});

/** Signatures are good for 15 minutes; making one costs more than the read. */
const signedForMs = 5 * 60_000;

export const objects = defineProbe({
  name: 'objects',
  summary: 'One signed read of an object through the S3 API of the region that this location is routed to.',
  params,
  required: false,
  defaults: { everyMs: 1000, timeoutMs: 1000 },
  async open({ key, signFor }, context) {
    const { createHttpClient } = await import('../adapters/http.ts');
    const { createObjectSigner, pathOfKey } = await import('../adapters/s3.ts');
    const client = createHttpClient(context.stream.connection, context.stream.timeoutMs, context.clock);
    const host = hostOf(context);
    const path = pathOfKey(key);
    const credentialsFile = context.awsCredentialsFile ?? null;
    const signer = createObjectSigner({ region: signFor, credentialsFile });
    const sign = () => signer.sign({ method: 'GET', host, path });
    // Signed before anything is timed, so that missing keys fail the start and the first read costs what the others do.
    let signed = { headers: await sign(), atMs: context.clock.monotonicMs() };
    return {
      async look(attempt) {
        const nowMs = context.clock.monotonicMs();
        if (nowMs - signed.atMs > signedForMs) signed = { headers: await sign(), atMs: nowMs };
        const found = await locate(attempt, () => context.names.service(`_http._tcp.${host}`, attempt.signal));
        if (isLook(found)) return found;
        let bytes = 0;
        const outcome = await client.send({
          secure: false,
          address: found.address,
          port: found.port,
          host,
          method: 'GET',
          path,
          headers: signed.headers,
          body: null,
          signal: attempt.signal,
          onHead(_status, headers) {
            const region = headers['x-amz-bucket-region'] ?? regionIn(found.name);
            if (typeof region === 'string') attempt.seen.region = region;
          },
          onData(piece, atMs) {
            attempt.seen.firstByteMs ??= atMs;
            bytes += piece.length;
          },
        });
        return failedLook(outcome) ?? { code: bytes > 0 ? 'ok' : 'wrong-content', endedMs: outcome.endedMs };
      },
      close: () => client.close(),
    };
  },
});

const hostOf = (context: ProbeContext): string => {
  const { objectsHost } = serviceOf(context);
  if (objectsHost !== undefined) return objectsHost;
  throw new BlackstartError(
    'BAD_FILE',
    `stream ${context.stream.stream} reads objects, and the environment does not say where they are`,
    'Give it service.objectsHost, or leave the objects probe out.',
  );
};

/** The region in a DNS name such as `us-east-1.objects.example`, for stores whose answers do not name theirs. */
const regionIn = (name: string): string | undefined => /\b[a-z]{2}(?:-[a-z]+)+-\d\b/.exec(name)?.[0];
