import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cacheCode } from '../../adapters/cache-node.ts';
import { cacheLedger, serverOf, startingWith } from './cache.ts';

const info = [
  '# Server',
  'redis_version:7.0.15',
  'run_id:5bd9e3',
  '# Replication',
  'role:master',
  'connected_slaves:2',
  'master_replid:0f31aa',
  'master_replid2:0000',
  'master_repl_offset:4711',
  'evicted_keys:3',
].join('\r\n');

const reply = (message: string, more: object = {}): Error =>
  Object.assign(new Error(message), { name: 'ReplyError', ...more });

describe('a node of a cache', () => {
  it('says who it is', () => {
    expect(serverOf(info)).toEqual({
      isPrimary: true,
      server: '5bd9e3',
      history: '0f31aa',
      offset: '4711',
      evicted: 3,
    });
    expect(serverOf(info.replace('role:master', 'role:slave')).isPrimary).toBe(false);
  });

  it.each([
    ['a replica', reply("READONLY You can't write against a read only replica."), 'READONLY', false],
    [
      'a replica, in a transaction',
      reply('EXECABORT Transaction discarded because of previous errors.', {
        previousErrors: [reply("READONLY You can't write against a read only replica.")],
      }),
      'READONLY',
      true,
    ],
    ['a node that loads', reply('LOADING Redis is loading the dataset in memory'), 'LOADING', false],
    ['an unknown complaint', reply('wrong number of arguments'), 'ERR', false],
    ['a part of a transaction that failed', new Error('part of a transaction failed: OOM'), 'unknown', false],
    ['a closed door', Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }), 'refused', false],
    ['a connection that is cut', new Error('Connection is closed.'), 'reset', false],
    ['a silent node', new Error('connect ETIMEDOUT'), 'timeout', false],
  ])('%s has a word for it', (_what, error, code, discarded) => {
    expect(cacheCode(error)).toEqual({ code, discarded });
  });
});

describe('the keys of a ledger', () => {
  /** What Redis does with a pattern that has escapes and one star at its end. */
  const matches = (pattern: string, key: string): boolean =>
    key.startsWith(pattern.slice(0, -1).replaceAll(/\\(.)/g, '$1'));

  it('are found by their beginning, whatever is in it', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(), (prefix, seq) => {
        const pattern = startingWith(prefix);
        expect(pattern.slice(0, -1)).not.toMatch(/(^|[^\\])(\\\\)*[*?[\]]/);
        expect(matches(pattern, `${prefix}${seq}`)).toBe(true);
      }),
    );
  });
});

describe('a platform without a cache', () => {
  it('has no such ledger, and says why', () => {
    expect(cacheLedger.absent({ cacheNodes: [] })).toBe('the environment has no cache');
    expect(cacheLedger.absent({ cacheNodes: ['127.0.0.1:6379'] })).toBeUndefined();
  });
});
