import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { systemClock } from '../core/clock.ts';
import * as der from './der.ts';

const dayMs = 24 * 3600 * 1000;
/** The longest life Apple's verifier accepts for a server certificate is 825 days. */
const lifeMs = 365 * dayMs;

const oid = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  subjectAltName: '2.5.29.17',
  subjectKeyIdentifier: '2.5.29.14',
  authorityKeyIdentifier: '2.5.29.35',
};

const pem = (label: string, content: Buffer): string => {
  const lines = content.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
};

const nameOf = (commonName: string): Buffer =>
  der.sequence(der.set(der.sequence(der.objectIdentifier(oid.commonName), der.utf8String(commonName))));

const extension = (id: string, value: Buffer, isCritical = false): Buffer =>
  der.sequence(der.objectIdentifier(id), ...(isCritical ? [der.boolean(true)] : []), der.octetString(value));

const publicKeyBytes = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
const keyIdentifier = (key: KeyObject): Buffer => createHash('sha1').update(publicKeyBytes(key)).digest();

interface Request {
  readonly subject: string;
  readonly key: KeyObject;
  readonly issuer: string;
  readonly issuerKeys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  readonly extensions: readonly Buffer[];
}

/** An X.509 v3 certificate (RFC 5280 §4.1), signed with ECDSA over SHA-256. */
const certificate = ({ subject, key, issuer, issuerKeys, extensions }: Request): string => {
  const algorithm = der.sequence(der.objectIdentifier(oid.ecdsaWithSha256));
  const nowMs = systemClock.nowMs();
  const body = der.sequence(
    der.explicit(0, der.integer(Buffer.from([2]))),
    der.integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    algorithm,
    nameOf(issuer),
    der.sequence(der.utcTime(new Date(nowMs - dayMs)), der.utcTime(new Date(nowMs + lifeMs))),
    nameOf(subject),
    publicKeyBytes(key),
    der.explicit(
      3,
      der.sequence(
        ...extensions,
        extension(oid.subjectKeyIdentifier, der.octetString(keyIdentifier(key))),
        extension(oid.authorityKeyIdentifier, der.sequence(der.implicit(0, keyIdentifier(issuerKeys.publicKey)))),
      ),
    ),
  );
  const signature = sign('sha256', body, issuerKeys.privateKey);
  return pem('CERTIFICATE', der.sequence(body, algorithm, der.bitString(signature)));
};

/**
 * Makes a certificate authority that lives for this lab alone and a server certificate of it for 127.0.0.1 and
 * localhost: `ca.pem`, `tls.crt` and `tls.key` in the state folder. The authority's key is not kept.
 */
export const createCertificates = (stateDir: string): void => {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuer = `blackstart lab ${randomBytes(4).toString('hex')}`;
  const caPem = certificate({
    subject: issuer,
    key: authority.publicKey,
    issuer,
    issuerKeys: authority,
    extensions: [
      extension(oid.basicConstraints, der.sequence(der.boolean(true)), true),
      // keyCertSign is bit 5, cRLSign bit 6.
      extension(oid.keyUsage, der.bitString(Buffer.from([0b0000_0110]), 1), true),
    ],
  });
  const serverPem = certificate({
    subject: 'blackstart lab',
    key: server.publicKey,
    issuer,
    issuerKeys: authority,
    extensions: [
      extension(oid.basicConstraints, der.sequence(), true),
      // digitalSignature is bit 0.
      extension(oid.keyUsage, der.bitString(Buffer.from([0b1000_0000]), 7), true),
      extension(oid.extendedKeyUsage, der.sequence(der.objectIdentifier(oid.serverAuth))),
      // GeneralName: dNSName is [2], iPAddress is [7].
      extension(
        oid.subjectAltName,
        der.sequence(der.implicit(2, Buffer.from('localhost')), der.implicit(7, Buffer.from([127, 0, 0, 1]))),
      ),
    ],
  });
  const write = (name: string, text: string): void =>
    writeFileSync(path.join(stateDir, name), text, { mode: 0o600, flush: false });
  write('ca.pem', caPem);
  write('tls.crt', serverPem);
  write('tls.key', server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
};
