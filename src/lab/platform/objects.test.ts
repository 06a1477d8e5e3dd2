import { get } from 'node:http';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ComponentContext } from '../component.ts';
import { labEnvironment, testLayout } from '../testing.ts';
import { pageOf, pageOfVersions } from './object-listing.ts';
import type { ObjectVersion } from './object-store.ts';
import { component } from './objects.ts';
import { decodeAwsChunked } from './s3-wire.ts';

const frame = (parts: readonly Uint8Array[], signed: boolean): Buffer => {
  const signature = signed ? `;chunk-signature=${'0'.repeat(64)}` : '';
  const chunks = parts
    .filter((part) => part.length > 0)
    .flatMap((part) => [Buffer.from(`${part.length.toString(16)}${signature}\r\n`), part, Buffer.from('\r\n')]);
  return Buffer.concat([...chunks, Buffer.from(`0${signature}\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n`)]);
};

describe('the framing of aws-chunked', () => {
  it('gives back what was framed, and refuses what was cut short', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), fc.boolean(), (parts, signed) => {
        const framed = frame(parts, signed);
        expect(decodeAwsChunked(framed).equals(Buffer.concat(parts))).toBe(true);
        const firstChunk = parts.find((part) => part.length > 0);
        if (firstChunk !== undefined) {
          expect(() => decodeAwsChunked(framed.subarray(0, firstChunk.length))).toThrow('terminated unexpectedly');
        }
      }),
    );
  });
});

describe('listing', () => {
  const object = (key: string) => ({ key });

  it('gives every key and every common prefix exactly once over all pages', () => {
    const keys = fc.uniqueArray(fc.string({ unit: fc.constantFrom('a', 'b', '/'), minLength: 1, maxLength: 5 }));
    fc.assert(
      fc.property(
        keys,
        fc.constantFrom('', '/'),
        fc.constantFrom('', 'a', 'a/'),
        fc.integer({ min: 1, max: 5 }),
        check,
      ),
    );
    function check(all: readonly string[], delimiter: string, prefix: string, max: number): void {
      const sorted = [...all].sort().map(object);
      const seen: string[] = [];
      let after = '';
      for (let pages = 0; ; pages += 1) {
        expect(pages).toBeLessThanOrEqual(all.length + 1);
        const page = pageOf(sorted, { prefix, delimiter, after, max });
        expect(page.objects.length + page.prefixes.length).toBeLessThanOrEqual(max);
        seen.push(...page.objects.map(({ key }) => key), ...page.prefixes);
        if (page.next === undefined) break;
        after = page.next;
      }
      const wanted = new Set(
        all
          .filter((key) => key.startsWith(prefix))
          .map((key) => {
            const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
            return cut < 0 ? key : key.slice(0, cut + 1);
          }),
      );
      expect(seen.toSorted()).toEqual([...wanted].sort());
    }
  });
});

describe('listing versions', () => {
  it('gives every version exactly once over all pages, newest first within a key', () => {
    const counts = fc.dictionary(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 3 }), fc.nat(4));
    fc.assert(
      fc.property(counts, fc.integer({ min: 1, max: 5 }), (all, max) => {
        const sorted = Object.keys(all)
          .sort()
          .map((key) => {
            const ids = Array.from({ length: all[key] ?? 0 }, (_, index) => `${index}`);
            return [key, ids.map((versionId) => ({ key, versionId }) as ObjectVersion)] as const;
          });
        const seen: string[] = [];
        let marker: { keyMarker: string; versionIdMarker: string | undefined } | undefined = {
          keyMarker: '',
          versionIdMarker: undefined,
        };
        while (marker !== undefined) {
          const page = pageOfVersions(sorted, { prefix: '', delimiter: '', max, ...marker });
          expect(page.versions.length).toBeLessThanOrEqual(max);
          seen.push(...page.versions.map(({ version }) => `${version.key}/${version.versionId}`));
          marker = page.next;
        }
        expect(seen).toEqual(
          sorted.flatMap(([key, versions]) => versions.map(({ versionId }) => `${key}/${versionId}`)),
        );
      }),
    );
  });
});

