import { lazily, readCredentials } from './aws-call.ts';

/** What of a request for an object is signed. Its payload is not. */
export interface ObjectRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  readonly host: string;
  /** As it is sent: percent-encoded, without a query. */
  readonly path: string;
  /** Values are not encoded yet. */
  readonly query?: Readonly<Record<string, string>>;
}

export interface ObjectSigner {
  /** Headers, `Authorization` among them, of this request. Valid for some minutes. */
  sign(request: ObjectRequest): Promise<Readonly<Record<string, string>>>;
}

/** An object's key as part of a path. */
export const pathOfKey = (key: string): string => `/${key.split('/').map(encodeURIComponent).join('/')}`;

/** A query as it is sent. */
export const queryText = (query: Readonly<Record<string, string>>): string => {
  const pairs = Object.entries(query).map(
    ([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`,
  );
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
};

/** Signs requests for objects (SigV4). Keys come from a shared credentials file, or from the SDK's own chain. */
export const createObjectSigner = (options: {
  readonly region: string;
  readonly credentialsFile: string | null;
}): ObjectSigner => {
  const { region, credentialsFile } = options;
  const load = lazily(async () => {
    const { SignatureV4 } = await import('@smithy/signature-v4');
    const { Hash } = await import('@smithy/core/serde');
    const credentials =
      credentialsFile === null
        ? (await import('@aws-sdk/credential-provider-node')).defaultProvider()
        : // Once: a file read for each of many writes a second would take longer than the signature.
          await readCredentials(credentialsFile);
    // S3 alone signs the path as it was sent, not escaped once more.
    return new SignatureV4({
      service: 's3',
      region,
      credentials,
      sha256: Hash.bind(null, 'sha256'),
      uriEscapePath: false,
    });
  });
  return {
    async sign({ method, host, path, query = {} }) {
      const signer = await load();
      const { headers } = await signer.sign({
        method,
        protocol: 'http:',
        hostname: host,
        path,
        query: { ...query },
        headers: { host, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
      });
      const { host: _, ...rest } = headers;
      return rest;
    },
  };
};
