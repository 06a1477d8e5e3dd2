import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCertificates } from './certificates.ts';

describe('certificates of a lab', () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'blackstart-tls-'));
  const read = (name: string): string => readFileSync(path.join(dir, name), 'utf8');
  beforeAll(() => createCertificates(dir));
  afterAll(() => rmSync(dir, { recursive: true }));

  it('are signed by their own authority and readable by the owner alone', () => {
    const ca = new X509Certificate(read('ca.pem'));
    const server = new X509Certificate(read('tls.crt'));
    expect(ca.ca).toBe(true);
    expect(ca.verify(ca.publicKey)).toBe(true);
    expect(server.ca).toBe(false);
    expect(server.verify(ca.publicKey)).toBe(true);
    expect(server.checkIssued(ca)).toBe(true);
    expect(server.subjectAltName).toBe('DNS:localhost, IP Address:127.0.0.1');
    expect(statSync(path.join(dir, 'tls.key')).mode & 0o777).toBe(0o600);
  });

  it.each(['127.0.0.1', 'localhost'])('let a TLS client that trusts the authority alone talk to %s', async (host) => {
    const server = https.createServer({ cert: read('tls.crt'), key: read('tls.key') }, (_, response) => {
      response.end('hello');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const get = (ca: string | undefined): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        https
          .get({ host, port, family: 4, agent: false, ...(ca === undefined ? {} : { ca }) }, (response) => {
            response.resume();
            resolve(response.statusCode);
          })
          .once('error', reject);
      });
    expect(await get(read('ca.pem'))).toBe(200);
    await expect(get(undefined)).rejects.toThrow(/certificate/);
    server.close();
  });
});
