import type net from 'node:net';
import { systemClock } from '../../core/clock.ts';
import type { Place } from '../layout.ts';
import { createFlow, type FlowClock, type Sink, type Source } from './flow.ts';
import type { Effect } from './rules.ts';

export interface Effects {
  /** From the place that opened the connection to the endpoint. */
  readonly up: Effect;
  readonly down: Effect;
}

export interface Connection {
  readonly source: Place;
  readonly target: Place;
  readonly endpoint: string;
  /** Applies a change of rules at once; true when it changes anything for this connection. */
  setEffects(effects: Effects): boolean;
}

export interface ConnectionOptions {
  readonly source: Place;
  readonly target: Place;
  readonly endpoint: string;
  readonly client: net.Socket;
  readonly effects: Effects;
  /** Opens the connection to the endpoint; called once nothing holds it up. */
  connect(): net.Socket;
  /** Told when both sides are gone. */
  onClosed(): void;
  /** Bytes that are already read from the client. */
  readonly head?: Buffer;
  /** What the client is told once, before anything else: by an egress. */
  readonly greeting?: { readonly connected: Buffer; readonly refused: Buffer };
}

const flowClock: FlowClock = {
  nowMs: systemClock.monotonicMs,
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, Math.max(1, Math.ceil(delayMs)));
    return () => clearTimeout(timer);
  },
};

const sinkOf = (socket: net.Socket): Sink => ({
  write: (bytes) => (socket.writable ? socket.write(bytes) : true),
  end: () => {
    socket.end();
  },
  reset: () => {
    socket.resetAndDestroy();
  },
});

const sameEffect = (one: Effect, other: Effect): boolean =>
  one.isHeld === other.isHeld &&
  one.isCut === other.isCut &&
  one.delayMs === other.delayMs &&
  one.bytesPerSecond === other.bytesPerSecond;

/**
 * A TCP connection across a link: accepted at once, connected to its endpoint as soon as nothing holds it up, then
 * bytes in both directions, each under its own effect. A half-close, a reset and a refused connection travel like
 * bytes: in order, delayed and held with them.
 */
export const openConnection = (options: ConnectionOptions): Connection => {
  const { client } = options;
  let effects = options.effects;
  let upstream: net.Socket | undefined;
  let isConnected = false;
  let openSides = 1;

  const upstreamSource: Source = { pause: () => upstream?.pause(), resume: () => upstream?.resume() };
  const up = createFlow(client, flowClock, effects.up);
  const down = createFlow(upstreamSource, flowClock, effects.down);

  const sideClosed = (): void => {
    openSides -= 1;
    if (openSides > 0) return;
    up.discard();
    down.discard();
    options.onClosed();
  };

  const reset = (): void => {
    client.resetAndDestroy();
    upstream?.resetAndDestroy();
  };

  const refused = (): void => {
    if (options.greeting === undefined) down.fail();
    else {
      down.push(options.greeting.refused);
      down.end();
    }
  };

  const connect = (): void => {
    if (upstream !== undefined || client.destroyed || effects.up.isHeld || effects.down.isHeld) return;
    const socket = options.connect();
    upstream = socket;
    openSides += 1;
    socket.setNoDelay(true);
    socket.once('connect', () => {
      isConnected = true;
      if (options.greeting !== undefined) down.push(options.greeting.connected);
      up.attach(sinkOf(socket));
    });
    socket.on('data', down.push);
    socket.on('drain', up.drained);
    socket.once('end', down.end);
    socket.once('error', () => (isConnected ? down.fail() : refused()));
    socket.once('close', () => {
      up.discard();
      sideClosed();
    });
  };

  client.setNoDelay(true);
  client.on('data', up.push);
  client.on('drain', down.drained);
  client.once('end', () => {
    // Before the connection stands nobody can be half-closing it: the client gave up.
    if (isConnected || upstream !== undefined) up.end();
    else client.destroy();
  });
  client.once('error', () => up.fail());
  client.once('close', () => {
    down.discard();
    if (upstream !== undefined) up.fail();
    sideClosed();
  });
  down.attach(sinkOf(client));
  if (options.head !== undefined && options.head.length > 0) up.push(options.head);
  if (effects.up.isCut || effects.down.isCut) reset();
  else connect();

  return {
    source: options.source,
    target: options.target,
    endpoint: options.endpoint,
    setEffects: (next) => {
      if (sameEffect(effects.up, next.up) && sameEffect(effects.down, next.down)) return false;
      effects = next;
      if (next.up.isCut || next.down.isCut) {
        reset();
        return true;
      }
      up.setEffect(next.up);
      down.setEffect(next.down);
      connect();
      return true;
    },
  };
};
