import type net from 'node:net';

/** What a client of an egress asked for, and the bytes it already sent after that. */
export interface ConnectRequest {
  readonly zone: string;
  readonly port: number;
  readonly rest: Buffer;
}

const headBytesMax = 4096;
const headTimeoutMs = 10_000;
const headEnd = Buffer.from('\r\n\r\n');
const requestLine = /^CONNECT ([a-z0-9-]+)\.zone\.lab:(\d{1,5}) HTTP\/1\.[01]\r\n/;

export const egressAnswer = {
  connected: Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n'),
  refused: Buffer.from('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'),
  unknown: Buffer.from('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'),
};

/** The request in the bytes read so far: `undefined` while it is not whole, `null` when it is none of ours. */
export const parseConnect = (bytes: Buffer): ConnectRequest | undefined | null => {
  const end = bytes.indexOf(headEnd);
  if (end < 0) return bytes.length > headBytesMax ? null : undefined;
  const match = requestLine.exec(bytes.toString('latin1', 0, end + headEnd.length));
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535) return null;
  return { zone: match[1], port, rest: bytes.subarray(end + headEnd.length) };
};

/** Reads the request of a fresh client, then hands the silent socket over; answers and closes what it cannot serve. */
export const readConnect = (client: net.Socket, onRequest: (request: ConnectRequest) => boolean): void => {
  let bytes: Buffer = Buffer.alloc(0);
  const refuse = (): void => {
    client.end(egressAnswer.unknown);
    client.resume();
  };
  const stop = (): void => {
    client.setTimeout(0);
    client.off('data', onData);
    client.off('end', onGone);
    client.off('error', onGone);
  };
  const onGone = (): void => {
    client.destroy();
  };
  const onData = (chunk: Buffer): void => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const request = parseConnect(bytes);
    if (request === undefined) return;
    stop();
    if (request === null || !onRequest(request)) {
      client.on('error', onGone);
      refuse();
    }
  };
  client.setTimeout(headTimeoutMs, onGone);
  client.on('data', onData);
  client.on('end', onGone);
  client.on('error', onGone);
};
