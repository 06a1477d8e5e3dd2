import net from 'node:net';

/** The end of a whole reply, or undefined while more must come: a line, or a counted block of text. */
const replyOf = (text: string): string | undefined => {
  const end = text.indexOf('\r\n');
  if (end < 0) return undefined;
  if (!text.startsWith('$')) return text.slice(0, end);
  const length = Number(text.slice(1, end));
  if (length < 0) return '';
  return text.length < end + 4 + length ? undefined : text.slice(end + 2, end + 2 + length);
};

/** One command on a fresh connection to a Redis server. Rejects on an error reply, a broken connection, a time-out. */
export const askRedis = (port: number, command: string, timeoutMs: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    let text = '';
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      act();
    };
    const timer = setTimeout(() => settle(() => reject(new Error(`no answer within ${timeoutMs} ms`))), timeoutMs);
    socket.on('error', (error) => settle(() => reject(error)));
    socket.on('close', () => settle(() => reject(new Error('the connection was closed'))));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const reply = replyOf(text);
      if (reply === undefined) return;
      settle(() => (reply.startsWith('-') ? reject(new Error(reply.slice(1))) : resolve(reply)));
    });
    socket.write(`${command}\r\n`);
  });

export interface RedisRole {
  readonly role: 'master' | 'slave';
  readonly offset: number;
  /** A replica's link to its primary works. */
  readonly linked: boolean;
  readonly primaryPort: number | undefined;
}

/** What a node says of its own replication. */
export const roleOf = async (port: number, timeoutMs: number): Promise<RedisRole> => {
  const text = await askRedis(port, 'INFO replication', timeoutMs);
  const field = (name: string): string | undefined => new RegExp(`^${name}:(.*)$`, 'm').exec(text)?.[1]?.trim();
  const role = field('role') === 'master' ? 'master' : 'slave';
  const offset = Number(field(role === 'master' ? 'master_repl_offset' : 'slave_repl_offset') ?? 0);
  const primaryPort = field('master_port');
  return {
    role,
    offset,
    linked: role === 'master' || field('master_link_status') === 'up',
    primaryPort: primaryPort === undefined ? undefined : Number(primaryPort),
  };
};