describe('an object store', () => {
  const stop = new AbortController();
  let url = '';
  let remove = (): void => undefined;
  const signed = { authorization: 'AWS4-HMAC-SHA256 Credential=test' };
  const send = (method: string, path: string, body?: string, headers: Record<string, string> = {}) =>
    fetch(url + path, { method, headers: { ...signed, ...headers }, ...(body === undefined ? {} : { body }) });

  beforeAll(async () => {
    const made = await testLayout(labEnvironment());
    remove = made.remove;
    const context: ComponentContext = {
      layout: made.layout,
      options: { region: 'us-west-2' },
      signal: stop.signal,
      log: () => undefined,
      truth: () => undefined,
    };
    url = `http://127.0.0.1:${(await component.start(context))['port']}`;
  });
  afterAll(() => {
    stop.abort();
    remove();
  });

  it('keeps an object with its type, metadata and ETag', async () => {
    expect((await send('PUT', '/bucket-one')).status).toBe(200);
    const headers = { 'content-type': 'text/plain', 'x-amz-meta-owner': 'somebody' };
    const put = await send('PUT', '/bucket-one/folder/a%20b%26c', 'hello', headers);
    expect([put.status, put.headers.get('etag')]).toEqual([200, '"5d41402abc4b2a76b9719d911017c592"']);
    const got = await send('GET', '/bucket-one/folder/a%20b%26c');
    expect([await got.text(), got.headers.get('content-type'), got.headers.get('x-amz-meta-owner')]).toEqual([
      'hello',
      'text/plain',
      'somebody',
    ]);
    const part = await send('GET', '/bucket-one/folder/a%20b%26c', undefined, { range: 'bytes=1-2' });
    expect([part.status, await part.text(), part.headers.get('content-range')]).toEqual([206, 'el', 'bytes 1-2/5']);
    const list = await (await send('GET', '/bucket-one?list-type=2&delimiter=/')).text();
    expect(list).toContain('<CommonPrefixes><Prefix>folder/</Prefix></CommonPrefixes>');
    expect((await send('DELETE', '/bucket-one')).status).toBe(409);
    expect((await send('DELETE', '/bucket-one/folder/a%20b%26c')).status).toBe(204);
    expect((await send('HEAD', '/bucket-one/folder/a%20b%26c')).status).toBe(404);
    expect((await send('DELETE', '/bucket-one')).status).toBe(204);
  });

  it('serves its documents under the name that stands for every region', async () => {
    const read = (host: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const headers = { ...signed, host };
        get(`${url}/handbook/first-steps.txt`, { headers }, (response) => {
          response.resume().once('end', () => {
            resolve(`${response.statusCode} ${response.headers['x-amz-bucket-region']}`);
          });
        }).once('error', reject);
      });
    expect(await read('objects.platform.lab')).toBe('200 us-west-2');
    expect(await read('objects.platform.lab:8080')).toBe('200 us-west-2');
    expect(await read('127.0.0.1')).toBe('404 us-west-2');
    expect((await send('GET', '/documents-us-west-2/handbook/first-steps.txt')).status).toBe(200);
  });

  it('refuses as S3 does: unsigned, unknown, already there, not implemented', async () => {
    const code = async (response: Response): Promise<string> =>
      `${response.status} ${/<Code>(.*)<\/Code>/.exec(await response.text())?.[1]}`;
    expect(await code(await fetch(`${url}/`))).toBe('403 AccessDenied');
    expect(await code(await send('GET', '/nowhere/key'))).toBe('404 NoSuchBucket');
    expect(await code(await send('GET', '/documents-us-west-2/none'))).toBe('404 NoSuchKey');
    expect(await code(await send('PUT', '/documents-us-west-2'))).toBe('409 BucketAlreadyOwnedByYou');
    expect(await code(await send('PUT', '/documents-us-west-2/k?uploads', 'x'))).toBe('501 NotImplemented');
    await send('PUT', '/documents-us-west-2/once', 'x');
    const again = await send('PUT', '/documents-us-west-2/once', 'y', { 'if-none-match': '*' });
    expect(await code(again)).toBe('412 PreconditionFailed');
  });

  const versionOf = (response: Response): string => response.headers.get('x-amz-version-id') ?? '';
  const codeOf = async (response: Response): Promise<string> =>
    `${response.status} ${/<Code>(.*)<\/Code>/.exec(await response.text())?.[1]}`;

  it('keeps every version, and hides the latest behind a delete marker, as S3 does', async () => {
    const at = '/documents-us-west-2/versions/one';
    const status = await (await send('GET', '/documents-us-west-2?versioning')).text();
    expect(status).toContain('<Status>Enabled</Status>');
    const first = versionOf(await send('PUT', at, 'first'));
    const second = versionOf(await send('PUT', at, 'second'));
    expect(first).toMatch(/^[\w-]{32}$/);
    expect(second).not.toBe(first);
    const deleted = await send('DELETE', at);
    const marker = versionOf(deleted);
    expect([deleted.status, deleted.headers.get('x-amz-delete-marker')]).toEqual([204, 'true']);

    const hidden = await send('GET', at);
    expect([hidden.headers.get('x-amz-delete-marker'), versionOf(hidden)]).toEqual(['true', marker]);
    expect(await codeOf(hidden)).toBe('404 NoSuchKey');
    expect(await (await send('GET', `${at}?versionId=${first}`)).text()).toBe('first');
    expect(await codeOf(await send('GET', `${at}?versionId=${marker}`))).toBe('405 MethodNotAllowed');
    expect(await codeOf(await send('GET', `${at}?versionId=none`))).toBe('404 NoSuchVersion');
    const list = await (await send('GET', '/documents-us-west-2?list-type=2&prefix=versions/')).text();
    expect(list).toContain('<KeyCount>0</KeyCount>');
    const versions = await (await send('GET', '/documents-us-west-2?versions&prefix=versions/')).text();
    expect([...versions.matchAll(/<VersionId>(.*?)<\/VersionId><IsLatest>(.*?)</g)].map(([, ...one]) => one)).toEqual([
      [marker, 'true'],
      [second, 'false'],
      [first, 'false'],
    ]);

    const undone = await send('DELETE', `${at}?versionId=${marker}`);
    expect([undone.status, undone.headers.get('x-amz-delete-marker'), versionOf(undone)]).toEqual([
      204,
      'true',
      marker,
    ]);
    expect(await (await send('GET', at)).text()).toBe('second');
    await send('DELETE', `${at}?versionId=${second}`);
    expect(await (await send('GET', at)).text()).toBe('first');
    expect((await send('DELETE', '/documents-us-west-2')).status).toBe(409);
  });

  it('has the null version where versioning is suspended, and nothing to undo where it never was', async () => {
    await send('PUT', '/plain');
    const plain = await send('PUT', '/plain/key', 'x');
    expect(plain.headers.has('x-amz-version-id')).toBe(false);
    const gone = await send('DELETE', '/plain/key');
    expect(gone.headers.has('x-amz-version-id')).toBe(false);
    expect((await send('PUT', '/plain/key', 'kept')).status).toBe(200);

    const configure = (word: string): Promise<Response> =>
      send('PUT', '/plain?versioning', `<VersioningConfiguration><Status>${word}</Status></VersioningConfiguration>`);
    expect((await configure('Enabled')).status).toBe(200);
    await send('PUT', '/plain/key', 'new');
    expect(await (await send('GET', '/plain/key?versionId=null')).text()).toBe('kept');
    expect((await configure('Suspended')).status).toBe(200);
    expect(versionOf(await send('PUT', '/plain/key', 'over'))).toBe('null');
    expect(await (await send('GET', '/plain/key?versionId=null')).text()).toBe('over');
    expect(versionOf(await send('DELETE', '/plain/key'))).toBe('null');
    expect(await codeOf(await send('GET', '/plain/key'))).toBe('404 NoSuchKey');
    expect(await codeOf(await configure('Maybe'))).toBe('400 MalformedXML');
    const ofPrimary = '/documents-us-west-2?versioning';
    const suspend = '<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>';
    expect(await codeOf(await send('PUT', ofPrimary, suspend))).toBe('409 InvalidBucketState');
  });

  it('says how a bucket is replicated, and refuses what S3 refuses', async () => {
    const shown = await (await send('GET', '/documents-us-west-2?replication')).text();
    expect(shown).toContain('<Bucket>arn:aws:s3:::documents-us-east-1</Bucket>');
    await send('PUT', '/lonely');
    expect(await codeOf(await send('GET', '/lonely?replication'))).toBe('404 ReplicationConfigurationNotFoundError');
    expect(await codeOf(await send('PUT', '/lonely?replication', shown))).toBe('400 InvalidRequest');
    const put = await send('PUT', '/documents-us-west-2/copied', 'x');
    expect(put.status).toBe(200);
    const head = await send('HEAD', '/documents-us-west-2/copied');
    expect(head.headers.get('x-amz-replication-status')).toBe('PENDING');
    const old = await send('HEAD', '/documents-us-west-2/handbook/first-steps.txt');
    expect(old.headers.has('x-amz-replication-status')).toBe(false);
    const elsewhere = shown.replaceAll('documents-us-east-1', 'of-somebody-else');
    expect(await codeOf(await send('PUT', '/documents-us-west-2?replication', elsewhere))).toBe('400 InvalidRequest');
  });

  it('deletes many at once, versions for good', async () => {
    const put = await Promise.all(
      ['many/1', 'many/2', 'many/3'].map((key) => send('PUT', `/documents-us-west-2/${key}`, key)),
    );
    const objects = put.map(
      (one, index) => `<Object><Key>many/${index + 1}</Key><VersionId>${versionOf(one)}</VersionId></Object>`,
    );
    const answer = await send('POST', '/documents-us-west-2?delete', `<Delete>${objects.join('')}</Delete>`);
    expect((await answer.text()).match(/<Deleted>/g)).toHaveLength(3);
    const left = await (await send('GET', '/documents-us-west-2?versions&prefix=many/')).text();
    expect(left).not.toContain('<VersionId>');
  });
});
